"""A path to an open, migrated DuckDB file; the only class that holds a duckdb connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import polars as pl

from defectdb.db.migrate import migrate, pending, schema_version
from defectdb.errors import DatabaseError, DefectDBError, QueryError

MEMORY = ":memory:"
STORAGE_VERSION = "v1.5.0"  # files that DuckDB 1.5 clients can still read
_HOLDER = re.compile(r"\(PID (\d+)\)")

Parameters = Mapping[str, Any] | Sequence[Any] | None


class Database:
    """An open database. Reads give polars frames; writes happen inside ``transaction()`` and nowhere else."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self._connection = connection
        self.path = path
        self.read_only = read_only
        self._in_transaction = False

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file's lock."""
        self._connection.close()

    # ------------------------------------------------------------ reading

    def frame(self, sql: str, parameters: Parameters = None) -> pl.DataFrame:
        """The rows of one query. Values are bound as ``$name`` or ``?``. Raises QueryError."""
        with _query_errors(sql):
            relation = self._connection.sql(sql, params=parameters)
            if relation is None:
                return pl.DataFrame()
            frame: pl.DataFrame = relation.pl()
            return frame

    def batches(
        self, sql: str, parameters: Parameters = None, rows: int = 1_000_000
    ) -> Iterator[pl.DataFrame]:
        """The rows of one query, at most ``rows`` at a time. Raises QueryError."""
        with _query_errors(sql):
            relation = self._connection.sql(sql, params=parameters)
            reader = relation.to_arrow_reader(rows)
        for batch in reader:
            with _query_errors(sql):
                converted = pl.from_arrow(batch)
            assert isinstance(converted, pl.DataFrame)
            yield converted

    def value(self, sql: str, parameters: Parameters = None) -> Any:
        """The first column of the first row, None without rows. Raises QueryError."""
        frame = self.frame(sql, parameters)
        return frame.item(0, 0) if frame.height else None

    def tables(self) -> list[str]:
        """Names of the tables and views, sorted."""
        return self.frame(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY ALL"
        )["table_name"].to_list()

    def columns(self, table: str) -> list[str]:
        """Column names of a table or view in order, empty if there is none of that name."""
        try:
            rows = self._connection.execute("SELECT name FROM pragma_table_info(?)", [table]).fetchall()
        except duckdb.CatalogException:
            return []
        return [name for (name,) in rows]

    # ------------------------------------------------------------ writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back on any exception."""
        if self._in_transaction:
            raise DatabaseError("a transaction inside a transaction would commit half of the outer one")
        self._connection.execute("BEGIN TRANSACTION")
        self._in_transaction = True
        try:
            yield
            with _query_errors("COMMIT"):
                self._connection.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise
        finally:
            self._in_transaction = False

    def _rollback(self) -> None:
        """Undo, where the failure has not ended the transaction itself; must not hide the first error."""
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.Error:
            return

    def execute(self, sql: str, parameters: Parameters = None) -> None:
        """Run a statement that changes the database; only inside ``transaction()``. Raises QueryError."""
        self._demand_transaction()
        with _query_errors(sql):
            self._connection.execute(sql, parameters)

    def append(self, table: str, frame: pl.DataFrame) -> int:
        """Append a frame's rows to a table, columns matched by name; how many. Only in ``transaction()``."""
        self._demand_transaction()
        if not frame.height:
            return 0
        unknown = sorted(set(frame.columns) - set(self.columns(table)))
        if unknown:
            raise DefectDBError(f"table {table!r} has no column {', '.join(unknown)}")
        sql = f'INSERT INTO "{table}" BY NAME SELECT * FROM appended'
        self._connection.register("appended", frame.to_arrow())
        try:
            with _query_errors(sql):
                self._connection.execute(sql)
        finally:
            self._connection.unregister("appended")
        return frame.height

    @contextmanager
    def registered(self, **frames: pl.DataFrame) -> Iterator[None]:
        """Let queries read these frames by name while the block runs."""
        for name, frame in frames.items():
            self._connection.register(name, frame.to_arrow())
        try:
            yield
        finally:
            for name in frames:
                self._connection.unregister(name)

    def copy(self, sql: str, path: Path, options: str) -> None:
        """COPY the rows of a query to a file, ``options`` as in ``FORMAT parquet``. Raises QueryError."""
        target = str(path).replace("'", "''")
        statement = f"COPY ({sql}) TO '{target}' ({options})"
        with _query_errors(statement):
            self._connection.execute(statement)

    def next_id(self, table: str, column: str) -> int:
        """One more than the largest id of the table."""
        return int(self.value(f'SELECT coalesce(max("{column}"), 0) + 1 FROM "{table}"'))

    def _demand_transaction(self) -> None:
        if self.read_only:
            raise DatabaseError(f"{self.path} is open for reading only")
        if not self._in_transaction:
            raise DatabaseError("writes go through Database.transaction()")


@contextmanager
def _query_errors(sql: str) -> Iterator[None]:
    try:
        yield
    except duckdb.IOException as cause:
        raise DatabaseError(f"the database could not be read or written: {cause}") from cause
    except (duckdb.FatalException, duckdb.InternalException, duckdb.OutOfMemoryException) as cause:
        raise DatabaseError(f"DuckDB gave up: {cause}") from cause
    except duckdb.Error as cause:
        raise QueryError(str(cause).strip(), sql.strip()) from cause
    except pl.exceptions.PolarsError as cause:  # INTERVAL and UNION
        message = "a column is of a type that frames do not have; write CAST(column AS VARCHAR)"
        raise QueryError(message, sql.strip()) from cause


def open_database(path: str | Path, *, read_only: bool = False, create: bool = False) -> Database:
    """Open a database file (or ``:memory:``).

    ``create`` makes a missing file; a writable open applies pending migrations. Raises DatabaseError where
    the file is missing, locked by another process, no DuckDB file, or written by a newer defectdb.
    """
    name = str(path)
    if name == MEMORY:
        connection = duckdb.connect()
        migrate(connection)
        return Database(connection, name, read_only=False)
    file = Path(name)
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise DatabaseError(f"the name {name!r} of the database is no UTF-8")
    if not file.exists():
        if not create:
            raise DatabaseError(f"there is no database at {name}; `defectdb ingest SOURCE` makes one")
        _create(file)
    connection = _connect(file, read_only=read_only)
    try:
        _check_version(connection, name, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return Database(connection, name, read_only=read_only)


def _create(file: Path) -> None:
    """Make the file under another name first: a failure half-way leaves no half-made database behind."""
    if not file.parent.is_dir():
        raise DatabaseError(f"there is no folder {file.parent} to make {file.name} in")
    draft = file.with_name(f".{file.name}.{id(file):x}.draft")
    quoted = str(draft).replace("'", "''")
    try:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{quoted}' AS draft (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute("USE draft")
            migrate(connection)
            connection.execute("USE memory")
            connection.execute("DETACH draft")
        draft.rename(file)
    except (duckdb.Error, OSError) as cause:
        raise DatabaseError(f"cannot make a database at {file}: {cause}") from cause
    finally:
        draft.unlink(missing_ok=True)
        Path(f"{draft}.wal").unlink(missing_ok=True)


def _connect(file: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    if read_only and file.is_file() and file.stat().st_size == 0:
        raise DatabaseError(f"{file} is an empty file and no database")
    try:
        return duckdb.connect(str(file), read_only=read_only)
    except duckdb.IOException as cause:
        text = str(cause)
        if "lock" in text.lower():
            holder = _HOLDER.search(text)
            who = f"process {holder.group(1)}" if holder else "another process"
            raise DatabaseError(
                f"{file} is in use by {who}: DuckDB lets one process at a time open a file that is being "
                "written; close it there and try again"
            ) from cause
        raise DatabaseError(f"{file} cannot be opened as a database: {text.splitlines()[0]}") from cause
    except duckdb.Error as cause:
        raise DatabaseError(f"{file} cannot be opened as a database: {str(cause).splitlines()[0]}") from cause


def _check_version(connection: duckdb.DuckDBPyConnection, name: str, *, read_only: bool) -> None:
    if schema_version(connection) == 0 and connection.execute(
        "SELECT count(*) FROM duckdb_tables()"
    ).fetchall() != [(0,)]:
        raise DatabaseError(f"{name} is a DuckDB file, but not one of defectdb's")
    waiting = pending(connection)
    if not waiting:
        return
    if read_only:
        raise DatabaseError(f"{name} has an older schema; run `defectdb --db {name} migrate`")
    migrate(connection)
