"""Learn the whole material model of one target, term by term a formula, from every selected structure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from defectdb.db import Database
from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.composition.learn_gap import both_selections, dense_model, report, with_dense
from defectdb.learn.composition.structures import DenseStructures, load_dense
from defectdb.learn.config import LearnConfig
from defectdb.learn.from_pairs import learn_pairs
from defectdb.learn.job import Job, known_labels, settle
from defectdb.learn.material.fit_model import Fitted, Learn, fit_model, nested_residual
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.material.structures import ModelData, load_structures
from defectdb.learn.outcome import Learned, Progress
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.pairs.measured import with_constants
from defectdb.learn.pairs.warm_start import warm_tasks
from defectdb.learn.pairs.workers import learn_kernels
from defectdb.learn.publish import LearnedTerm, NewModel, fail_run, open_run, publish
from defectdb.learn.records import generation_rows
from defectdb.schema.records import Aggregator

AGGREGATORS: dict[str, Aggregator] = {
    "formation_energy": "sum",
    "homo_lumo_gap": "shift_min",
    "lumo": "shift_min",
    "homo": "shift_max",
}
"""How a model learned from all structures combines its terms."""


def learn_model(db: Database, config: LearnConfig, progress: Progress | None = None) -> Learned:
    """Learn the whole material model of one target and activate it.

    From pairs (``config.protocol``): the kernels of every pair label. From all: kernels and three-body terms through
    the sum over pairs and triples of every structure, constants refined together. Raises as ``learn_pairs``.
    """
    if config.protocol == "pairs":
        return learn_pairs(db, config, None, progress)
    progress = progress or Progress()
    begin = time.monotonic()
    job = settle(db, config, source="pairs")
    dense = None if job.target == "formation_energy" else load_dense(db, job, progress.note)
    if dense is not None and not known_labels(db, job.material):
        return _learn_dense(db, job, dense, progress, begin)
    data = load_structures(db, job)
    selection = data.selection if dense is None else both_selections(data.selection, dense.selection)
    run_id = open_run(db, "model", job, selection)
    try:
        everything = np.ones(len(data.y), dtype=bool)
        log, blind_log = list[Kernel](), list[Kernel]()
        fitted = fit_model(data, _learner(db, job, progress, log), everything)
        if config.nested:
            cold = replace(job, config=config.model_copy(update={"warm": False}))
            blind = nested_residual(data, _learner(db, cold, progress, blind_log))
            fitted = replace(fitted, residual_cv=blind)
        rows = [generation_rows(k, run_id) for k in log]
        rows += [generation_rows(k, run_id, " without a fold") for k in blind_log]
        new = replace(_new_model(job, fitted), generations=rows)
        if dense is not None:
            new = _with_dense(db, job, new, data, fitted, dense, progress)
        model_id, ids = publish(db, run_id, job, new)
    except BaseException:
        fail_run(db, run_id)
        raise
    used = [term.kernel for term in new.terms]
    return Learned(run_id, model_id, job.material, used, ids, time.monotonic() - begin)


def _learn_dense(db: Database, job: Job, dense: DenseStructures, progress: Progress, begin: float) -> Learned:
    """The model of a gap or level of a material of dense structures alone."""
    run_id = open_run(db, "model", job, dense.selection)
    try:
        new, residual, blind = dense_model(job, dense)
        report(progress.note, [("dense structures", blind)])
        model_id, ids = publish(db, run_id, job, _judged(new, residual, blind))
    except BaseException:
        fail_run(db, run_id)
        raise
    used = [term.kernel for term in new.terms]
    return Learned(run_id, model_id, job.material, used, ids, time.monotonic() - begin)


def _with_dense(
    db: Database, job: Job, new: NewModel, data: ModelData, fitted: Fitted, dense: DenseStructures,
    progress: Progress,
) -> NewModel:  # fmt: skip
    """The model of low density extended to the dense structures, with the errors of both."""
    both, law = with_dense(db, job, new, data.selection.frame, fitted.residual, dense)
    parts = [("dilute structures", fitted.residual_cv), ("dense structures", law.residual_cv)]
    report(progress.note, parts)
    residual = np.concatenate([fitted.residual, law.residual])
    return _judged(both, residual, np.concatenate([fitted.residual_cv, law.residual_cv]))


def _judged(new: NewModel, residual: Floats, blind: Floats) -> NewModel:
    """The model with its errors: residuals in training and left out [structure], eV."""
    blind = np.abs(blind)
    return replace(
        new,
        mae_train=float(np.abs(residual).mean()),
        mae_cv=float(blind.mean()),
        interval_90=conformal_quantile(blind, 0.9),
    )


def _learner(db: Database, job: Job, progress: Progress, log: list[Kernel]) -> Learn:
    """Searches run side by side, seeded with stored formulas where asked for, and watched; ``log`` keeps them all."""
    config = job.config

    def learn(tasks: Sequence[KernelTask]) -> Iterator[Kernel]:
        own = [
            replace(t, config=config, device=job.device, islands=max(t.islands, config.islands))
            for t in tasks
        ]
        warm = warm_tasks(db, own, job)
        progress.kernel(None, 0, len(warm))
        found = learn_kernels(warm, progress.generation, progress.worker_generation)
        for done, kernel in enumerate(found, start=1):
            progress.kernel(kernel, done, len(warm))
            log.append(kernel)
            yield kernel

    return learn


def _new_model(job: Job, fitted: Fitted) -> NewModel:
    """The fitted model with its errors."""
    blind = np.abs(fitted.residual_cv)
    terms = [
        LearnedTerm(with_constants(kernel, part.constants), float(blind[_touched(part, len(blind))].mean()))
        for kernel, part in fitted.terms
    ]
    new = NewModel(
        terms=terms,
        aggregator=AGGREGATORS[job.target],
        trained_on="all",
        n_train=len(blind),
        others=fitted.spare,
    )
    return _judged(new, fitted.residual, fitted.residual_cv)


def conformal_quantile(scores: Floats, coverage: float) -> float:
    """Half-width of the conformal interval of that coverage, from out-of-fold absolute errors (Vovk et al. 2005)."""
    n = len(scores)
    rank = min(n, int(np.ceil((n + 1) * coverage)))
    return float(np.sort(scores)[rank - 1])


def _touched(part: Part, n: int) -> Flags:
    """Structures that the term adds to."""
    if part.counts is not None:
        touched: Flags = part.counts.sum(1) > 0
        return touched
    touched = np.zeros(n, dtype=bool)
    touched[part.rows] = True
    return touched
