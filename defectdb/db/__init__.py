"""The only part that talks to DuckDB."""

from defectdb.db.connection import MEMORY, Database, open_database

__all__ = ["MEMORY", "Database", "open_database"]
