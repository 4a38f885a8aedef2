"""Bring files of the days before the first release, whose first schema was another, to the released one."""

from __future__ import annotations

import re

import duckdb

_COLUMNS = (
    "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND database_name = current_database()"
)
_OF_STRUCTURE = """
    ALTER TABLE {0} ADD COLUMN structure_key INTEGER;
    UPDATE {0} SET structure_key = s.structure_key FROM structures AS s WHERE s.structure_id = {0}.structure_id;
"""

MISSING: dict[tuple[str, str], str] = {
    ("formulas", "description_length"): "ALTER TABLE formulas ADD COLUMN description_length DOUBLE",
    ("structures", "structure_key"): """
        ALTER TABLE structures ADD COLUMN structure_key INTEGER;
        UPDATE structures SET structure_key = n.number FROM (
            SELECT structure_id, row_number() OVER (ORDER BY structure_id) AS number FROM structures
        ) AS n WHERE n.structure_id = structures.structure_id;
    """,
    ("structures", "defect_labels"): """
        ALTER TABLE structures ADD COLUMN defect_labels VARCHAR DEFAULT '';
        UPDATE structures SET defect_labels = n.labels FROM (
            SELECT structure_id, string_agg(label, '+' ORDER BY label) AS labels FROM defects GROUP BY structure_id
        ) AS n WHERE n.structure_id = structures.structure_id;
    """,
    ("defects", "structure_key"): _OF_STRUCTURE.format("defects"),
    ("pairs", "structure_key"): _OF_STRUCTURE.format("pairs"),
}
"""Table and column that early files lack, and the statements that add it."""

_NEW_GENERATIONS = """
    UPDATE generations SET n_unique = n_new;
    ALTER TABLE generations DROP COLUMN n_new;
    ALTER TABLE generations DROP COLUMN reached;
    ALTER TABLE generations RENAME COLUMN best_mse TO best_error;
"""
"""For a few days the first schema had what migration 0002 adds: taken back, so that it can."""


def bring_to_release(connection: duckdb.DuckDBPyConnection, version: int, first: str) -> None:
    """Give an early file the columns and views of its version's release, in the caller's transaction.

    ``first`` is the SQL of the first migration.
    """
    views = re.findall(r"^CREATE VIEW .*?;$", first, re.DOTALL | re.MULTILINE) if version == 1 else []
    for (table, column), sql in MISSING.items():
        if column not in _columns(connection, table):
            connection.execute(sql)
    for view in views:
        connection.execute(view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    if version == 1 and "n_new" in _columns(connection, "generations"):
        connection.execute(_NEW_GENERATIONS)
    if version > 1 and "island" not in _columns(connection, "generations"):
        connection.execute("ALTER TABLE generations ADD COLUMN island INTEGER")


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    return {name for (name,) in connection.execute(_COLUMNS, [table]).fetchall()}
