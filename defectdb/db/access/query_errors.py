"""What DuckDB and polars raise while a query runs, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import polars as pl

from defectdb.errors import DatabaseError, QueryError

_YEARS = (-62_135_596_800, 253_402_300_799)  # first and last second of the years 1 to 9999, since 1970
_TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def demand_python_times(frame: pl.DataFrame, sql: str) -> None:
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
def query_errors(sql: str) -> Iterator[None]:
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
