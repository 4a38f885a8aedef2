"""What the database holds to frames: counts, pair labels, formulas, the dictionary; names are checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from defectdb.db.connection import Database
from defectdb.db.opening import MEMORY
from defectdb.db.stale import stale_models
from defectdb.errors import AmbiguousLabelError, LabelError, UnknownNameError
from defectdb.schema.dictionary import TABLES
from defectdb.schema.fields import TARGETS
from defectdb.schema.labels import canonical_label

PREDICTED = (*TARGETS, "formation_energy_per_site")
"""Targets that view ``predictions`` gives."""


def known(kind: str, name: str, names: Sequence[str]) -> str:
    """The name itself. Raises UnknownNameError, which lists the known ones and suggests the nearest."""
    if name not in names:
        raise UnknownNameError(kind, name, sorted(names))
    return name


def material(db: Database, name: str) -> str:
    """A material's id. Raises UnknownNameError."""
    ids = db.frame("SELECT material_id FROM materials ORDER BY ALL")["material_id"].to_list()
    return known("material", name, ids)


def pair_labels(db: Database) -> list[str]:
    """Labels of pairs in the data and of pairs and triples with formulas, sorted."""
    frame = db.frame("SELECT label FROM pairs UNION SELECT pair_label FROM formulas ORDER BY ALL")
    return frame["label"].to_list()


def defect_labels(db: Database) -> frozenset[str]:
    """Labels of single defects in the data and in formulas: what tells whether ``V_Mo`` is vanadium."""
    frame = db.frame(
        "SELECT label FROM defects UNION SELECT unnest(string_split(pair_label, '-')) FROM formulas"
    )
    return frozenset(frame["label"])


def read_label(db: Database, text: str, *, order: int | None = None) -> str:
    """Canonical form of a defect, pair or triple label, which need not be in the database; ``order`` demands that
    many defects. Raises LabelError."""
    return canonical_label(text, defect_labels(db), order=order)


def defect_label(db: Database, text: str) -> str:
    """Canonical form of one defect's label, whether stored or not. Raises LabelError."""
    return read_label(db, text, order=1)


def pair_label(db: Database, text: str) -> str:
    """Canonical form of a pair or triple label that the database has. Raises UnknownNameError."""
    labels = pair_labels(db)
    try:
        canonical = read_label(db, text)
    except AmbiguousLabelError:
        raise
    except LabelError:
        canonical = text
    return known("pair label", canonical, labels)


def status(db: Database) -> dict[str, Any]:
    """Counts of everything, and the active models."""
    counts = {
        name: db.value(f'SELECT count(*) FROM "{name}"')
        for name in (
            "datasets",
            "materials",
            "hosts",
            "structures",
            "defects",
            "pairs",
            "targets",
            "rejects",
            "notes",
        )
    }
    by_defects = db.frame("SELECT n_defects, count(*) AS n FROM structures GROUP BY ALL ORDER BY ALL")
    formulas = db.frame("SELECT status, count(*) AS n FROM formulas GROUP BY ALL ORDER BY ALL")
    models = db.frame(
        "SELECT model_id, material_id, target, version, trained_on, n_train, mae_train, mae_cv "
        "FROM models WHERE status = 'active' ORDER BY material_id, target"
    )
    size = None if db.path == MEMORY else Path(db.path).stat().st_size
    return {
        "database": db.path,
        "bytes": size,
        **counts,
        "structures_by_defects": {str(n): count for n, count in by_defects.iter_rows()},
        "formulas": dict(formulas.iter_rows()),
        "active_models": models.to_dicts(),
        "stale_models": stale_models(db).to_dicts(),
    }


def pair_summary(db: Database, material_id: str | None = None, datasets: Sequence[str] = ()) -> pl.DataFrame:
    """One row per material and pair label: counts, distances [angstrom], and the formulas there are.

    ``n_two_defect`` structures hold the pair alone: what a kernel is learned from. Raises UnknownNameError.
    """
    if material_id is not None:
        material(db, material_id)
    return db.frame(
        """
        SELECT
            h.material_id, p.label,
            count(DISTINCT p.structure_id) FILTER (s.n_defects = 2) AS n_two_defect,
            count(DISTINCT p.structure_id) AS n_structures,
            count(*) AS n_pairs,
            min(p.distance) AS r_min,
            max(p.distance) AS r_max,
            list_sort(list(DISTINCT round(p.dz, 2))) AS dz,
            (SELECT count(*) FROM formulas AS f
             WHERE f.pair_label = p.label AND f.material_id = h.material_id) AS n_formulas,
            (SELECT list(DISTINCT f.target ORDER BY f.target) FROM formulas AS f
             WHERE f.pair_label = p.label AND f.material_id = h.material_id AND f.status = 'active') AS active
        FROM pairs AS p
        JOIN structures AS s USING (structure_id)
        JOIN hosts AS h USING (host_id)
        WHERE coalesce(h.material_id = $material, TRUE)
            AND coalesce(list_contains(CAST($datasets AS VARCHAR[]), s.dataset_id), TRUE)
        GROUP BY h.material_id, p.label
        ORDER BY h.material_id, p.label
        """,
        {"material": material_id, "datasets": list(datasets) or None},
    )


def dictionary(db: Database, table: str | None = None) -> pl.DataFrame:
    """The data dictionary: table, column, type, unit, meaning. Raises UnknownNameError."""
    if table is not None:
        known("table", table, [t.name for t in TABLES])
    types = db.frame(
        'SELECT table_name AS "table", column_name AS "column", data_type AS type '
        "FROM information_schema.columns WHERE table_schema = 'main'"
    )
    rows = [(t.name, f.name, f.unit, f.meaning) for t in TABLES if table in (None, t.name) for f in t.fields]
    named = pl.DataFrame(rows, schema=["table", "column", "unit", "meaning"], orient="row")
    joined = named.join(types, on=["table", "column"], how="left", maintain_order="left")
    return joined.select("table", "column", "type", "unit", "meaning")


def overview() -> pl.DataFrame:
    """Every table and view with what a row of it is."""
    rows = [(t.name, "view" if t.view else "table", t.meaning) for t in TABLES]
    return pl.DataFrame(rows, schema=["table", "kind", "meaning"], orient="row")


def formulas(
    db: Database, label: str | None = None, target: str | None = None, material_id: str | None = None, *,
    front: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """The active formulas, or with ``front`` every version; of one label, target and material where they are named.

    Raises UnknownNameError.
    """
    return db.frame(
        """
        SELECT formula_id, material_id, pair_label, target, version, status, complexity, n_train, mae_train,
               mae_cv, mae_cv_interior, r_min, r_max, dz_min, dz_max, images, law, infix
        FROM formulas
        WHERE ($label IS NULL OR pair_label = $label) AND ($target IS NULL OR target = $target)
          AND ($material IS NULL OR material_id = $material) AND ($front OR status = 'active')
        ORDER BY material_id, target, pair_label, dz_min, run_id DESC, complexity, version
        """,
        {
            "label": None if label is None else pair_label(db, label),
            "target": None if target is None else known("target", target, list(TARGETS)),
            "material": None if material_id is None else material(db, material_id),
            "front": front,
        },
    )


def formula(db: Database, formula_id: int) -> dict[str, Any]:
    """One formula's row with its run. Raises UnknownNameError."""
    rows = db.frame(
        "SELECT f.*, r.kind AS run_kind, r.seed, r.device, r.selection_hash, r.version AS software "
        "FROM formulas AS f LEFT JOIN runs AS r USING (run_id) WHERE formula_id = ?",
        [formula_id],
    ).to_dicts()
    if not rows:
        ids = db.frame("SELECT formula_id FROM formulas ORDER BY ALL")["formula_id"].to_list()
        raise UnknownNameError("formula", str(formula_id), [str(key) for key in ids])
    return rows[0]
