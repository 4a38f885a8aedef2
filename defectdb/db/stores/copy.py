"""A clean copy of a database: all rows under their own ids, and no view or macro but defectdb's."""

from __future__ import annotations

from pathlib import Path

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.db.opening import open_database
from defectdb.errors import DatabaseError
from defectdb.schema.dictionary import TABLES
from defectdb.schema.quoting import quoted_name

RUNNING_WHEN_COPIED = "it was still running when this copy was made"


def copy_database(db: Database, path: Path) -> None:
    """Write all rows to a new file in the storage version that DuckDB 1.4 and browsers read.

    Views and macros of others stay behind. Raises DatabaseError where the file is there already.
    """
    if path.exists():
        raise DatabaseError(f"{path} is there already")
    with open_database(path, create=True) as copy, copy.transaction():
        for table in (entry.name for entry in TABLES if not entry.view and entry.name != "schema_migrations"):
            for batch in db.batches(f"SELECT * FROM {quoted_name(table)}"):
                copy.append(table, batch)
        copy.execute(
            "UPDATE runs SET status = 'failed', reason = ? WHERE status = 'running'", [RUNNING_WHEN_COPIED]
        )
        compile_formulas(copy)
