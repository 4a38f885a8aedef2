"""An open database: queries, transactions and appended rows. The only class that holds a duckdb connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakSet

import duckdb
import polars as pl

from defectdb.errors import DatabaseError, QueryError, UsageError
from defectdb.schema.quoting import quoted_name

Parameters = Mapping[str, Any] | Sequence[Any] | None


class Database:
    """An open database. Reads give polars frames; writes happen inside ``transaction()`` and nowhere else.

    path       name of the file, ``:memory:`` for none
    read_only  whether it is open for reading only
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool, new: bool = False
    ) -> None:
        self._connection = connection
        self.path = path
        self.read_only = read_only
        self._new = new
        self._in_transaction = False
        _OPEN.add(self)

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._new and self._is_empty():
            with suppress(OSError):
                Path(self.path).unlink()  # while its lock is held: nobody else has it open
        self.close()

    def _is_empty(self) -> bool:
        """Whether nothing was stored since the file was made."""
        try:
            stored = self._connection.execute(
                "SELECT 1 FROM datasets UNION ALL SELECT 1 FROM runs"
            ).fetchall()
        except (duckdb.Error, RuntimeError):
            return False
        return not stored

    def close(self) -> None:
        """Release the file's lock."""
        _OPEN.discard(self)
        self._connection.close()

    def stop(self) -> None:
        """End the query that runs in another thread; it raises KeyboardInterrupt there."""
        self._connection.interrupt()

    # ------------------------------------------------------------ reading

    def frame(self, sql: str, parameters: Parameters = None) -> pl.DataFrame:
        """The rows of one query. Values are bound as ``$name`` or ``?``. Raises QueryError."""
        with _query_errors(sql):
            relation = self._connection.sql(sql, params=parameters)
            if relation is None:
                return pl.DataFrame()
            frame: pl.DataFrame = relation.pl()
            _demand_python_times(frame, sql)
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
            _demand_python_times(converted, sql)
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

    def demand_select(self, sql: str) -> None:
        """Raises UsageError unless every statement only reads: COPY, EXPORT and ATTACH can write files."""
        with _query_errors(sql):
            kinds = {statement.type.name for statement in self._connection.extract_statements(sql)}
        if kinds != {"SELECT"}:
            raise UsageError(
                f"{', '.join(sorted(kinds - {'SELECT'})) or 'no statement'} beside files needs --write; "
                "without it only SELECT is let near other files"
            )

    # ------------------------------------------------------------ writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back on any exception.

        Raises DatabaseError where the changes cannot be stored: the disk is full or may not be written.
        """
        if self._in_transaction:
            raise DatabaseError("a transaction inside a transaction would commit half of the outer one")
        self._connection.execute("BEGIN TRANSACTION")
        self._in_transaction = True
        try:
            yield
            self._commit()
        except BaseException:
            self._rollback()
            raise
        finally:
            self._in_transaction = False

    def _commit(self) -> None:
        try:
            with _query_errors("COMMIT"):
                self._connection.execute("COMMIT")
        except (DatabaseError, QueryError) as error:
            why = str(error.__cause__).splitlines()[0]
            raise DatabaseError(
                f"{self.path} could not be written ({why}); the database is as before"
            ) from error.__cause__

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
            raise DatabaseError(
                f"{self.path}: table {table!r} has no column {', '.join(unknown)}; "
                "`defectdb migrate` adds what is missing"
            )
        sql = f"INSERT INTO {quoted_name(table)} BY NAME SELECT * FROM appended"
        self._connection.register("appended", frame.to_arrow())
        try:
            with _query_errors(sql):
                self._connection.execute(sql)
        finally:
            self._unregister("appended")
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
                self._unregister(name)

    def _unregister(self, name: str) -> None:
        """Forget a frame; must not hide the error of a failed transaction, which forgets it itself."""
        with suppress(duckdb.TransactionException):
            self._connection.unregister(name)

    def next_id(self, table: str, column: str) -> int:
        """One more than the largest id of the table."""
        return int(
            self.value(f"SELECT coalesce(max({quoted_name(column)}), 0) + 1 FROM {quoted_name(table)}")
        )

    def _demand_transaction(self) -> None:
        if self.read_only:
            raise DatabaseError(f"{self.path} is open for reading only")
        if not self._in_transaction:
            raise DatabaseError("writes go through Database.transaction()")


_OPEN: WeakSet[Database] = WeakSet()


def stop_queries() -> None:
    """End the queries of all open databases: they raise KeyboardInterrupt."""
    for db in list(_OPEN):
        db.stop()


_YEARS = (-62_135_596_800, 253_402_300_799)  # first and last second of the years 1 to 9999, since 1970
_TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def _demand_python_times(frame: pl.DataFrame, sql: str) -> None:
    """Raises QueryError for dates that Python has no value for: reading one of them ends the process."""
    for name, kind in frame.schema.items():
        if kind != pl.Date and not isinstance(kind, pl.Datetime):
            continue
        ticks = frame[name].to_physical().cast(pl.Int64)
        second = _TICKS[kind.time_unit] if isinstance(kind, pl.Datetime) else 1
        seconds = ticks // second if second > 1 else ticks * 86_400
        if not seconds.is_between(*_YEARS).all():
            raise QueryError(
                f"column {name!r} holds dates outside the years 1 to 9999; write CAST(column AS VARCHAR)",
                sql.strip(),
            )


@contextmanager
def _query_errors(sql: str) -> Iterator[None]:
    """Turn what DuckDB and polars raise into errors of ours, and an interrupted query into KeyboardInterrupt."""
    try:
        yield
    except duckdb.InterruptException as cause:
        raise KeyboardInterrupt from cause
    except RuntimeError as cause:  # what DuckDB's Python client makes of Ctrl-C while a query runs
        if "interrupted" not in str(cause):
            raise
        raise KeyboardInterrupt from cause
    except duckdb.PermissionException as cause:
        raise QueryError(f"{str(cause).strip()}\n{_SEALED}", sql.strip()) from cause
    except duckdb.IOException as cause:
        raise DatabaseError(f"the database could not be read or written: {cause}") from cause
    except (duckdb.FatalException, duckdb.InternalException, duckdb.OutOfMemoryException) as cause:
        raise DatabaseError(f"DuckDB gave up: {cause}") from cause
    except duckdb.Error as cause:
        raise QueryError(str(cause).strip(), sql.strip()) from cause
    except UnicodeEncodeError as cause:
        raise QueryError("the text is no UTF-8", ascii(sql.strip())) from cause
    except pl.exceptions.PolarsError as cause:  # INTERVAL and UNION
        message = "a column is of a type that frames do not have; write CAST(column AS VARCHAR)"
        raise QueryError(message, sql.strip()) from cause


_SEALED = (
    "databases are opened without access to other files; `defectdb sql --files` reads files that a query names, "
    "`--files --write` writes them too"
)
