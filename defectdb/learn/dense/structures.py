"""Load structures with any number of defects as numbers of defects, counts of distance classes and triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.job import Job
from defectdb.learn.material.structures import N_FOLDS
from defectdb.learn.select import Selection, dz_windows, frame_hash, rows_where
from defectdb.learn.statements import STRUCTURE_COLUMNS, dense_statement
from defectdb.schema.labels import count_variable

LONGEST = 9.5
"""Pairs farther apart than this (angstrom) are not looked at: at high density they only add noise."""

TRIANGLE = 5.6
"""Triangles of vacancies count where two of their edges are shorter than this, angstrom."""

SAME = 0.02
"""Distances within this (angstrom) are one class."""

EDGES = ("r12", "r13", "r23")


@dataclass(frozen=True)
class PairClasses:
    """The pairs of one label in one |dz| window.

    Attributes:
        label: pair label
        dz_min, dz_max: the window, angstrom
        r: distance of every class [class], angstrom
        counts: how often every structure has every class [structure, class]
    """

    label: str
    dz_min: float
    dz_max: float
    r: Floats
    counts: Floats

    def within(self, cutoff: float) -> PairClasses:
        """The classes nearer than ``cutoff`` (angstrom)."""
        near = self.r < cutoff
        return PairClasses(self.label, self.dz_min, self.dz_max, self.r[near], self.counts[:, near])


@dataclass(frozen=True)
class Triangles:
    """The compact triangles of one label of three vacancies.

    Attributes:
        label: the three labels joined by ``-``
        x: edges r12, r13, r23 [edge, triangle], angstrom
        rows: structure of every triangle [triangle]
    """

    label: str
    x: Floats
    rows: Integers


@dataclass(frozen=True)
class DenseData:
    """Structures with any number of defects.

    Attributes:
        selection: the rows and the SELECT that gave them
        kinds: defect labels, sorted
        numbers: how many defects of each kind [structure, kind]
        n_sites: sites of the pristine supercell [structure]
        y: the target [structure], eV
        fold: from a hash of the id [structure]
        pairs: by label and |dz| window
        triangles: by label
        images: smallest distance at which a cell's own images meet, angstrom
    """

    selection: Selection
    kinds: tuple[str, ...]
    numbers: Floats
    n_sites: Floats
    y: Floats
    fold: Integers
    pairs: tuple[PairClasses, ...]
    triangles: tuple[Triangles, ...]
    images: float

    @property
    def n_defects(self) -> Floats:
        """Number of all defects [structure]."""
        total: Floats = self.numbers.sum(1)
        return total

    @property
    def variables(self) -> dict[str, Floats]:
        """The variables of a composition formula [structure]."""
        counts = {count_variable(kind): self.numbers[:, i] for i, kind in enumerate(self.kinds)}
        return {"n": self.n_defects, "sites": self.n_sites, **counts}


def load_dense(db: Database, job: Job, fewest: int, most: int) -> DenseData:
    """The job's neutral structures with ``fewest`` to ``most`` defects. Raises SelectionError where there are none."""
    sql = dense_statement(job, N_FOLDS, fewest, most)
    frame = rows_where(db, sql, job.config.where, *STRUCTURE_COLUMNS)
    if not frame.height:
        raise SelectionError(
            f"no structure of {job.material} with {fewest} to {most} defects has {job.target}"
        )
    lists = frame["defect_labels"].str.split("+")
    kinds = tuple(sorted(set(lists.explode())))
    numbers = np.stack([lists.list.count_matches(kind).to_numpy() for kind in kinds], axis=1).astype(float)
    rows = frame.select("structure_id").with_row_index("row")
    with db.registered(chosen=rows):
        pairs = db.frame(
            f'SELECT c."row", p.label, p.distance AS r, p.dz FROM pairs AS p JOIN chosen AS c USING (structure_id) '
            f"WHERE p.distance < {LONGEST} ORDER BY p.label, r"
        )
        triangles = db.frame(
            'SELECT c."row", t.label, t.r12, t.r13, t.r23 FROM triples AS t JOIN chosen AS c USING (structure_id) '
            "WHERE r12 + r13 + r23 - least(r12, r13, r23) - greatest(r12, r13, r23) < $reach "
            "AND regexp_full_match(t.label, '(Vac_[A-Za-z]+-?){3}') ORDER BY t.label, c.\"row\", r12, r13, r23",
            {"reach": TRIANGLE},
        )
    return DenseData(
        Selection(frame, sql, frame_hash(frame)),
        kinds,
        numbers,
        frame["n_sites"].to_numpy().astype(float),
        frame["value"].to_numpy().copy(),
        frame["fold"].to_numpy().astype(np.int64),
        tuple(_pair_classes(pairs, frame.height)),
        tuple(_triangles(triangles)),
        _nearest_own_image(db, job),
    )


def _nearest_own_image(db: Database, job: Job) -> float:
    """Twice the distance up to which a pair has but one image, in the smallest cell of the material, angstrom."""
    shortest = db.value(
        "SELECT min(least(sqrt(pow(a_x, 2) + pow(a_y, 2)), sqrt(pow(b_x, 2) + pow(b_y, 2)))) FROM hosts "
        "WHERE material_id = ?",
        [job.material],
    )
    return float(shortest)


def _pair_classes(pairs: pl.DataFrame, n: int) -> list[PairClasses]:
    found = []
    for (label,), frame in pairs.group_by(["label"], maintain_order=True):
        for low, high in dz_windows(frame["dz"].to_numpy()):
            part = frame.filter(pl.col("dz").is_between(low, high, closed="left"))
            r = part["r"].to_numpy()
            distinct = np.unique(r.round(4))
            first = np.concatenate([[True], np.diff(distinct) > SAME])
            classes = distinct[first]
            column = np.searchsorted(classes, r + 1e-4, side="right") - 1
            counts = np.zeros((n, len(classes)))
            np.add.at(counts, (part["row"].to_numpy(), column.clip(0)), 1.0)
            found.append(PairClasses(str(label), low, high, classes, counts))
    return found


def _triangles(frame: pl.DataFrame) -> list[Triangles]:
    return [
        Triangles(str(label), part.select(EDGES).to_numpy().T.copy(), part["row"].to_numpy().astype(np.int64))
        for (label,), part in frame.group_by(["label"], maintain_order=True)
    ]
