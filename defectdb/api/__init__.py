"""What a notebook needs: connect to a database, and the objects that it gives."""

from defectdb.api.connection import Connection, connect
from defectdb.api.formula import Formula
from defectdb.api.front import Front

__all__ = ["Connection", "Formula", "Front", "connect"]
