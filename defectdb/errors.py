"""Every way defectdb fails, each with the exit code that the command line returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes (a contract of the command line)."""

    DONE = 0
    FAILED = 1
    BAD_USAGE = 2
    BAD_DATA = 3
    DATABASE_UNUSABLE = 4


class DefectDBError(Exception):
    """Base of all errors shown to users: says what is wrong, where, and what would be right."""

    exit_code = ExitCode.FAILED


class UsageError(DefectDBError):
    """A request that names something unknown or combines options that exclude each other."""

    exit_code = ExitCode.BAD_USAGE


class MissingPartError(UsageError):
    """Something that this installation was made without; says how to get it."""


EXTRAS = {
    "torch": "learn", "pymatgen": "vasp", "matplotlib": "plots", "ase": "ase",
    "optimade": "serve", "fastapi": "serve", "uvicorn": "serve", "lark": "serve",
}  # fmt: skip
"""Library to the extra that installs it: pip install 'defectdb[learn]'."""


@contextmanager
def missing_parts_named() -> Iterator[None]:
    """Turn the import of a library that an extra would have installed into MissingPartError."""
    try:
        yield
    except ModuleNotFoundError as cause:
        library = (cause.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        raise MissingPartError(
            f"this needs {library}, which is not installed: pip install 'defectdb[{EXTRAS[library]}]'"
        ) from cause


_LISTED = 40  # names that an error lists


class UnknownNameError(UsageError):
    """A label, target, material, column or format that does not exist; lists those that do."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        from difflib import get_close_matches

        self.kind, self.name, self.known = kind, name, known
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        listing = ", ".join(known[:_LISTED]) if known else "none"
        if len(known) > _LISTED:
            listing += f" and {len(known) - _LISTED} more"
        super().__init__(
            f"unknown {kind} {name!r}{hint} Known: {listing}"
            if hint
            else f"unknown {kind} {name!r}; known: {listing}"
        )


class LabelError(UsageError):
    """Text that is no defect or pair label."""

    def __init__(self, text: str, why: str) -> None:
        self.text, self.why = text, why
        super().__init__(
            f"{text!r} is not a defect label: {why}; "
            "write Vac_Mo (vacancy), W_Mo (W on an Mo site), Int_S, Ad_Li"
        )


class AmbiguousLabelError(LabelError):
    """``V_Mo`` where no vanadium is known on that site: it may be a vacancy or vanadium."""

    def __init__(self, text: str, site: str) -> None:
        self.text, self.why = text, "V stands for a vacancy or for vanadium"
        DefectDBError.__init__(
            self,
            f"{text!r} may be a vacancy or vanadium on a {site} site: write Vac_{site} for the vacancy; "
            f"the database has no vanadium on {site}",
        )


class ExpressionError(DefectDBError):
    """A token sequence or JSON AST that is no expression."""

    exit_code = ExitCode.BAD_DATA


class InputDataError(DefectDBError):
    """A source that cannot be read: keeps the file and the member or row at fault."""

    exit_code = ExitCode.BAD_DATA

    def __init__(self, message: str, *, path: str | None = None, member: str | None = None) -> None:
        self.path, self.member = path, member
        where = ": ".join(part for part in (path, member) if part)
        super().__init__(f"{where}: {message}" if where else message)


class SelectionError(DefectDBError, ValueError):
    """Data that leave nothing, or too little, to learn from; a ValueError too, as scikit-learn's users expect."""

    exit_code = ExitCode.BAD_DATA


class ChangedDataError(DefectDBError):
    """The rows that a run learned from changed while it searched: what it found is not published."""


class SearchFailedError(DefectDBError):
    """A search that ended without a result each time it was tried: names it and says why."""


class VersionMismatchError(DefectDBError):
    """A worker that has another version of defectdb than the process whose tasks it was given."""


class DatabaseError(DefectDBError):
    """A database that is locked, damaged, too new or no database at all."""

    exit_code = ExitCode.DATABASE_UNUSABLE


class TimeLimitError(DefectDBError):
    """A query that took longer than it may, and was stopped."""


class QueryError(UsageError):
    """A SQL statement that DuckDB refused; keeps the statement."""

    def __init__(self, message: str, sql: str) -> None:
        self.sql = sql
        super().__init__(f"{message}\nin: {sql}")
