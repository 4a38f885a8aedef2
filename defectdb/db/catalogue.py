"""Compare a file's views and macros with those that defectdb writes for its formulas, and write them anew."""

from __future__ import annotations

import re
from dataclasses import dataclass
from graphlib import TopologicalSorter

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.db.opening import MEMORY, open_database
from defectdb.errors import DatabaseError, QueryError
from defectdb.schema.fields import comments
from defectdb.schema.quoting import quoted_name

_COPIED = ("formulas", "models", "model_terms")
_VIEWS = """
    SELECT schema_name, view_name, sql FROM duckdb_views()
    WHERE NOT internal AND database_name = current_database()
"""
_MACROS = """
    SELECT schema_name, function_name, function_type || ' ' || CAST(parameters AS VARCHAR) || ' ' || macro_definition
    FROM duckdb_functions() WHERE NOT internal AND database_name = current_database()
"""
_BUILT_IN = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE internal"

_HINT = re.compile(r"(NOT )?MATERIALIZED \(")  # files for DuckDB 1.4 do not keep it

Objects = dict[str, str]  # "view name" or "macro name" -> its definition


@dataclass(frozen=True, slots=True)
class Foreign:
    """Views and macros that are not what defectdb writes, each as ``view name`` or ``macro name``, sorted.

    changed   defectdb's own, with another definition or missing
    shadowing macros with the name of one of DuckDB's own functions, which they replace in every query
    others    all other views and macros: somebody added them
    """

    changed: tuple[str, ...]
    shadowing: tuple[str, ...]
    others: tuple[str, ...]


def foreign_objects(db: Database) -> Foreign:
    """What in the file is not of defectdb. Raises DatabaseError where the stored formulas cannot be compiled."""
    right, found = _right_objects(db), _objects(db)
    built_in = set(db.frame(_BUILT_IN)["function_name"])
    strangers = sorted(set(found) - set(right))
    shadowing = [name for name in strangers if name.removeprefix("macro ").split(" ")[-1] in built_in]
    return Foreign(
        changed=tuple(sorted(name for name, texts in right.items() if found.get(name) not in texts)),
        shadowing=tuple(shadowing),
        others=tuple(name for name in strangers if name not in shadowing),
    )


def rewrite_views(db: Database) -> None:
    """Write the views of the schema anew, in the caller's transaction; those that others added stay."""
    with open_database(MEMORY) as right:
        views = right.frame(f"{_VIEWS} ORDER BY view_oid")
    texts = dict(views.select("view_name", "sql").iter_rows())
    for name in _in_order(texts):
        sql = texts[name]
        head = f"CREATE VIEW {name} "
        if not sql.startswith(head):
            raise DatabaseError(f"the definition of view {name} reads differently in this version of DuckDB")
        db.execute(f"CREATE OR REPLACE VIEW {quoted_name(name)} {sql.removeprefix(head)}")
    for comment in comments(views["view_name"].to_list()):
        db.execute(comment)


def _in_order(texts: dict[str, str]) -> list[str]:
    """Names of views, each behind those that its definition reads: what it reads may be a stranger's until then."""
    words = {name: set(re.findall(r"\w+", sql)) for name, sql in texts.items()}
    reads = {name: {other for other in texts if other in words[name] and other != name} for name in texts}
    return list(TopologicalSorter(reads).static_order())


def _objects(db: Database) -> Objects:
    named = {}
    for kind, sql in (("view", _VIEWS), ("macro", _MACROS)):
        for schema, name, text in db.frame(sql).iter_rows():
            named[f"{kind} {name}" if schema == "main" else f"{kind} {schema}.{name}"] = _HINT.sub("(", text)
    return named


def _right_objects(db: Database) -> dict[str, set[str]]:
    """The views and macros that defectdb would write for the formulas of a file, each with its right definitions.

    Until the first model is learned the empty views of the schema may stand in place of compiled ones.
    """
    with open_database(MEMORY) as copy:
        empty = _objects(copy)
        try:
            with copy.transaction():
                for table in _COPIED:
                    copy.append(table, db.frame(f"SELECT * FROM {quoted_name(table)}"))
                compile_formulas(copy)
        except QueryError as error:
            raise DatabaseError(f"the stored formulas are none that defectdb wrote: {error}") from error
        learned = copy.value("SELECT count(*) FROM models") > 0
        return {
            name: {text} if learned else {text, empty.get(name, text)}
            for name, text in _objects(copy).items()
        }
