"""defectdb: point defects in 2D crystals, one database, readable formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from defectdb.api import Connection

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def connect(path: str | Path = "defects.duckdb", *, write: bool = False) -> Connection:
    """Open a database for notebooks and scripts, for reading unless ``write``. Raises DatabaseError."""
    from defectdb import api

    return api.connect(path, write=write)
