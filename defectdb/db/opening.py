"""Open a database file sealed off from all other files, bring its schema up to date, make it where it is missing."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import duckdb

from defectdb.db.access.locks import (
    FileLockedError,
    in_turn,
    is_alive,
    is_held,
    patience,
    run_lock,
    take_turn,
    thread_turn,
)
from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.db.migrate import migrate, pending, schema_version
from defectdb.errors import DatabaseError
from defectdb.schema.quoting import quoted_text

MEMORY = ":memory:"
STORAGE_VERSION = "v1.4.0"  # files that DuckDB 1.4 and browsers can read
_HOLDER = re.compile(r"\(PID (\d+)\)")
_NO_EXTENSIONS = {
    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "allow_persistent_secrets": "false",
    "lock_configuration": "true", "allowed_configs": "[enable_progress_bar]",
}  # fmt: skip
_SEALED = {**_NO_EXTENSIONS, "enable_external_access": "false"}
"""A file may hold views and macros of somebody else: they must reach neither other files nor the network."""


def open_database(
    path: str | Path,
    *,
    read_only: bool = False,
    create: bool = False,
    files: bool = False,
    shared: bool = False,
    wait: float | None = None,
) -> Database:
    """Open a database file (or ``:memory:``).

    ``create`` makes a missing file; a writable open applies pending migrations and marks runs that were killed as
    failed. ``files`` lets SQL statements reach other files, which nothing but a user's own statement needs. A
    ``shared`` database is written in its transactions alone: between them other processes read and write the file.

    A file that another process writes is waited for: ``wait`` seconds, by default ``$DEFECTDB_WAIT`` or 30. Raises
    DatabaseError where the file is missing, locked for longer, no DuckDB file, or written by a newer defectdb.
    """
    name = str(path)
    if name == MEMORY:
        connection = connect_memory()
        migrate(connection)
        return Database(connection, name, read_only=False)
    if (address := _ADDRESS.match(name)) is not None:
        name = _local_name(name, address[1], read_only=read_only)
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise DatabaseError(f"the name {name!r} of the database is no UTF-8")
    file = Path(name)
    new = create and not os.path.lexists(file) and _create(file)
    if not new and not _exists(file):
        raise DatabaseError(f"there is no database at {name}; `defectdb ingest SOURCE` makes one")

    def connect(*, read_only: bool, wait: float) -> duckdb.DuckDBPyConnection:
        return _connect(file, read_only=read_only, files=files, wait=wait)

    if shared and not read_only:
        take_turn(file)
    try:
        connection = connect(read_only=read_only, wait=patience() if wait is None else wait)
        try:
            migrated = _check_version(connection, name, read_only=read_only)
            if not read_only:
                _remove_drafts(file)
                _fail_killed_runs(connection, file)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        if shared and not read_only:
            thread_turn(file).release()
        raise
    db = Database(connection, name, read_only=read_only, new=new, reopen=connect, shared=shared)
    if migrated and not new:
        with db.transaction():
            compile_formulas(db)  # views of an earlier schema lack columns
    if shared:
        db.release()
    return db


_ADDRESS = re.compile(r"([a-z][a-z0-9+]+):(?=/)")


def _local_name(name: str, scheme: str, *, read_only: bool) -> str:
    """The file that a ``file:`` address means, for reading. Raises DatabaseError for all others, with what helps."""
    if scheme == "file":
        if not read_only:
            raise DatabaseError(f"{name} is opened for reading only; to write to it give its path")
        return url2pathname(urlsplit(name).path)
    raise DatabaseError(
        f"{name} is not on this machine, and databases are opened from files alone: download it, e.g. "
        f"`curl -LO {name}`, then give the file to --db (or mount the folder it is in)"
    )


def connect_memory() -> duckdb.DuckDBPyConnection:
    """A new in-memory database without tables, sealed off from all files."""
    return _silent(duckdb.connect(config=dict(_SEALED)))


def _silent(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Without the progress bar that DuckDB draws between the data on standard output."""
    connection.execute("SET enable_progress_bar = false")
    return connection


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as cause:
        raise DatabaseError(f"{file} cannot be looked at: {cause.strerror or cause}") from cause


# ---------------------------------------------------------------- new files


def _create(file: Path) -> bool:
    """Make the file under another name, then link it to its own: True, or False where another process was faster.

    A failure half-way leaves no half-made database behind, and no file that is there is ever replaced.
    """
    if not file.parent.is_dir():
        raise DatabaseError(f"there is no folder {file.parent} to make {file.name} in")
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        with duckdb.connect() as connection:
            connection.execute(
                f"ATTACH {quoted_text(str(draft))} AS draft (STORAGE_VERSION '{STORAGE_VERSION}')"
            )
            connection.execute("USE draft")
            migrate(connection)
            connection.execute("USE memory")
            connection.execute("DETACH draft")
        return _link(draft, file)
    except (duckdb.Error, OSError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else str(cause).splitlines()[0]
        raise DatabaseError(f"cannot make a database at {file}: {why or cause}") from cause
    finally:
        _remove(draft)


def _link(draft: Path, file: Path) -> bool:
    """Give the draft its name; False where that name is taken."""
    try:
        os.link(draft, file)
    except FileExistsError:
        return False
    except OSError:  # a file system without links: the check and the renaming are two steps there
        if os.path.lexists(file):
            return False
        draft.rename(file)
    return True


def _remove(draft: Path) -> None:
    for path in (draft, Path(f"{draft}.wal")):
        with suppress(OSError):
            path.unlink()


def _remove_drafts(file: Path) -> None:
    """Remove the drafts of processes that were killed while they made this file."""
    pattern = re.compile(re.escape(f".{file.name}.") + r"(\d+)\.draft(\.wal)?")
    with suppress(OSError):
        for entry in os.scandir(file.parent):
            match = pattern.fullmatch(entry.name)
            if match is not None and not is_alive(int(match[1])):
                _remove(Path(entry.path))


# ---------------------------------------------------------------- files that are there


def _connect(file: Path, *, read_only: bool, files: bool, wait: float) -> duckdb.DuckDBPyConnection:
    if not file.is_file():
        raise DatabaseError(f"{file} is no file")
    if read_only and file.stat().st_size == 0:
        raise DatabaseError(f"{file} is an empty file and no database")
    config = dict(_NO_EXTENSIONS if files else _SEALED)

    def attempt() -> duckdb.DuckDBPyConnection:
        try:
            return _silent(duckdb.connect(str(file), read_only=read_only, config=config))
        except duckdb.IOException as cause:
            if "lock" in str(cause).lower():
                raise FileLockedError from cause
            raise

    try:
        return in_turn(attempt, file, read_only=read_only, wait=wait)
    except FileLockedError as refused:
        cause = refused.__cause__
        holder = _HOLDER.search(str(cause))
        who = f"process {holder.group(1)}" if holder else "another process"
        raise DatabaseError(
            f"{file} is in use by {who}: DuckDB lets one process at a time open a file that is being "
            "written; close it there and try again"
        ) from cause
    except duckdb.ConnectionException as cause:
        raise DatabaseError(
            f"{file} is open in this process already, with other settings; close it first"
        ) from cause
    except duckdb.Error as cause:
        raise DatabaseError(f"{file} cannot be opened as a database: {str(cause).splitlines()[0]}") from cause


def _check_version(connection: duckdb.DuckDBPyConnection, name: str, *, read_only: bool) -> bool:
    """Migrate where that is needed and can be; whether it was. Raises DatabaseError."""
    if schema_version(connection) == 0 and connection.execute(
        "SELECT count(*) FROM duckdb_tables()"
    ).fetchall() != [(0,)]:
        raise DatabaseError(f"{name} is a DuckDB file, but not one of defectdb's")
    waiting = pending(connection)
    if not waiting:
        return False
    if read_only:
        raise DatabaseError(f"{name} has an older schema; run `defectdb --db {name} migrate`")
    migrate(connection)
    return True


GONE = "its process ended before it was done"
"""Why a run failed that nobody could mark as failed itself."""


def _fail_killed_runs(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Mark runs as failed that are said to be running and whose process is gone."""
    try:
        rows = connection.execute("SELECT run_id FROM runs WHERE status = 'running'").fetchall()
        gone = [run_id for (run_id,) in rows if not is_held(run_lock(file, run_id))]
        if gone:
            connection.execute(
                "UPDATE runs SET status = 'failed', finished_at = now() AT TIME ZONE 'UTC', reason = $why "
                "WHERE list_contains($gone, run_id) AND status = 'running'",
                {"gone": gone, "why": GONE},
            )
    except duckdb.Error as cause:
        raise DatabaseError(
            f"the table of runs is none of defectdb's: {str(cause).splitlines()[0]}"
        ) from cause
    for run_id in gone:
        _remove(run_lock(file, run_id))
