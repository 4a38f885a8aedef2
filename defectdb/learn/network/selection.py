"""The structures that networks learn from, and which of them one network learns together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from defectdb.db import Database
from defectdb.db.read import known
from defectdb.db.scope import Scope, dataset_ids, one_level
from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Flags
from defectdb.learn.job import check_target
from defectdb.learn.network.config import NetworkConfig
from defectdb.learn.select import Selection, frame_hash, rows_where
from defectdb.learn.statements import STRUCTURE_COLUMNS, structure_predicate
from defectdb.schema.quoting import quoted_text

N_FOLDS = 5
"""Parts by a hash of the id, of which one can be left out."""

PAIR = 2
"""Defects of a pair."""


@dataclass(frozen=True)
class Rows:
    """Structures that one network learns.

    Attributes:
        selection: structure_id, host_id, material_id, n_defects, value (of an energy: per site, eV), fold
        target: what the values are
    """

    selection: Selection
    target: str

    @property
    def frame(self) -> pl.DataFrame:
        """The rows, by id."""
        return self.selection.frame


def select_rows(db: Database, config: NetworkConfig) -> list[Rows]:
    """The rows of every network of a job: one of hosts with structures of one defect, one of the others.

    ``config.joint`` puts them all into one. Raises UnknownNameError and UsageError for names and predicates that are
    none, UsageError where a material's energies are of several levels of theory, SelectionError where nothing is left.
    """
    check_target(config.target)
    datasets = dataset_ids(db, config.datasets)
    materials = _materials(db, config.materials)
    for material in materials:
        one_level(db, Scope(material, datasets), config.target)
    sql = _statement(config, materials, datasets)
    frame = rows_where(db, sql, config.where, *STRUCTURE_COLUMNS)
    if frame.is_empty():
        named = ", ".join(config.materials) or "the database"
        raise SelectionError(f"no structure with defects of {named} has {config.target}; ingest some first")
    parts = [frame] if config.joint else [frame.filter("sparse"), frame.filter(~pl.col("sparse"))]
    kept = [part.drop("sparse") for part in parts if part.height]
    for part in kept:
        if part.height < N_FOLDS:
            raise SelectionError(
                f"{part.height} structures of {', '.join(sorted(set(part['host_id'])))} are too few to train a network "
                f"on; at least {N_FOLDS} are needed"
            )
    return [Rows(Selection(part, sql, frame_hash(part)), config.target) for part in kept]


def held_out(frame: pl.DataFrame) -> Flags:
    """Which structures a training with ``--hold-out`` leaves out: the first fold of those with three and more defects.

    A single defect or a pair at one distance is a thing of its own that nothing else tells of, so these are learned
    from; where there are no others, a fold of them is left out.
    """
    many = frame["n_defects"].to_numpy() > PAIR
    first: Flags = frame["fold"].to_numpy() == 0
    return first & many if many.any() else first


def _materials(db: Database, names: Sequence[str]) -> list[str]:
    """The materials named, or all with structures. Raises UnknownNameError."""
    stored = db.frame(
        "SELECT DISTINCT material_id FROM structures JOIN hosts USING (host_id) WHERE n_defects > 0 ORDER BY ALL"
    )["material_id"].to_list()
    return [known("material with defects", name, stored) for name in names] or stored


def _statement(config: NetworkConfig, materials: Sequence[str], datasets: Sequence[str]) -> str:
    """The SELECT of a job's structures, every value in it quoted."""
    listed = ", ".join(quoted_text(name) for name in materials) or "NULL"
    of_datasets = ", ".join(quoted_text(name) for name in datasets)
    per_site = " / s.n_defects" if config.target == "formation_energy" else ""
    return (
        f"SELECT s.structure_id, s.host_id, h.material_id, s.n_defects, t.value{per_site} AS value,\n"
        f"  CAST(CAST('0x' || substr(md5(s.structure_id), 1, 8) AS UBIGINT) % {N_FOLDS} AS INTEGER) AS fold,\n"
        "  s.host_id IN (SELECT host_id FROM structures WHERE n_defects = 1) AS sparse\n"
        "FROM structures AS s\nJOIN hosts AS h USING (host_id)\n"
        f"JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = {quoted_text(config.target)}\n"
        f"WHERE s.n_defects > 0 AND s.charge = 0 AND h.material_id IN ({listed})"
        + (f" AND s.dataset_id IN ({of_datasets})" if datasets else "")
        + structure_predicate(config.where)
        + "\nORDER BY s.structure_id"
    )
