"""Coverage of the 90 % intervals on structures that neither the model nor its half-widths have seen.

Half-widths are taken from one half of the three-defect structures (by a hash of their ids) and judged on the other
half, four times. `python -m benchmarks intervals` needs $DEFECTDB_BENCH: a database with an active model of pairs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import polars as pl

from defectdb.db import open_database
from defectdb.db.models.intervals import half_widths

_ERRORS = """
    SELECT s.structure_id, s.defect_labels AS composition, s.n_defects, abs(p.value - t.value) AS error,
        p.extrapolated AS outside
    FROM predictions AS p
    JOIN models AS m USING (model_id)
    JOIN target_values AS t ON t.structure_id = p.structure_id AND t.target = p.target
    JOIN structures AS s ON s.structure_id = p.structure_id
    WHERE p.target = m.target AND m.trained_on = 'pairs' AND s.n_defects > 2 AND p.value IS NOT NULL
    ORDER BY ALL
"""


def coverage(errors: pl.DataFrame, salt: str) -> pl.DataFrame:
    """Share of the second half's errors within the first half's half-widths, by composition: n, covered, half_width."""
    side = pl.Series(
        [hashlib.sha256((salt + key).encode()).digest()[0] % 2 for key in errors["structure_id"]]
    )
    first, second = errors.filter(side == 0), errors.filter(side == 1)
    widths = half_widths(first.drop("structure_id")).drop_nulls("composition")
    judged = second.join(widths, on=["composition", "n_defects"])
    width = pl.when("outside").then("half_width_outside").otherwise("half_width")
    return (
        judged.group_by("composition")
        .agg(n=pl.len(), covered=(pl.col("error") <= width).mean(), half_width=pl.col("half_width").first())
        .sort("composition")
    )


def main() -> None:
    """Print coverage by composition, the mean of four splits, and that of all."""
    path = os.environ.get("DEFECTDB_BENCH")
    if path is None:
        print("skipped: $DEFECTDB_BENCH names no database with a model", file=sys.stderr)
        return
    with open_database(Path(path), read_only=True) as db:
        errors = db.frame(_ERRORS)
    found = pl.concat(coverage(errors, salt) for salt in "abcd")
    means = found.group_by("composition").agg(
        n=pl.col("n").mean(), covered=100 * pl.col("covered").mean(), width=1000 * pl.col("half_width").mean()
    )
    for name, n, covered, width in means.sort("composition").iter_rows():
        print(f"{name:24} n {n:6.0f}  covered {covered:5.1f} %  half-width {width:6.1f} meV")
    whole = (found["n"] * found["covered"]).sum() / found["n"].sum()
    print(f"{'all':24} n {found['n'].sum() / 4:6.0f}  covered {100 * whole:5.1f} %")
