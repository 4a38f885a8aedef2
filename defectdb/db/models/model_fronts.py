"""Model fronts: the most accurate models of every total length that a run found, and putting one of them to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from defectdb.db.connection import Database
from defectdb.db.models.formulas import activate_model, append_model
from defectdb.db.models.intervals import calibrate
from defectdb.errors import UsageError
from defectdb.schema.records import ModelRecord, TermRecord

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "run_id": pl.Int64,
    "tokens": pl.Int32,
    "error": pl.Float64,
    "formula_ids": pl.List(pl.Int64),
}


def append_model_front(db: Database, run_id: int, points: Sequence[Mapping[str, object]]) -> None:
    """Append a run's front: rows with tokens, error (eV) and formula_ids."""
    rows = [{"run_id": run_id, **point} for point in points]
    db.append("model_fronts", pl.DataFrame(rows, schema=_SCHEMA))


def newest_front(db: Database, material: str, target: str) -> pl.DataFrame:
    """The newest front of a material's target: run_id, tokens, error (eV), active, formula_ids; shortest first.

    ``active``: whether the active model uses just these formulas. Raises UsageError where no run has left one.
    """
    frame = db.frame(
        """
        WITH used AS (
            SELECT list_sort(list(t.formula_id)) AS ids
            FROM model_terms AS t JOIN models AS m USING (model_id)
            WHERE m.status = 'active' AND m.material_id = $material AND m.target = $target AND t."order" = 2
                AND t.formula_id IS NOT NULL
        )
        SELECT p.run_id, p.tokens, p.error, coalesce(list_sort(p.formula_ids) = u.ids, FALSE) AS active, p.formula_ids
        FROM model_fronts AS p
        CROSS JOIN used AS u
        WHERE p.run_id = (
            SELECT max(q.run_id) FROM model_fronts AS q JOIN models AS m USING (run_id)
            WHERE m.material_id = $material AND m.target = $target
        )
        ORDER BY p.tokens
        """,
        {"material": material, "target": target},
    )
    if frame.is_empty():
        raise UsageError(
            f"no run has left a model front of {target} for {material}; `defectdb learn --all-pairs` makes one"
        )
    return frame


def activate_front_model(db: Database, material: str, target: str, tokens: int) -> tuple[int, int]:
    """Put the most accurate model of at most ``tokens`` of the newest front to use; its id and its length.

    Everything but its kernels it takes from the model of the run that found it. Raises UsageError.
    """
    front = newest_front(db, material, target)
    fitting = front.filter(pl.col("tokens") <= tokens)
    if fitting.is_empty():
        raise UsageError(
            f"no model is as short as {tokens} tokens; the shortest one of run {front['run_id'][0]} has "
            f"{front['tokens'][0]}"
        )
    point = fitting.row(-1, named=True)
    model = db.frame(
        "SELECT * FROM models WHERE run_id = ? ORDER BY model_id LIMIT 1", [point["run_id"]]
    ).row(0, named=True)
    terms = db.frame(
        'SELECT "order", label, formula_id, value FROM model_terms WHERE model_id = ? ORDER BY "order", label, part',
        [model["model_id"]],
    ).to_dicts()
    own = db.frame(
        "SELECT formula_id, pair_label AS label FROM formulas WHERE list_contains(?, formula_id) ORDER BY ALL",
        [point["formula_ids"]],
    ).to_dicts()
    replaced = {row["label"] for row in own}
    kept = [TermRecord(**row) for row in terms if row["order"] != 2 or row["label"] not in replaced]
    kernels = [TermRecord(order=2, label=row["label"], formula_id=row["formula_id"]) for row in own]
    fields = set(ModelRecord.model_fields) - {"status", "created_at", "mae_train", "mae_cv", "interval_90"}
    record = ModelRecord(**{name: model[name] for name in fields})
    model_id = append_model(db, record, [*kept, *kernels])
    activate_model(db, model_id)
    calibrate(db, model_id)
    return model_id, int(point["tokens"])
