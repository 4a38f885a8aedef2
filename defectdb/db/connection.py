"""An open database: queries, transactions and appended rows. The only class that holds a duckdb connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakSet

import duckdb
import polars as pl

from defectdb.db.access.locks import hold, let_go, run_lock, take_turn, thread_turn
from defectdb.db.access.query_errors import demand_python_times, query_errors
from defectdb.errors import DatabaseError, QueryError, UsageError
from defectdb.schema.quoting import quoted_name

Parameters = Mapping[str, Any] | Sequence[Any] | None

Opener = Callable[..., duckdb.DuckDBPyConnection]
"""Opens the file anew: called with ``read_only`` and ``wait``, the seconds to wait for other processes."""

WRITER_PATIENCE = 600.0
"""Seconds that the transaction of a shared database waits for other processes to close the file."""


class Database:
    """An open database. Reads give polars frames; writes happen inside ``transaction()`` and nowhere else.

    path       name of the file, ``:memory:`` for none
    read_only  whether it is open for reading only
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool, new: bool = False,
        reopen: Opener | None = None, shared: bool = False,
    ) -> None:  # fmt: skip
        self._opened: duckdb.DuckDBPyConnection | None = connection
        self._reopen = reopen
        self._shared = shared and not read_only
        self.path = path
        self.read_only = read_only
        self._new = new
        self._in_transaction = False
        self._runs: dict[int, int] = {}  # run_id -> number of its open lock file
        _OPEN.add(self)

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        """The connection; opened again where it was released."""
        if self._opened is None:
            self._open_again(wait=None)
        assert self._opened is not None
        return self._opened

    @_connection.setter
    def _connection(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._opened = connection

    def _open_again(self, wait: float | None) -> None:
        if self._reopen is None:
            raise DatabaseError(f"{self.path} was closed; open it again")
        read_only = self.read_only or (self._shared and not self._in_transaction)
        if self._shared:
            take_turn(Path(self.path))
        try:
            self._opened = self._reopen(read_only=read_only, wait=WRITER_PATIENCE if wait is None else wait)
        except BaseException:
            self._end_turn()
            raise

    def _end_turn(self) -> None:
        """Let another thread open the file."""
        if self._shared:
            thread_turn(Path(self.path)).release()

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
        """Release the file's lock, and those of runs that were not finished."""
        _OPEN.discard(self)
        for run_id in list(self._runs):
            self.let_run_go(run_id)
        if self._opened is not None:
            self._opened.close()
            self._end_turn()
        self._opened = self._reopen = None

    @property
    def is_file(self) -> bool:
        """Whether the database is a file, which others may change whenever it is released."""
        return self.path != ":memory:"

    def release(self) -> None:
        """Let other processes open the file until this one's next query, which waits for them.

        Between two queries the data may change then. A database in memory stays as it is.
        """
        if self._in_transaction:
            raise DatabaseError("a file cannot be released inside a transaction")
        if self._reopen is not None and self._opened is not None:
            self._opened.close()
            self._opened = None
            self._end_turn()

    def hold_run(self, run_id: int) -> None:
        """Let others see that a run is alive until it is let go, this database is closed or the process ends."""
        if self._reopen is not None and run_id not in self._runs:
            held = hold(run_lock(Path(self.path), run_id))
            if held is not None:
                self._runs[run_id] = held

    def let_run_go(self, run_id: int) -> None:
        """Others no longer see a run as alive."""
        held = self._runs.pop(run_id, None)
        if held is not None:
            let_go(held, run_lock(Path(self.path), run_id))

    def stop(self) -> None:
        """End the query that runs in another thread; it raises KeyboardInterrupt there."""
        if self._opened is not None:
            with suppress(duckdb.Error):  # it may be closed just now
                self._opened.interrupt()

    # ------------------------------------------------------------ reading

    def frame(self, sql: str, parameters: Parameters = None) -> pl.DataFrame:
        """The rows of one query. Values are bound as ``$name`` or ``?``. Raises QueryError."""
        with query_errors(sql):
            relation = self._connection.sql(sql, params=parameters)
            if relation is None:
                return pl.DataFrame()
            frame: pl.DataFrame = relation.pl()
            demand_python_times(frame, sql)
            return frame

    def batches(
        self, sql: str, parameters: Parameters = None, rows: int = 1_000_000
    ) -> Iterator[pl.DataFrame]:
        """The rows of one query, at most ``rows`` at a time. Raises QueryError."""
        with query_errors(sql):
            relation = self._connection.sql(sql, params=parameters)
            reader = relation.to_arrow_reader(rows)
        for batch in reader:
            with query_errors(sql):
                converted = pl.from_arrow(batch)
            assert isinstance(converted, pl.DataFrame)
            demand_python_times(converted, sql)
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
        with query_errors(sql):
            kinds = {statement.type.name for statement in self._connection.extract_statements(sql)}
        if kinds != {"SELECT"}:
            raise UsageError(
                f"{', '.join(sorted(kinds - {'SELECT'})) or 'no statement'} beside files needs --write; "
                "without it only SELECT is let near other files"
            )

    # ------------------------------------------------------------ writing

    @contextmanager
    def transaction(self, wait: float | None = None) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back on any exception.

        A shared database is opened for writing here, after at most ``wait`` seconds (None: WRITER_PATIENCE), and
        released at the end. Raises DatabaseError where another process keeps it open for longer, or the changes cannot
        be stored: the disk is full or may not be written.
        """
        if self._in_transaction:
            raise DatabaseError("a transaction inside a transaction would commit half of the outer one")
        if self._shared:
            self.release()
        self._in_transaction = True
        try:
            if self._opened is None:
                self._open_again(wait)
            self._connection.execute("BEGIN TRANSACTION")
            try:
                yield
                self._commit()
            except BaseException:
                self._rollback()
                raise
        finally:
            self._in_transaction = False
            if self._shared:
                self.release()

    def _commit(self) -> None:
        try:
            with query_errors("COMMIT"):
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
        with query_errors(sql):
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
            with query_errors(sql):
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
