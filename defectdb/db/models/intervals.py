"""90 % intervals of predictions: half-widths by composition, from errors at structures that a model has not seen.

Split conformal prediction (Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005) within every
composition: of n errors the one of rank ceil(0.9 (n + 1)) is the half-width, which covers a further structure of that
composition nine times out of ten. Models learned from all structures bring the errors of their folds (CV+ without the
correction for the folds' number: Barber et al., Ann. Stat. 49, 486 (2021)).
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from defectdb.db.connection import Database
from defectdb.expressions.arrays import Floats

COVERAGE = 0.9

ENOUGH = 9
"""Errors that a half-width needs: with fewer the rank would lie beyond the largest."""

WIDER = 2.0
"""Factor of the half-width outside the data, where too few errors there are known."""

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "n_defects": pl.Int32, "composition": pl.String, "half_width": pl.Float64, "half_width_outside": pl.Float64,
    "n_calibration": pl.Int64,
}  # fmt: skip

_UNSEEN = """
    SELECT s.defect_labels AS composition, s.n_defects, abs(p.value - t.value) AS error, p.extrapolated AS outside
    FROM predictions_as_of($model) AS p
    JOIN models AS m USING (model_id)
    JOIN target_values AS t ON t.structure_id = p.structure_id AND t.target = p.target
    JOIN structures AS s ON s.structure_id = p.structure_id
    WHERE p.target = m.target AND p.value IS NOT NULL AND m.trained_on = 'pairs' AND s.n_defects > 2
"""
"""Errors at structures that a model of pairs was not fitted to."""

_LEFT_OUT = """
    SELECT s.defect_labels AS composition, s.n_defects, CAST(x.error AS DOUBLE) AS error,
        coalesce(p.extrapolated, FALSE) AS outside
    FROM left_out AS x
    JOIN structures AS s USING (structure_id)
    LEFT JOIN (
        SELECT p.structure_id, p.extrapolated FROM predictions_as_of($model) AS p JOIN models AS m USING (model_id)
        WHERE p.target = m.target
    ) AS p USING (structure_id)
"""


def calibrate(db: Database, model_id: int, left_out: pl.DataFrame | None = None) -> int:
    """Store a compiled model's half-widths, in the caller's transaction; how many.

    ``left_out``: absolute errors (structure_id, error in eV) at structures whose fold the model did not see; to these
    come, for a model of pairs, its errors at stored structures with three and more defects.
    """
    parts = [db.frame(_UNSEEN, {"model": model_id})]
    if left_out is not None and left_out.height:
        with db.registered(left_out=left_out):
            parts.append(db.frame(_LEFT_OUT, {"model": model_id}))
    rows = half_widths(pl.concat(parts))
    db.execute("DELETE FROM prediction_intervals WHERE model_id = ?", [model_id])
    return db.append("prediction_intervals", rows.with_columns(model_id=pl.lit(model_id, dtype=pl.Int64)))


def half_widths(errors: pl.DataFrame) -> pl.DataFrame:
    """Half-widths [eV] from absolute errors (composition, n_defects, error in eV, outside): columns of ``_SCHEMA``.

    By composition where there are ``ENOUGH`` errors, by number of defects, and in the last row for every defect.
    """
    finite = errors.filter(pl.col("error").is_finite())
    rows = [
        _row(part, n=int(n), composition=str(composition))
        for (n, composition), part in finite.group_by(["n_defects", "composition"], maintain_order=True)
    ]
    rows += [
        _row(part, n=int(n), composition=None)
        for (n,), part in finite.group_by(["n_defects"], maintain_order=True)
    ]
    each = finite.with_columns(error=pl.col("error") / pl.col("n_defects"))
    rows.append(_row(each, n=None, composition=None))
    return pl.DataFrame([row for row in rows if row is not None], schema=_SCHEMA)


def _row(part: pl.DataFrame, n: int | None, composition: str | None) -> dict[str, object] | None:
    """One row of the table, None where errors are too few."""
    inside = half_width(part.filter(~pl.col("outside"))["error"].to_numpy())
    outside = half_width(part.filter("outside")["error"].to_numpy())
    if inside is None and outside is None:
        return None
    if inside is None:  # nothing but structures outside
        inside = outside
    assert inside is not None
    outside = WIDER * inside if outside is None else max(outside, inside)
    return {
        "n_defects": n, "composition": composition, "half_width": inside, "half_width_outside": outside,
        "n_calibration": part.height,
    }  # fmt: skip


def half_width(errors: Floats) -> float | None:
    """The conformal half-width of these absolute errors, None where they are fewer than ``ENOUGH``."""
    n = len(errors)
    if n < ENOUGH:
        return None
    return float(np.sort(errors)[math.ceil(COVERAGE * (n + 1)) - 1])
