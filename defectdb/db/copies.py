"""A database file copied whole, in the storage format that DuckDB 1.4 and browsers read."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from defectdb.db.opening import STORAGE_VERSION, open_database
from defectdb.errors import DatabaseError
from defectdb.schema.quoting import quoted_text


def copy_database(source: str | Path, target: Path) -> None:
    """Write a copy of a database with its tables, views, macros and comments; a copy that is there is replaced at once.

    Nothing in the source can make the copying reach other files. Raises DatabaseError.
    """
    open_database(source, read_only=True).close()  # one of ours, of this version, and not locked
    if target.exists() and target.samefile(source):
        raise DatabaseError(f"{target} is the database itself; name another folder")
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH {quoted_text(str(source))} AS source (READ_ONLY)")
            connection.execute(
                f"ATTACH {quoted_text(str(draft))} AS target (STORAGE_VERSION '{STORAGE_VERSION}')"
            )
            connection.execute("SET enable_external_access = false")
            connection.execute("COPY FROM DATABASE source TO target")
            connection.execute("CHECKPOINT target")
        draft.replace(target)
    except (duckdb.Error, OSError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else str(cause).splitlines()[0]
        raise DatabaseError(f"{source} cannot be copied to {target}: {why or cause}") from cause
    finally:
        for path in (draft, Path(f"{draft}.wal")):
            path.unlink(missing_ok=True)
