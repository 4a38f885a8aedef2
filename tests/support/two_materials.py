"""The toy database with a second crystal of the same elements, so that every label exists in both."""

from __future__ import annotations

from defectdb.db import Database
from defectdb.db.compile import compile_formulas

SECOND = "MoS2-1T"
SECOND_DATASET = "toy-1T"

_RENAMED = {
    "datasets": f"'{SECOND_DATASET}' AS dataset_id, '{SECOND_DATASET}' AS name",
    "materials": f"'{SECOND}' AS material_id",
    "material_sites": f"'{SECOND}' AS material_id",
    "hosts": f"'{SECOND}' AS material_id, '{SECOND} ' || supercell AS host_id",
    "host_sites": f"'{SECOND} 8x8x1' AS host_id",
    "structures": f"'t' || structure_id AS structure_id, '{SECOND_DATASET}' AS dataset_id, "
    f"'{SECOND} 8x8x1' AS host_id, structure_key + 1000 AS structure_key",
    "defects": "'t' || structure_id AS structure_id, structure_key + 1000 AS structure_key, "
    "defect_id + 1000 AS defect_id",
    "pairs": "'t' || structure_id AS structure_id, structure_key + 1000 AS structure_key, pair_id + 1000 AS pair_id",
    "targets": "'t' || structure_id AS structure_id",
    "formulas": f"'{SECOND}' AS material_id, formula_id + 1000 AS formula_id",
    "models": f"'{SECOND}' AS material_id, model_id + 1000 AS model_id",
    "model_terms": "model_id + 1000 AS model_id, formula_id + 1000 AS formula_id",
}


def add_second_material(db: Database) -> None:
    """Add a copy of everything under the names ``SECOND`` and ``SECOND_DATASET``, models and formulas included."""
    with db.transaction():
        for table, columns in _RENAMED.items():
            db.append(table, db.frame(f'SELECT * REPLACE ({columns}) FROM "{table}"'))
        compile_formulas(db)
