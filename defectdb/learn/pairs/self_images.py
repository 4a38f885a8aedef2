"""Energies of a defect with its own periodic images."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from defectdb.db import Database
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_ast
from defectdb.schema.records import TermRecord


def self_images(db: Database, material: str, terms: Sequence[TermRecord]) -> dict[tuple[str, str], float]:
    """What a defect's own images add to its energy (eV) by host and label: half the sum of its pair with itself.

    ``terms`` are a model's kernels; where they have none for like pairs at equal height nothing is known and
    nothing added.
    """
    kernels = db.frame(
        "SELECT pair_label AS label, ast, constants FROM formulas WHERE list_contains($ids, formula_id) "
        "AND images = 'sum' AND dz_min <= 0 AND split_part(pair_label, '-', 1) = split_part(pair_label, '-', 2)",
        {"ids": [term.formula_id for term in terms if term.order == 2 and term.formula_id is not None]},
    )
    images = db.frame(
        "SELECT host_id, sqrt(pow(o.image_a * h.a_x + o.image_b * h.b_x, 2) "
        "+ pow(o.image_a * h.a_y + o.image_b * h.b_y, 2)) AS r FROM hosts AS h CROSS JOIN image_offsets AS o "
        "WHERE h.material_id = $material AND (o.image_a <> 0 OR o.image_b <> 0) "
        "AND r <= (SELECT max(cutoff) FROM datasets)",
        {"material": material},
    )
    found: dict[tuple[str, str], float] = {}
    for label, ast, constants in kernels.iter_rows():
        values = evaluate_numpy(from_ast(ast), {"r": images["r"].to_numpy()}, constants)
        sums = images.with_columns(value=pl.Series(values)).group_by("host_id").agg(pl.col("value").sum() / 2)
        found |= {(host, label.split("-")[0]): value for host, value in sums.iter_rows()}
    return found
