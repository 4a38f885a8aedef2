"""The energy model of structures with many defects: all its terms identified together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from defectdb.db import Database
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.learn.config import LearnConfig
from defectdb.learn.dense.fit import Learn, fit_dense, left_out, predict_dense, refitted
from defectdb.learn.dense.split import Split, demand_separable
from defectdb.learn.dense.structures import DenseData, load_dense
from defectdb.learn.dense.terms import dense_terms
from defectdb.learn.job import Job
from defectdb.learn.publish import LearnedTerm, NewModel
from defectdb.learn.sparse_model import blind_errors, conformal_quantile

QUICK = {"generations": 0, "exhaustive_size": 5, "max_tokens": 13}
"""A search against a table of few and noisy values is short; a user's smaller values hold."""


def quick_options(config: LearnConfig) -> LearnConfig:
    """The options of a search against the tables of structures with many defects."""
    return config.model_copy(update={k: min(v, getattr(config, k)) for k, v in QUICK.items()})


def load_part(db: Database, job: Job, split: Split) -> DenseData:
    """The structures with many defects. Raises SelectionError where their terms cannot be told apart."""
    assert split.dense is not None
    if job.config.images == "sum":
        raise UsageError(
            f"lattice sums are learned from structures with one and two defects, and {job.material} has others; "
            "learn with --images nearest"
        )
    data = load_dense(db, job, *split.dense)
    demand_separable(data, job.target)
    return data


def new_dense_model(
    job: Job, data: DenseData, learn: Learn, blind: Learn, note: Callable[[str], None] = lambda _: None
) -> NewModel:
    """What is stored of the fitted model; ``blind`` runs the searches without a fold.

    ``note`` is told the left-out error of free tables, which says what the formulas cost.
    """
    everything = np.ones(len(data.y), dtype=bool)
    model = fit_dense(data, learn, everything, data.fold)
    residual = data.y - predict_dense(data, model)
    note(f"free tables in place of the formulas: {1000 * model.table_error:.1f} meV per site where left out")
    if job.config.nested:
        outside = left_out(
            data,
            lambda train: predict_dense(data, fit_dense(data, blind, train, data.fold)),
        )
    else:
        outside = left_out(data, lambda train: refitted(data, model, train))
    terms = dense_terms(data, model, residual)
    kernels = [LearnedTerm(replace(k, task=replace(k.task, config=job.config))) for k in terms.kernels]
    new = _with_errors(
        NewModel(terms=kernels, aggregator="sum", trained_on="all", n_train=len(data.y), values=terms.values),
        residual,
        outside,
    )
    return replace(new, left_out=blind_errors(data.selection, outside))


def _with_errors(new: NewModel, residual: Floats, outside: Floats) -> NewModel:
    """The model with its errors in training and left out."""
    return replace(
        new,
        mae_train=float(np.abs(residual).mean()),
        mae_cv=float(np.abs(outside).mean()),
        interval_90=conformal_quantile(np.abs(outside), 0.9),
    )
