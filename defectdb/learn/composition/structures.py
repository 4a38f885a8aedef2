"""Load dense structures as the numbers of their defects and the distances of their pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from string import Template

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.job import Job
from defectdb.learn.material.structures import N_FOLDS
from defectdb.learn.select import Selection, frame_hash, rows_where
from defectdb.learn.statements import STRUCTURE_COLUMNS, dataset_predicate, structure_predicate
from defectdb.schema.labels import count_variable
from defectdb.schema.quoting import quoted_text

FEWEST = 40
"""A law of composition is chosen in folds of folds: fewer structures than this leave too few in each."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of the structures, nearest images.

    Attributes:
        rows: structure of every pair [pair]
        labels: pair label [pair]
        r, dz: distance and |dz| [pair], angstrom
    """

    rows: Integers
    labels: np.ndarray
    r: Floats
    dz: Floats


@dataclass(frozen=True)
class DenseStructures:
    """Structures of supercells without 1-defect structures.

    Attributes:
        selection: the rows and the SELECT that gave them
        kinds: defect labels, sorted
        numbers: how many defects of each kind [structure, kind]
        sites: sites of the pristine supercell [structure]
        y: the target [structure], eV
        fold: from a hash of the structure's id [structure]
        pairs: their pairs
    """

    selection: Selection
    kinds: tuple[str, ...]
    numbers: Floats
    sites: Floats
    y: Floats
    fold: Integers
    pairs: Pairs

    @property
    def variables(self) -> dict[str, Floats]:
        """The variables of a composition formula that need no other term [structure]."""
        counts = {count_variable(kind): self.numbers[:, i] for i, kind in enumerate(self.kinds)}
        return {"n": self.numbers.sum(1), "sites": self.sites, **counts}


def load_dense(db: Database, job: Job, note: Callable[[str], None]) -> DenseStructures | None:
    """The job's dense structures; None where every supercell of the material has 1-defect structures.

    ``note`` is told of structures without the target and of kinds of defects that cannot be told apart. Raises
    SelectionError for fewer structures than a law can be chosen from.
    """
    sql = _statement(job)
    frame = rows_where(db, sql, job.config.where, *STRUCTURE_COLUMNS)
    if not frame.height:
        return None
    known = frame.drop_nulls("value")
    where = f"{job.material} in supercells without 1-defect structures"
    if known.height < FEWEST:
        raise SelectionError(
            f"{known.height} of {frame.height} structures of {where} have {job.target}; a law of composition needs "
            f"{FEWEST} at least: ingest more, or leave these out with --where"
        )
    if known.height < frame.height:
        note(
            f"{frame.height - known.height} of {frame.height} structures of {where} have no {job.target}: "
            "learned from the others"
        )
    lists = known["defect_labels"].str.split("+")
    kinds = tuple(sorted(lists.explode().unique().to_list()))
    numbers = np.stack([lists.list.count_matches(kind).to_numpy() for kind in kinds], axis=1).astype(float)
    for first, second in inseparable(kinds, numbers):
        note(f"{first} and {second} always occur in the same proportion: the law speaks of one for both")
    return DenseStructures(
        Selection(known, f"SELECT * FROM (\n{sql}\n)\nWHERE value IS NOT NULL", frame_hash(known)),
        kinds,
        numbers,
        known["n_sites"].to_numpy().astype(float),
        known["value"].to_numpy().astype(float),
        known["fold"].to_numpy().astype(np.int64),
        _pairs(db, known),
    )


def _statement(job: Job) -> str:
    text = (resources.files("defectdb.learn.composition") / "structures.sql").read_text(encoding="utf-8")
    return Template(text).substitute(
        material=quoted_text(job.material),
        target=quoted_text(job.target),
        predicate=structure_predicate(job.config.where) + dataset_predicate(job, "s.dataset_id"),
        folds=N_FOLDS,
    )


def inseparable(kinds: tuple[str, ...], numbers: Floats) -> list[tuple[str, str]]:
    """Kinds of defects whose numbers are proportional in all structures."""
    size = np.sqrt((numbers**2).sum(0))
    cosine = (numbers.T @ numbers) / np.outer(size, size)
    return [(kinds[i], kinds[j]) for i, j in combinations(range(len(kinds)), 2) if cosine[i, j] > 1 - 1e-12]


def _pairs(db: Database, frame: pl.DataFrame) -> Pairs:
    rows = frame.select("structure_id").with_row_index("row")
    with db.registered(chosen=rows):
        found = db.frame(
            'SELECT c."row", p.label, p.distance AS r, p.dz FROM pairs AS p JOIN chosen AS c USING (structure_id) '
            'ORDER BY c."row", p.pair_id'
        )
    return Pairs(
        found["row"].to_numpy().astype(np.int64),
        found["label"].to_numpy(),
        found["r"].to_numpy().astype(float),
        found["dz"].to_numpy().astype(float),
    )
