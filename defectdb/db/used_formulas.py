"""Formulas that models use, checked row by row before anything stored in them becomes part of a SQL statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any

import polars as pl

from defectdb.db.connection import Database
from defectdb.errors import DatabaseError
from defectdb.expressions.expression import Expression, from_ast, variables
from defectdb.schema.fields import TARGETS
from defectdb.schema.labels import COMPOSITION, formula_order, is_label
from defectdb.schema.records import COMPOSITION_VARIABLES, PAIR_VARIABLES, TRIPLE_VARIABLES

LATEST = (
    "(material_id, target, n_defects_min, version) IN (SELECT (n.material_id, n.target, n.n_defects_min, "
    "max(n.version)) FROM models AS n GROUP BY n.material_id, n.target, n.n_defects_min)"
)
"""SQL predicate over models: the newest version of a material and target."""


def used_formulas(db: Database) -> pl.DataFrame:
    """Every formula of any model, once, and whether an active or a latest model uses it.

    What is stored may be of any type in a file of somebody else, so that columns are cast and rows are checked.
    """
    rows = db.frame(
        f"""
        SELECT
            CAST(f.formula_id AS BIGINT) AS formula_id, CAST(f.material_id AS VARCHAR) AS material_id,
            CAST(f.pair_label AS VARCHAR) AS pair_label, CAST(f.target AS VARCHAR) AS target,
            CAST(f.version AS BIGINT) AS version, CAST(f.ast AS VARCHAR) AS ast,
            CAST(f.constants AS DOUBLE[]) AS constants, CAST(f.infix AS VARCHAR) AS infix,
            CAST(f.images AS VARCHAR) AS images, CAST(f.dz_min AS DOUBLE) AS dz_min,
            CAST(f.dz_max AS DOUBLE) AS dz_max, CAST(f.cutoff AS DOUBLE) AS cutoff,
            bool_or(m.status = 'active') AS active,
            bool_or(m.latest) AS latest
        FROM formulas AS f
        JOIN model_terms AS t USING (formula_id)
        JOIN (SELECT model_id, status, {LATEST} AS latest FROM models) AS m USING (model_id)
        GROUP BY ALL
        ORDER BY ALL
        """
    )
    for row in rows.iter_rows(named=True):
        _demand_formula(row)
    return rows


def _demand_formula(row: Mapping[str, Any]) -> None:
    """Raises DatabaseError for a row that no learner writes: its texts would become part of SQL statements."""
    wrong = [
        f"{name} {str(row[name])[:60]!r}"
        for name, right in (
            ("pair_label", _is_formula_label(str(row["pair_label"]))),
            ("target", row["target"] in TARGETS),
            ("images", row["images"] in ("nearest", "sum")),
            ("cutoff", row["cutoff"] is None or isfinite(row["cutoff"])),
            ("dz_min", row["dz_min"] is not None and isfinite(row["dz_min"])),
            ("dz_max", row["dz_max"] is not None and isfinite(row["dz_max"])),
        )
        if not right
    ]
    if not wrong:
        wrong = [
            f"variable {name!r}"
            for name in variables(tree_of(row["ast"]))
            if not _is_variable(name, order_of(row))
        ]
    if wrong:
        raise DatabaseError(
            f"formula {row['formula_id']} is none that defectdb wrote ({', '.join(wrong)}); nothing was compiled"
        )


def _is_formula_label(text: str) -> bool:
    """Whether a formula can be about it."""
    return text == COMPOSITION or (is_label(text) and formula_order(text) in (2, 3))


_COUNTED = re.compile(r"n_[a-z]+_[a-z]+")


def _is_variable(name: str, order: int) -> bool:
    """Whether a formula about so many defects may hold the variable."""
    if order == 0:
        return name in COMPOSITION_VARIABLES or _COUNTED.fullmatch(name) is not None
    return name in (PAIR_VARIABLES if order == 2 else TRIPLE_VARIABLES)


def order_of(row: Mapping[str, object]) -> int:
    """Number of defects that a formula's row is about (0: a composition)."""
    return formula_order(str(row["pair_label"]))


def variables_of(row: Mapping[str, object]) -> tuple[str, ...]:
    """The variables of a formula's macro, in order."""
    order = order_of(row)
    return (
        PAIR_VARIABLES if order == 2 else TRIPLE_VARIABLES if order else variables(tree_of(str(row["ast"])))
    )


@cache
def tree_of(ast: str) -> Expression:
    """The tree of a stored formula. Raises ExpressionError."""
    return from_ast(ast)
