"""The compiled views to a frame of predictions of one target."""

from __future__ import annotations

import polars as pl

from defectdb.db import Database
from defectdb.db.read import PREDICTED, known
from defectdb.db.stale import stale_sentence
from defectdb.errors import UsageError

COLUMNS = ("structure_id", "target", "value", "unit", "model_id", "n_defects", "extrapolated")
"""Columns of a file of predictions."""


def predict(db: Database, target: str, model_id: int | None = None) -> pl.DataFrame:
    """Predictions of every structure that has a model, by structure_id: COLUMNS and ``missing`` (labels).

    The active models predict, or the one named. ``value`` is null where a term is missing or a formula is
    undefined. Raises UnknownNameError for an unknown target or model, UsageError where no model has the
    target.
    """
    demand_model(db, target, model_id)
    source = "predictions" if model_id is None else "predictions_as_of($model)"
    parameters = {"target": target} | ({} if model_id is None else {"model": model_id})
    columns = ", ".join(COLUMNS)
    return db.frame(
        f"SELECT {columns}, missing FROM {source} WHERE target = $target ORDER BY structure_id", parameters
    )


def demand_model(db: Database, target: str, model_id: int | None) -> None:
    """Raises UnknownNameError for an unknown target or model, UsageError where no model has the target."""
    known("target", target, PREDICTED)
    learned = target.removesuffix("_per_site")
    models = db.frame("SELECT model_id, target, status FROM models ORDER BY model_id")
    if model_id is not None:
        known("model", str(model_id), [str(key) for key in models["model_id"]])
        of = models.filter(pl.col("model_id") == model_id)["target"].item()
        if of != learned:
            raise UsageError(f"model {model_id} predicts {of}, not {target}")
    elif models.filter(target=learned, status="active").is_empty():
        make = f"no model predicts {target} yet; `defectdb learn --all-pairs --target {learned}` makes one"
        raise UsageError(stale_sentence(db, learned) or make)


def narrate_gaps(frame: pl.DataFrame) -> str | None:
    """One sentence about structures without a value, None where all have one."""
    n = frame["value"].null_count()
    if not n:
        return None
    labels = sorted(set(frame["missing"].explode(empty_as_null=False).drop_nulls()))
    why = f"no term for {', '.join(labels)}" if labels else "a formula is undefined there"
    return f"{n} of {frame.height} structures have no prediction: {why}"
