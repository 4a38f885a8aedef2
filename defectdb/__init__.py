"""defectdb: point defects in 2D crystals, one database, readable formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defectdb.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from defectdb.api import Connection
    from defectdb.engine.regressor import SymbolicRegressor

__all__ = ["SymbolicRegressor", "__version__", "connect"]


def connect(path: str | Path = "defects.duckdb", *, write: bool = False) -> Connection:
    """Open a database for notebooks and scripts, for reading unless ``write``, which makes it where it is missing.

    Raises DatabaseError.
    """
    from defectdb import api

    return api.connect(path, write=write)


def __getattr__(name: str) -> Any:
    """The regressor, loaded with torch when it is asked for (PEP 562)."""
    if name == "SymbolicRegressor":
        from defectdb.errors import missing_parts_named

        with missing_parts_named():
            from defectdb.engine.regressor import SymbolicRegressor
        return SymbolicRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
