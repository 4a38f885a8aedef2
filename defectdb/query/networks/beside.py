"""Errors of networks and formulas on the same structures, by group."""

from __future__ import annotations

from importlib import resources

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, Scope
from defectdb.errors import UnknownNameError, UsageError
from defectdb.query.evaluate import GROUPS

METHODS = ("formulas", "network", "both")
"""Models of formulas, networks, and networks of what the formulas leave added to them."""


def network_errors(db: Database, target: str | None = None, scope: Scope = EVERYTHING) -> pl.DataFrame:
    """One row per structure and target that a network in use predicts and a value is stored of.

    Columns: structure_id, structure_key, target, unit, trained (whether a network saw the value), the errors (predicted
    minus actual, eV; null without a prediction) of METHODS, material, dataset, descriptor, n_defects.
    Raises UnknownNameError for a target without such rows, UsageError where there are none at all.
    """
    folder = resources.files("defectdb.query.networks")
    errors = db.frame((folder / "errors.sql").read_text(encoding="utf-8"))
    if errors.is_empty():
        raise UsageError("no network in use predicts a stored target; `defectdb learn --network` trains one")
    if scope.material is not None:
        errors = errors.filter(material=scope.material)
    if scope.datasets:
        errors = errors.filter(pl.col("dataset").is_in(scope.datasets))
    if target is not None:
        if target not in errors["target"]:
            raise UnknownNameError("target of a network", target, sorted(set(errors["target"])))
        errors = errors.filter(target=target)
    return errors


def evaluate_networks(
    db: Database, by: str | None = None, target: str | None = None, scope: Scope = EVERYTHING
) -> pl.DataFrame:
    """Mean absolute errors of networks and formulas on the same structures, in eV.

    Columns: by, group, target, unit, rows ("in training" or "left out", of the networks), n and the error of every one
    of METHODS, null where it predicts none of these. Without ``by``: all, by material and by number of defects.
    Raises as ``network_errors``, and UnknownNameError for an unknown grouping.
    """
    if by is not None and by not in GROUPS:
        raise UnknownNameError("grouping", by, list(GROUPS))
    errors = network_errors(db, target, scope)
    rows = pl.when("trained").then(pl.lit("in training")).otherwise(pl.lit("left out"))
    errors = errors.with_columns(rows=rows, all=pl.lit("all"))
    names = [by] if by else ["all", "material", "n_defects"]
    return pl.concat(
        errors.group_by("target", "rows", pl.col(name).alias("group"))
        .agg(pl.col("unit").first(), n=pl.len(), **{m: pl.col(m).abs().mean() for m in METHODS})
        .sort("target", "rows", pl.col("group").str.len_chars() if name == "n_defects" else "group", "group")
        .select(pl.lit(name).alias("by"), "group", "target", "unit", "rows", "n", *METHODS)
        for name in names
    )
