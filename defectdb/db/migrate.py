"""Apply the numbered SQL files of the schema, each once, all that are new in one transaction."""

from __future__ import annotations

from importlib import resources

import duckdb

from defectdb.db.early_files import bring_to_release
from defectdb.errors import DatabaseError
from defectdb.schema.fields import comments


def _migrations() -> list[tuple[int, str, str]]:
    folder = resources.files("defectdb.schema") / "migrations"
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name[5:-4], (folder / name).read_text(encoding="utf-8")) for name in files]


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The newest migration applied, 0 for an empty file. Raises DatabaseError if it is too new."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'schema_migrations' AND NOT internal "
        "AND database_name = current_database()"
    ).fetchall()
    if known == [(0,)]:
        return 0
    try:
        [(version,)] = connection.execute(
            "SELECT coalesce(max(CAST(version AS INTEGER)), 0) FROM schema_migrations"
        ).fetchall()
    except duckdb.Error as cause:
        why = str(cause).splitlines()[0]
        raise DatabaseError(f"the file's table schema_migrations is none of defectdb's: {why}") from cause
    newest = _migrations()[-1][0]
    if version > newest:
        raise DatabaseError(
            f"the database has schema version {version}; this defectdb knows {newest}: upgrade it"
        )
    return int(version)


def pending(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the migrations still to apply."""
    version = schema_version(connection)
    return [f"{number:04}_{name}" for number, name, _ in _migrations() if number > version]


def migrate(connection: duckdb.DuckDBPyConnection, *, commented: bool = True) -> list[str]:
    """Apply every pending migration, all or none; their names. Raises DatabaseError for a file that is not as it says.

    Without ``commented`` columns go without their COMMENTs, half of the time: for databases nobody looks at.
    """
    version = schema_version(connection)
    new = [migration for migration in _migrations() if migration[0] > version]
    if not new:
        return []
    connection.execute("BEGIN TRANSACTION")
    try:
        if version:
            bring_to_release(connection, version, _migrations()[0][2])
        for number, name, sql in new:
            connection.execute(sql)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, now()::TIMESTAMP)", [number, name]
            )
        for comment in comments() if commented else ():
            connection.execute(comment)
        connection.execute("COMMIT")
    except BaseException as error:
        connection.execute("ROLLBACK")
        if isinstance(error, duckdb.Error):
            raise DatabaseError(f"the file's schema is none of defectdb's: {str(error).strip()}") from error
        raise
    return [f"{number:04}_{name}" for number, name, _ in new]
