"""What the models in use leave of a target, and what they add to a network that was trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.learn.network.selection import Rows
from defectdb.learn.select import Selection, frame_hash

_DIGITS = 9  # of eV: sums in SQL differ in later ones from query to query, and the rows' hash must not


def subtract_formulas(db: Database, rows: Rows) -> Rows:
    """The rows with what the models in use leave as values; those without a prediction go.

    Raises UsageError where no model predicts the target.
    """
    found = rows.frame.join(_predictions(db, rows.target), on="structure_id", maintain_order="left")
    if found.is_empty():
        raise UsageError(
            f"no model in use predicts {rows.target} of these structures, so nothing is left to learn; "
            f"`defectdb learn --all-pairs --target {rows.target}` makes one"
        )
    left = (pl.col("value") - pl.col("predicted")).round(_DIGITS)
    frame = found.with_columns(value=left).drop("predicted", "model_id")
    return replace(rows, selection=Selection(frame, rows.selection.sql, frame_hash(frame)))


def model_ids(db: Database, target: str, materials: Sequence[str]) -> tuple[int, ...]:
    """Ids of the models in use of a target and these materials."""
    return tuple(
        db.frame(
            "SELECT model_id FROM models WHERE status = 'active' AND target = ? AND list_contains(?, material_id) "
            "ORDER BY ALL",
            [target, list(materials)],
        )["model_id"]
    )


def formula_values(db: Database, structures: pl.DataFrame, network: Mapping[str, Any]) -> Floats:
    """What the models of a network trained on residuals give [structure], of an energy per site; NaN where nothing.

    Raises UsageError where other models are in use than those it was trained on.
    """
    frame = _predictions(db, network["target"])
    others = sorted(
        set(frame.join(structures, on="structure_id", how="semi")["model_id"]) - set(network["model_ids"])
    )
    if others:
        raise UsageError(
            f"the network was trained on what model {', '.join(map(str, network['model_ids']))} leaves, and model "
            f"{', '.join(map(str, others))} is in use: train it again with `defectdb learn --network --on-residuals`"
        )
    joined = structures.join(frame, on="structure_id", how="left", maintain_order="left")
    values: Floats = joined["predicted"].fill_null(float("nan")).to_numpy()
    return values


def _predictions(db: Database, target: str) -> pl.DataFrame:
    """structure_id, model_id, predicted (of an energy: per site, eV) of the models in use, where they have a value."""
    output = "formation_energy_per_site" if target == "formation_energy" else target
    return db.frame(
        "SELECT structure_id, model_id, value AS predicted FROM predictions WHERE target = ? AND value IS NOT NULL",
        [output],
    )
