"""Select the rows to learn from by SQL, and keep the SQL."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.predicates import check_predicate
from defectdb.db.references import missing_references
from defectdb.errors import QueryError, SelectionError, UsageError
from defectdb.learn.job import Job
from defectdb.learn.statements import PAIR_VALUES, dataset_predicate, pairs_statement
from defectdb.schema.records import EVERY_DZ

SAME_DZ = 0.3
"""Two |dz| closer than this (angstrom) belong to one kernel."""


@dataclass(frozen=True)
class Selection:
    """Rows to learn from.

    Attributes:
        frame: structure_id, host_id, pair_id, label, r, dz (angstrom), y (eV)
        sql: the SELECT that gave them
        sha256: hash of the rows
    """

    frame: pl.DataFrame
    sql: str
    sha256: str


def rows_where(db: Database, sql: str, text: str | None, *views: str) -> pl.DataFrame:
    """The rows of a SELECT that holds the user's predicate ``text``, if there is one, over the columns of these views.

    Raises UsageError, with the user's own text, for a predicate that is none or that DuckDB refuses.
    """
    if not text:
        return db.frame(sql)
    check_predicate(db, text)
    try:
        return db.frame(sql)
    except QueryError as error:
        why = str(error.__cause__).split("\n\nLINE")[0].strip()  # what follows shows the whole SELECT
        columns = ", ".join(dict.fromkeys(name for view in views for name in db.columns(view)))
        raise UsageError(
            f"--where {text!r}: {why}\nIt stands over {' and '.join(views)}, whose columns are {columns}"
        ) from error


def select_pairs(db: Database, job: Job) -> Selection:
    """Values of the target on the job's 2-defect structures; ``config.where`` leaves out some and brings in none.

    Raises SelectionError where nothing is left, UsageError for a predicate that DuckDB refuses.
    """
    sql, where = pairs_statement(job), job.config.where
    frame = rows_where(db, sql, where, "pair_energies")
    if not frame.height:
        lacking = (
            missing_references(db, material=job.material) if job.target.startswith("formation_energy") else ()
        )
        raise SelectionError(
            f"no 2-defect structure of {job.material} has {job.target} for {', '.join(job.labels)}"
            + (f" where {where}" if where else "")
            + "".join(f"; {sentence}" for sentence in (*lacking, *missing_singles(db, job)))
        )
    return Selection(frame, sql, frame_hash(frame))


def missing_singles(db: Database, job: Job) -> list[str]:
    """A sentence for every defect whose pairs have no interaction energy because no structure has it alone."""
    if PAIR_VALUES[job.target] != "interaction":
        return []
    rows = db.frame(
        "SELECT d.label, p.host_id, list_sort(list(DISTINCT p.label)), count(DISTINCT p.structure_id) "
        "FROM raw_pair_energies AS p JOIN defects AS d USING (structure_id) "
        "ANTI JOIN one_defect_energies AS o ON o.host_id = p.host_id AND o.level = p.level "
        "AND o.label = d.label AND o.target = $target "
        "WHERE p.material_id = $material AND list_contains($labels, p.label) AND p.formation_energy IS NOT NULL"
        + dataset_predicate(job, "p.dataset_id") + " GROUP BY ALL ORDER BY ALL",
        {"target": job.target, "material": job.material, "labels": list(job.labels)},
    )  # fmt: skip
    return [
        f"no structure with {single} alone on {host} has {job.target}: "
        f"{n} structure{' with' if n == 1 else 's with'} {', '.join(pairs)} {'is' if n == 1 else 'are'} left out; "
        f"ingest a run of {single} alone"
        for single, host, pairs, n in rows.iter_rows()
    ]


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
