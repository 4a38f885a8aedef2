"""A database's hosts, formulas and models to an in-memory copy in which new structures can be predicted."""

from __future__ import annotations

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import MEMORY, Database, open_database

_COPIED = (
    "materials", "material_sites", "hosts", "host_sites", "runs", "formulas", "models", "model_terms",
)  # fmt: skip


def scratch(db: Database) -> Database:
    """A new in-memory database that knows what ``db`` knows but holds no structures; close it after use."""
    copy = open_database(MEMORY)
    with copy.transaction():
        for table in _COPIED:
            copy.append(table, db.frame(f'SELECT * FROM "{table}"'))
        compile_formulas(copy)
    return copy
