"""The only part that talks to DuckDB."""

from defectdb.db.connection import Database
from defectdb.db.opening import MEMORY, open_database

__all__ = ["MEMORY", "Database", "open_database"]
