"""Errors of the models in use against the stored targets, for all structures and by group."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.db.stale import stale_sentence
from defectdb.errors import UnknownNameError, UsageError
from defectdb.query.missing_terms import no_term_for

GROUPS = ("n_defects", "descriptor", "material", "dataset")
"""What errors can be grouped by."""


def evaluate(
    db: Database, by: str | None = None, target: str | None = None, scope: Scope = EVERYTHING
) -> pl.DataFrame:
    """Errors of the active models, in the target's unit (eV).

    Columns: by, group, target, unit, n (structures compared), undefined (structures with a stored value and no
    prediction), coverage (n as a share of both), mae, rmse, max_error, bias (mean of predicted minus actual).
    Without ``by``: all structures together, then by material where there are several, and by number of defects.
    Where several materials are compared, the names of other groups start with the material.

    Raises UnknownNameError, and UsageError where nothing can be compared.
    """
    if by is not None and by not in GROUPS:
        raise UnknownNameError("grouping", by, list(GROUPS))
    errors = _errors(db, scope)
    if errors.is_empty():
        why = stale_sentence(db) or "no active model predicts a stored target; `defectdb learn` first"
        raise UsageError(f"nothing to compare: {why}")
    if target is not None:
        if target not in errors["target"]:
            raise UnknownNameError("target", target, sorted(set(errors["target"])))
        errors = errors.filter(target=target)
    names = [by] if by else _usual(errors)
    return pl.concat([_measures(errors, name) for name in names])


def unpredicted(db: Database, scope: Scope = EVERYTHING, target: str | None = None) -> pl.DataFrame:
    """Materials of which stored values of a predicted target are not compared because no model is active.

    Columns: target, material_id, n (structures with a value), by target and material.
    """
    return db.frame(
        f"""
        SELECT t.target, h.material_id, count(*) AS n
        FROM target_values AS t
        JOIN structures AS s USING (structure_id)
        JOIN hosts AS h USING (host_id)
        WHERE {IN_SCOPE} AND s.n_defects > 0 AND coalesce(t.target = $target, TRUE)
            AND replace(t.target, '_per_site', '') IN (SELECT target FROM models WHERE status = 'active')
            AND (h.material_id, replace(t.target, '_per_site', '')) NOT IN (
                SELECT (m.material_id, m.target) FROM models AS m WHERE m.status = 'active')
        GROUP BY ALL
        ORDER BY ALL
        """,
        {"target": target, **scope.parameters()},
    )


def missing_terms(db: Database, scope: Scope = EVERYTHING, target: str | None = None) -> list[str]:
    """Labels of defects and pairs without a term in the models in use: structures with them have no prediction."""
    return db.frame(
        f"""
        SELECT DISTINCT unnest(p.missing) AS label
        FROM predictions AS p
        JOIN structures AS s USING (structure_id)
        JOIN hosts AS h USING (host_id)
        WHERE {IN_SCOPE} AND p.value IS NULL AND coalesce(p.target = $target, TRUE)
        ORDER BY label
        """,
        {"target": target, **scope.parameters()},
    )["label"].to_list()


def coverage_sentences(
    errors: pl.DataFrame, left_out: pl.DataFrame, missing: Sequence[str] = ()
) -> list[str]:
    """What the errors leave out, in words: structures without a prediction, and materials without a model.

    ``errors`` as ``evaluate`` returns them, ``left_out`` as ``unpredicted`` does, ``missing`` as ``missing_terms``.
    """
    first = errors.filter(pl.col("by") == errors["by"][0])
    counted = first.group_by("target", maintain_order=True).agg(pl.col("n", "undefined").sum())
    sentences = [
        f"{target}: {undefined} of {n + undefined} structures have no prediction and are not in the errors"
        for target, n, undefined in counted.iter_rows()
        if undefined
    ]
    if sentences and missing:
        sentences.append(f"there is {no_term_for(missing)}")
    for (target,), rows in left_out.group_by(["target"], maintain_order=True):
        named = ", ".join(f"{n} of {material}" for material, n in rows.select("material_id", "n").iter_rows())
        sentences.append(f"{target}: no model is in use for the structures of other materials ({named})")
    return sentences


def _errors(db: Database, scope: Scope) -> pl.DataFrame:
    """One row per structure and target, with the columns of ``GROUPS``; error [eV] is null without a prediction."""
    return db.frame(
        "SELECT target, unit, error, material_id AS material, dataset_id AS dataset, descriptor, "
        f"CAST(n_defects AS VARCHAR) AS n_defects FROM prediction_errors WHERE {IN_SCOPE}",
        scope.parameters(),
    )


def _usual(errors: pl.DataFrame) -> list[str]:
    """The groupings that are shown when none is asked for."""
    return ["all", "n_defects"] if errors["material"].n_unique() == 1 else ["all", "material", "n_defects"]


def _measures(errors: pl.DataFrame, by: str) -> pl.DataFrame:
    """Error measures of every group of one grouping."""
    apart = by in ("n_defects", "descriptor") and errors["material"].n_unique() > 1
    keys = {
        "by": pl.lit(by),
        "group": pl.lit("all")
        if by == "all"
        else pl.concat_str("material", by, separator=" ")
        if apart
        else pl.col(by),
        "first": pl.col("material") if apart else pl.lit(""),
        "second": pl.col(by).str.len_chars() if by == "n_defects" else pl.lit(0),
    }  # numbers of defects rise: 9 stands before 10
    error = pl.col("error")
    return (
        errors.group_by("target", *(key.alias(name) for name, key in keys.items()))
        .agg(
            pl.col("unit").first(), error.count().alias("n"), error.null_count().alias("undefined"),
            (error.count() / pl.len()).alias("coverage"), error.abs().mean().alias("mae"),
            (error**2).mean().sqrt().alias("rmse"), error.abs().max().alias("max_error"), error.mean().alias("bias"),
        )
        .sort("target", "first", "second", "group")
        .select("by", "group", pl.exclude("by", "group", "first", "second"))
    )  # fmt: skip
