"""The stored rows to a list of contradictions: references that no key guards, and numbers that disagree."""

from __future__ import annotations

from importlib import resources

import polars as pl

from defectdb.db.connection import Database
from defectdb.errors import ExpressionError
from defectdb.expressions.expression import from_ast
from defectdb.expressions.texts import to_sql


def check(db: Database) -> pl.DataFrame:
    """One row per check: its name, how many rows contradict it, and one of them as an example."""
    found = [
        db.frame(f"SELECT count(*) AS n, min(example) AS example FROM ({sql})").row(0)
        for sql in _queries().values()
    ]
    rows = [(name, *result) for name, result in zip(_queries(), found, strict=True)]
    rows.append(("the SQL of every formula is that of its tree", *_wrong_texts(db)))
    schema = {"check": pl.String, "n": pl.Int64, "example": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _queries() -> dict[str, str]:
    """Name to query of each check: the paragraphs of check.sql, each under a comment that names it."""
    text = (resources.files("defectdb.db") / "sql" / "check.sql").read_text(encoding="utf-8")
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    named = (part.split("\n", 1) for part in paragraphs)
    return {title.removeprefix("-- "): sql.rstrip(";") for title, sql in named}


def _wrong_texts(db: Database) -> tuple[int, str | None]:
    wrong = []
    for formula_id, ast, sql, constants in db.frame(
        "SELECT formula_id, ast, sql, constants FROM formulas ORDER BY formula_id"
    ).iter_rows():
        try:
            same = to_sql(from_ast(ast), constants) == sql
        except ExpressionError:
            same = False
        if not same:
            wrong.append(f"formula {formula_id}")
    return len(wrong), wrong[0] if wrong else None
