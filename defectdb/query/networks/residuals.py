"""Where a network is more accurate than the formulas: a list of physics still to find."""

from __future__ import annotations

from importlib import resources

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, Scope
from defectdb.errors import UsageError
from defectdb.query.networks.beside import network_errors

FEWEST = 3
"""Structures that must hold a configuration before it is listed."""


def residuals(
    db: Database, target: str = "formation_energy_per_site", scope: Scope = EVERYTHING, most: int = 20
) -> tuple[pl.DataFrame, str]:
    """Pairs and triangles where the network beats the formulas, the largest gain over all structures first.

    Columns: kind, label, shell, edges, dz (angstrom, of a triangle the largest), n (structures that hold it),
    formulas and network (mean absolute errors there, eV), gain (their difference), bias (mean error of the formulas).
    The second part says in a sentence which network on which rows. A network trained on what the formulas leave comes
    before one trained on the values, and structures left out of its training before those in it.
    Raises UsageError where either has no prediction.
    """
    errors = network_errors(db, target, scope)
    column = "both" if errors["both"].count() else "network"
    errors = errors.with_columns(network=pl.col(column)).drop_nulls(["formulas", "network"])
    if errors.is_empty():
        learned = target.removesuffix("_per_site")
        raise UsageError(
            f"no model of formulas predicts {target} where the network does; `defectdb learn --all-pairs --target "
            f"{learned}` makes one"
        )
    left_out = errors.filter(~pl.col("trained"))
    rows = left_out if left_out.height >= FEWEST else errors
    chosen = rows.select("structure_id", "structure_key", "formulas", "network")
    sql = (resources.files("defectdb.query.networks") / "configurations.sql").read_text(encoding="utf-8")
    with db.registered(errors=chosen):
        frame = db.frame(sql, {"fewest": FEWEST, "most": most})
    edges = pl.col("edges").list.eval(pl.element().cast(pl.String)).list.join(" ")
    return frame.with_columns(edges=edges), _sentence(rows, target, column)


def _sentence(rows: pl.DataFrame, target: str, column: str) -> str:
    """What is compared, on which rows, and with what result."""
    formulas, network = (1000 * float(rows[name].abs().mean()) for name in ("formulas", "network"))  # type: ignore[arg-type]
    what = "formulas and the network of what they leave" if column == "both" else "the network"
    seen = "left out of its training" if not rows["trained"].any() else "some of them in its training"
    return (
        f"{target}, {rows.height} structures ({seen}): formulas {formulas:.2f} meV, {what} {network:.2f} meV; "
        + ("together they are the more accurate model" if column == "both" and network < formulas else "")
    ).removesuffix("; ")
