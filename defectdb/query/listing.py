"""Formulas as a table to read: errors in meV, constants as exact as their errors leave them, what matters first."""

from __future__ import annotations

import polars as pl

from defectdb.db import Database
from defectdb.expressions.expression import from_ast
from defectdb.expressions.texts import to_infix, to_their_errors


def formula_listing(db: Database, formulas: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``db.read.formulas`` to be read at a terminal, errors in meV, the columns that matter most first."""
    texts = db.frame(
        "SELECT formula_id, CAST(ast AS VARCHAR) AS ast, constants, constant_errors FROM formulas WHERE formula_id IN "
        "(SELECT unnest(CAST($ids AS BIGINT[])))",
        {"ids": formulas["formula_id"].to_list()},
    )
    named = {
        key: to_infix(from_ast(ast), to_their_errors(constants, errors), digits=12)
        for key, ast, constants, errors in texts.iter_rows()
    }
    return formulas.select(
        pl.col("formula_id").alias("id"),
        pl.col("pair_label").alias("pair"),
        pl.col("complexity").alias("tokens"),
        (1000 * pl.col("mae_train")).alias("MAE [meV]"),
        (1000 * pl.col("mae_cv")).alias("left out"),
        pl.col("formula_id").replace_strict(named, default="", return_dtype=pl.String).alias("formula"),
        "target",
        pl.col("material_id").alias("material"),
        "status",
        pl.col("dz_min").alias("|dz| from"),
        "version",
    )
