"""Models whose training rows changed to rows and to a sentence that says what to do about them."""

from __future__ import annotations

import polars as pl

from defectdb.db.connection import Database


def stale_models(db: Database) -> pl.DataFrame:
    """The newest stale model (model_id, material_id, target) of every material and target without an active
    one."""
    return db.frame(
        "SELECT max(model_id) FILTER (status = 'stale') AS model_id, material_id, target FROM models "
        "GROUP BY material_id, target "
        "HAVING bool_or(status = 'stale') AND NOT bool_or(status = 'active') ORDER BY material_id, target"
    )


def stale_sentence(db: Database, target: str | None = None) -> str | None:
    """What went stale, why, and what helps, for one target or all; None where nothing did."""
    models = stale_models(db)
    if target is not None:
        models = models.filter(target=target)
    if models.is_empty():
        return None
    named = ", ".join(f"{i} ({material}, {goal})" for i, material, goal in models.iter_rows())
    goals = sorted(set(models["target"]))
    learn = " and ".join(f"`defectdb learn --all-pairs --target {goal}`" for goal in goals)
    went = "model" if models.height == 1 else "models"
    return (
        f"{went} {named} went stale because training rows changed or were removed: learn again with {learn}, "
        "or put the old one back to use with `defectdb formulas activate ID` (`defectdb formulas --front` "
        "lists the ids)"
    )
