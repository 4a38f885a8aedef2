"""A database to in-memory copies: one with its formulas for new structures, one with some of its structures."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from defectdb.db.compile import compile_predictions
from defectdb.db.connection import Database
from defectdb.db.migrate import migrate
from defectdb.db.opening import MEMORY, connect_memory, open_database

_HOSTS = ("materials", "material_sites", "hosts", "host_sites")
_MODELS = {
    "models": "SELECT * REPLACE ('active' AS status) FROM models WHERE $choice",
    "model_terms": "SELECT t.* FROM model_terms AS t SEMI JOIN (FROM models WHERE $choice) USING (model_id)",
    "prediction_intervals": "SELECT i.* FROM prediction_intervals AS i SEMI JOIN (FROM models WHERE $choice) "
    "USING (model_id)",
    "formulas": "SELECT * FROM formulas WHERE formula_id IN (SELECT t.formula_id FROM model_terms AS t "
    "SEMI JOIN (FROM models WHERE $choice) USING (model_id))",
}


def scratch(db: Database, model_id: int | None = None) -> Database:
    """A new in-memory database with the hosts of ``db`` and its active models, or the one named, in its view
    ``predictions``; it holds no structures. Close it after use."""
    connection = connect_memory()
    migrate(connection, commented=False)
    copy = Database(connection, MEMORY, read_only=False)
    choice = "status = 'active'" if model_id is None else f"model_id = {model_id:d}"
    with copy.transaction():
        for table in _HOSTS:
            copy.append(table, db.frame(f'SELECT * FROM "{table}"'))
        for table, sql in _MODELS.items():
            copy.append(table, db.frame(sql.replace("$choice", choice)))
        compile_predictions(copy)
    return copy


_STRUCTURES = ("structures", "defects", "pairs", "targets")


def excerpt(db: Database, structure_ids: Sequence[str]) -> Database:
    """A new in-memory database with these structures and no formulas; close it after use."""
    copy = open_database(MEMORY)
    with copy.transaction():
        for table in ("datasets", *_HOSTS, "chemical_potentials"):
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
