"""Find contradictions in a database: references that no key guards, numbers that disagree, foreign views."""

from __future__ import annotations

from importlib import resources

import polars as pl

from defectdb.db.catalogue import foreign_objects
from defectdb.db.connection import Database
from defectdb.errors import DatabaseError, ExpressionError
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
    rows += _foreign(db)
    schema = {"check": pl.String, "n": pl.Int64, "example": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _foreign(db: Database) -> list[tuple[str, int, str | None]]:
    """Views and macros beside what defectdb writes; what a user added contradicts nothing."""
    try:
        found = foreign_objects(db)
    except DatabaseError as error:
        return [(VIEWS, 1, str(error).splitlines()[0])]
    return [
        (VIEWS, len(found.changed), _example(found.changed)),
        ("no macro stands for one of DuckDB's functions", len(found.shadowing), _example(found.shadowing)),
    ]


VIEWS = "views and macros are those that defectdb writes (`migrate` writes them anew)"


def added(db: Database) -> tuple[str, ...]:
    """Views and macros that somebody added, as ``view name`` or ``macro name``."""
    try:
        return foreign_objects(db).others
    except DatabaseError:
        return ()


def _example(names: tuple[str, ...]) -> str | None:
    return ", ".join(names) or None


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
