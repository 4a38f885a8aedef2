"""Learn the gap or a level of a material some of whose supercells have no 1-defect structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.expressions.arrays import Floats
from defectdb.learn.composition.both_densities import (
    deciding_values,
    law_by_regime,
    low_density,
    replacing_term,
)
from defectdb.learn.composition.dense_model import dense_law, dense_terms
from defectdb.learn.composition.law import GapLaw
from defectdb.learn.composition.structures import DenseStructures
from defectdb.learn.job import Job
from defectdb.learn.publish import LearnedTerm, NewModel
from defectdb.learn.select import Selection, frame_hash

MEV = 1000.0


def dense_model(job: Job, data: DenseStructures) -> tuple[NewModel, Floats, Floats]:
    """A model of dense structures alone, and its residuals in training and left out [structure], eV."""
    law = dense_law(data)
    kernels, values = dense_terms(job, data, law)
    terms = [LearnedTerm(kernel) for kernel in kernels]
    new = NewModel(terms=terms, aggregator="sum", trained_on="all", n_train=len(data.y), values=values)
    return new, law.residual, law.residual_cv


def with_dense(
    db: Database, job: Job, low: NewModel, frame: pl.DataFrame, residual: Floats, data: DenseStructures
) -> tuple[NewModel, GapLaw]:
    """The model of low density with the law that takes its place at high density.

    ``frame`` and ``residual`` [structure] are the structures of low density and what the model ``low`` misses, eV.
    """
    largest = job.target == "homo"
    name = "most" if largest else "least"
    kernels = [term.kernel for term in low.terms if term.order == 2]
    deciding = deciding_values(data, one_defect_means(db, job), kernels, largest=largest)
    dilute = low_density(db, job, frame, residual)
    db.release()
    law = law_by_regime(data, deciding, name)
    kernel = replacing_term(job, dilute, data, law, deciding, name)
    return replace(low, terms=[*low.terms, LearnedTerm(kernel)], n_train=low.n_train + len(data.y)), law


def one_defect_means(db: Database, job: Job) -> dict[str, float]:
    """Mean one-defect value of every defect label, eV: what the model's one-defect terms are."""
    frame = db.frame(
        "SELECT o.label, avg(o.value) FROM one_defect_energies AS o JOIN hosts AS h USING (host_id) "
        "WHERE h.material_id = ? AND o.target = ? AND o.charge = 0 GROUP BY o.label ORDER BY o.label",
        [job.material, job.target],
    )
    return dict(frame.iter_rows())


def both_selections(low: Selection, dense: Selection) -> Selection:
    """The structures of both, and one SELECT that gives them."""
    columns = ["structure_id", "n_defects", "value", "fold"]
    frame = pl.concat([s.frame.select(columns) for s in (low, dense)], how="vertical_relaxed")
    names = ", ".join(columns)
    sql = "\nUNION ALL\n".join(f"SELECT {names} FROM (\n{s.sql}\n)" for s in (low, dense))
    return Selection(frame, sql, frame_hash(frame))


def report(note: Callable[[str], None], parts: Sequence[tuple[str, Floats]]) -> None:
    """Tell the left-out errors of every part: its name and its residuals, eV."""
    for name, residual in parts:
        error = MEV * float(np.abs(residual).mean())
        note(f"{name}: {len(residual)} structures, {error:.1f} meV where left out")
