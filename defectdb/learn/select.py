"""A question in the user's words to the rows that answer it: pair subsets selected by SQL, with the SQL kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.errors import SelectionError, UnknownNameError, UsageError
from defectdb.learn.config import LearnConfig
from defectdb.schema.fields import TARGETS
from defectdb.schema.labels import canonical_pair
from defectdb.schema.records import EVERY_DZ

SAME_DZ = 0.3
"""Two |dz| closer than this (angstrom) belong to one kernel."""

_COLUMNS = {
    "formation_energy": "interaction",
    "homo_lumo_gap": "homo_lumo_gap",
    "homo": "homo",
    "lumo": "lumo",
}


@dataclass(frozen=True)
class Selection:
    """Rows to learn from (structure_id, host_id, pair_id, label, r, dz, y) with the SELECT that gave them."""

    frame: pl.DataFrame
    sql: str
    sha256: str
    material: str


def check_target(target: str) -> None:
    """Raises UnknownNameError unless the target can be learned."""
    if target not in TARGETS:
        raise UnknownNameError("target", target, list(TARGETS))


def choose_material(db: Database, material: str | None) -> str:
    """The material to learn: the one named, or the only one with 2-defect structures. Raises UsageError."""
    known = db.frame("SELECT DISTINCT material_id FROM pair_energies ORDER BY ALL")["material_id"].to_list()
    if material is not None:
        if material not in known:
            raise UnknownNameError("material with 2-defect structures", material, known)
        return material
    if not known:
        raise SelectionError("the database holds no 2-defect structures to learn from; ingest some first")
    if len(known) > 1:
        raise UsageError(f"several materials have pairs ({', '.join(known)}); choose one with --material")
    return str(known[0])


def known_labels(db: Database, material: str) -> list[str]:
    """Pair labels of the material's 2-defect structures, sorted."""
    return db.frame(
        "SELECT DISTINCT label FROM pair_energies WHERE material_id = ? ORDER BY ALL", [material]
    )["label"].to_list()


def find_label(db: Database, material: str, text: str) -> str:
    """The canonical label that the text means. Raises UnknownNameError naming the known ones, and LabelError."""
    known = known_labels(db, material)
    elements = {part for label in known for defect in label.split("-") for part in defect.split("_")}
    label = canonical_pair(text, elements)
    if label not in known:
        raise UnknownNameError("pair label", label, known)
    return label


def select_pairs(db: Database, config: LearnConfig, material: str, labels: list[str]) -> Selection:
    """Values of the target on the selected 2-defect structures. Raises SelectionError where nothing is left."""
    check_target(config.target)
    extra = ""
    if config.where:
        if ";" in config.where:
            raise UsageError("--where takes one SQL predicate, without ';'")
        extra = f"\n  AND ({config.where})"
    listing = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
    sql = (
        "SELECT structure_id, host_id, pair_id, label, distance AS r, dz, "
        f"{_COLUMNS[config.target]} AS y\n"
        f"FROM pair_energies\nWHERE material_id = '{material}' AND label IN ({listing})"
        f" AND {_COLUMNS[config.target]} IS NOT NULL{extra}\n"
        "ORDER BY label, dz, r, structure_id"
    )
    frame = db.frame(sql)
    if not frame.height:
        raise SelectionError(
            f"no 2-defect structure of {material} has {config.target} for {', '.join(labels)}"
            + (f" where {config.where}" if config.where else "")
        )
    return Selection(frame, sql, frame_hash(frame), material)


def frame_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of the rows as CSV: the same data, the same hash."""
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


def dz_windows(dz: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[tuple[float, float]]:
    """|dz| windows [low, high) that part the layers: one for each cluster of values, together without gaps."""
    values = np.unique(dz)
    cuts = np.flatnonzero(np.diff(values) > SAME_DZ)
    edges = [0.0, *((values[i] + values[i + 1]) / 2 for i in cuts), EVERY_DZ]
    return [(float(low), float(high)) for low, high in pairwise(edges)]


def lattice_points(db: Database, frame: pl.DataFrame) -> pl.DataFrame:
    """Every periodic image of the selected pairs: (row, r) with ``row`` an index into ``frame``."""
    rows = frame.select("pair_id").with_row_index("row")
    with db.registered(selected_pairs=rows):
        return db.frame(
            'SELECT s."row", d.distance AS r FROM distances AS d JOIN selected_pairs AS s USING (pair_id) ORDER BY ALL'
        )
