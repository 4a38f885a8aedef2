"""Load the structures of a material model as counts of distance classes and of triples.

A structure's value less what its single defects give is a sum over its pairs of k(label, distance) and over its
triples of W: counts of distance classes times kernel values, whatever the number of defects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.job import Job
from defectdb.learn.select import Selection, dz_windows, frame_hash, rows_where
from defectdb.learn.statements import STRUCTURE_COLUMNS, structures_statement
from defectdb.schema.records import ANY_NUMBER

N_FOLDS = 5
SAME_LEVEL = 1e-9
"""One-defect values closer than this (eV) are the same number."""

TRIPLE_VARIABLES = ("r12", "r13", "r23", "dz12", "dz13", "dz23")


@dataclass(frozen=True)
class Block:
    """One kernel's distance classes: ``r`` [class], one-defect value ``base``, and how often each structure has each.

    ``counts`` [structure, class]. With ``edges`` it is a function of these edges of the triples of ``label``, and
    with ``heights`` of those among them whose |dz| is the first height rather than the second (angstrom).
    """

    label: str
    dz_min: float
    dz_max: float
    r: Floats
    base: float
    counts: Floats
    edges: tuple[str, ...] = ()
    heights: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The label, with the edges where it is a function of a triple's."""
        return f"{self.label} {' '.join(self.edges)}" if self.edges else self.label


@dataclass(frozen=True)
class Triples:
    """The triples of one label: ``x`` [variable, triple] in ``TRIPLE_VARIABLES`` and the structure of each."""

    label: str
    x: Floats
    rows: Integers


@dataclass(frozen=True)
class ModelData:
    """What a material model learns from: ``y`` [structure] to be added up by pairs and triples.

    ``n_defects`` and ``fold`` [structure]; folds follow from a hash of the structure's id, never from chance.
    """

    selection: Selection
    n_defects: Integers
    y: Floats
    fold: Integers
    blocks: tuple[Block, ...]
    triples: tuple[Triples, ...]


def load_structures(db: Database, job: Job, most: int = ANY_NUMBER[1]) -> ModelData:
    """The structures with two to ``most`` defects (those of ``config.where``).

    Raises SelectionError where none is left or a one-defect value is missing.
    """
    sql = structures_statement(job, N_FOLDS, most)
    frame = rows_where(db, sql, job.config.where, *STRUCTURE_COLUMNS)
    if not frame.height:
        raise SelectionError(f"no structure of {job.material} with two or more defects has {job.target}")
    lacking = frame.filter(pl.col("base").is_null() | (pl.col("n_known") < pl.col("n_defects")))
    if lacking.height:
        raise SelectionError(
            f"{lacking.height} structures have a defect that no 1-defect structure gives {job.target} for, "
            f"e.g. {lacking['structure_id'][0]}; ingest those or leave the structures out with --where"
        )
    rows = frame.select("structure_id").with_row_index("row")
    with db.registered(chosen=rows):
        source = "distances" if job.config.images == "sum" else "pairs"
        pairs = db.frame(
            f'SELECT c."row", p.label, round(p.distance, 4) AS r, p.dz FROM {source} AS p '
            "JOIN chosen AS c USING (structure_id)"
        )
        triples = db.frame(
            f'SELECT c."row", t.label, {", ".join("t." + v for v in TRIPLE_VARIABLES)} FROM triples AS t '
            'JOIN chosen AS c USING (structure_id) ORDER BY t.label, c."row"'
        )
    singles = dict(_singles(db, job).iter_rows())
    selection = Selection(frame, sql, frame_hash(frame))
    return ModelData(
        selection,
        frame["n_defects"].to_numpy().astype(np.int64),
        (frame["value"] - frame["base"]).to_numpy().copy(),
        frame["fold"].to_numpy().astype(np.int64),
        tuple(_blocks(pairs, frame["base"].to_numpy(), job.target, singles)),
        tuple(_triples(triples)),
    )


def _singles(db: Database, job: Job) -> pl.DataFrame:
    return db.frame(
        "SELECT o.label, avg(o.value) FROM one_defect_energies AS o JOIN hosts USING (host_id) "
        "WHERE material_id = ? AND target = ? AND o.charge = 0 GROUP BY o.label",
        [job.material, job.target],
    )


def _blocks(pairs: pl.DataFrame, bases: Floats, target: str, singles: dict[str, float]) -> list[Block]:
    """Levels and gaps: only pairs that hold the structure's deciding defect move its level, the others count 0."""
    blocks = []
    decide = max if target == "homo" else min
    for (label,), frame in pairs.group_by(["label"], maintain_order=True):
        values = [singles[part] for part in str(label).split("-")]
        base = 0.0 if target == "formation_energy" else decide(values)
        for low, high in dz_windows(frame["dz"].to_numpy()):
            part = frame.filter(pl.col("dz").is_between(low, high, closed="left"))
            r, column = np.unique(part["r"].to_numpy(), return_inverse=True)
            counts = np.zeros((len(bases), len(r)))
            np.add.at(counts, (part["row"].to_numpy(), column), 1.0)
            if target != "formation_energy":
                counts[np.abs(bases - base) > SAME_LEVEL] = 0.0
            blocks.append(Block(str(label), low, high, r, base, counts))
    return sorted(blocks, key=lambda b: (b.label, b.dz_min))


def _triples(frame: pl.DataFrame) -> list[Triples]:
    found = []
    for (label,), part in frame.group_by(["label"], maintain_order=True):
        x = part.select(TRIPLE_VARIABLES).to_numpy().T.copy()
        found.append(Triples(str(label), x, part["row"].to_numpy().astype(np.int64)))
    return found
