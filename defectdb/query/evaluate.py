"""Predictions beside stored targets to error measures, for all structures and by group."""

from __future__ import annotations

import polars as pl

from defectdb.db import Database
from defectdb.db.stale import stale_sentence
from defectdb.errors import UnknownNameError, UsageError

GROUPS = {"n_defects": "CAST(n_defects AS VARCHAR)", "descriptor": "descriptor", "material": "material_id"}
"""What errors can be grouped by, as SQL over ``prediction_errors``."""


def evaluate(db: Database, by: str | None = None, target: str | None = None) -> pl.DataFrame:
    """Errors of the active models, in the target's unit (eV).

    Columns: by, group, target, unit, n (structures compared), mae, rmse, max_error, bias (mean of predicted
    minus actual), undefined (structures without a prediction). Without ``by``: all structures together, then
    by number of defects and by descriptor.

    Raises UnknownNameError, and UsageError where nothing can be compared.
    """
    if by is not None and by not in GROUPS:
        raise UnknownNameError("grouping", by, list(GROUPS))
    groups = (
        {by: GROUPS[by]} if by else {"all": "'all'"} | {k: GROUPS[k] for k in ("n_defects", "descriptor")}
    )
    frames = [_errors(db, name, expression) for name, expression in groups.items()]
    frame = pl.concat(frames)
    if frame.is_empty():
        why = stale_sentence(db) or "no active model predicts a stored target; `defectdb learn` first"
        raise UsageError(f"nothing to compare: {why}")
    if target is not None:
        if target not in frame["target"]:
            raise UnknownNameError("target", target, sorted(set(frame["target"])))
        frame = frame.filter(target=target)
    return frame


def _errors(db: Database, name: str, group: str) -> pl.DataFrame:
    return db.frame(
        f"""
        SELECT
            '{name}' AS "by", {group} AS "group", target, any_value(unit) AS unit, count(error) AS n,
            avg(abs(error)) AS mae, sqrt(avg(error * error)) AS rmse, max(abs(error)) AS max_error,
            avg(error) AS bias, count(*) - count(error) AS undefined
        FROM prediction_errors
        GROUP BY ALL
        ORDER BY target, "group"
        """
    )
