"""Draw predicted against computed values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope, one_material
from defectdb.errors import UsageError
from defectdb.query.figures.style import COLOURS, COLUMN, MARKERS, NAMES, new_figure
from defectdb.query.predict import demand_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

APART = 3
"""Structures of up to so many defects are drawn apart, those with more together."""


def draw_parity(db: Database, target: str, scope: Scope = EVERYTHING) -> Figure:
    """Predicted against stored values of one material, by number of defects, with the mean absolute errors.

    Raises UsageError where no model predicts the target or several materials have predictions.
    """
    demand_model(db, target, None, scope)
    rows = _compared(db, target, scope)
    figure = new_figure(COLUMN, 3.1)
    axes = figure.subplots()
    ends = [rows.select(pl.min_horizontal("predicted", "actual").min()).item(),
            rows.select(pl.max_horizontal("predicted", "actual").max()).item()]  # fmt: skip
    axes.plot(ends, ends, color="0.5", lw=0.6, zorder=0)
    for number, group in enumerate(_groups(rows)):
        errors = (group["predicted"] - group["actual"]).to_numpy()
        error = 1000 * float(np.abs(errors).mean())
        text = f"{_defects(group)}: MAE {error:.3g} meV ({group.height})"
        axes.plot(
            group["actual"], group["predicted"], ls="none", marker=MARKERS[number % 6], ms=3, mfc="none",
            mew=0.6, color=COLOURS[number % 6], label=text, rasterized=group.height > 500,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel(f"DFT {NAMES[target]} (eV)")
    axes.set_ylabel(f"predicted {NAMES[target]} (eV)")
    axes.legend(loc="upper left")
    return figure


def _compared(db: Database, target: str, scope: Scope) -> pl.DataFrame:
    """Columns n_defects, predicted, actual [eV] of one material, most defects first."""
    rows = db.frame(
        "SELECT material_id, n_defects, predicted, actual FROM prediction_errors "
        f"WHERE target = $target AND predicted IS NOT NULL AND {IN_SCOPE} ORDER BY n_defects DESC, structure_id",
        {"target": target, **scope.parameters()},
    )
    material = one_material(db, scope, rows["material_id"].to_list(), f"predictions of {target}")
    if material is None:
        raise UsageError(f"no stored values of {target} to compare with")
    return rows.filter(material_id=material)


def _groups(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows by number of defects; those with more than ``APART`` defects together."""
    apart = pl.when(pl.col("n_defects") <= APART).then("n_defects").otherwise(APART + 1)
    return rows.with_columns(group=apart).partition_by("group", maintain_order=True)


def _defects(group: pl.DataFrame) -> str:
    low, high = (
        int(x) for x in group.select(low=pl.col("n_defects").min(), high=pl.col("n_defects").max()).row(0)
    )
    if low < high:
        return f"{low} to {high} defects"
    return f"{low} defect{'s' if low > 1 else ''}"
