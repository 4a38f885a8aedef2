"""A database to in-memory copies: one with its formulas for new structures, one with some of its structures."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

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


_HOSTS = ("datasets", "materials", "material_sites", "hosts", "host_sites", "chemical_potentials")
_STRUCTURES = ("structures", "defects", "pairs", "targets")


def excerpt(db: Database, structure_ids: Sequence[str]) -> Database:
    """A new in-memory database with these structures and no formulas; close it after use."""
    copy = open_database(MEMORY)
    with copy.transaction():
        for table in _HOSTS:
            copy.append(table, db.frame(f'SELECT * FROM "{table}"'))
    add_structures(copy, db, structure_ids)
    return copy


def add_structures(copy: Database, db: Database, structure_ids: Sequence[str]) -> None:
    """Copy structures with their defects, pairs and targets from ``db`` into an excerpt of it."""
    wanted = pl.DataFrame({"structure_id": list(structure_ids)}, schema={"structure_id": pl.String})
    with copy.transaction(), db.registered(wanted=wanted):
        for table in _STRUCTURES:
            rows = db.frame(f'SELECT t.* FROM "{table}" AS t SEMI JOIN wanted USING (structure_id)')
            copy.append(table, rows)
