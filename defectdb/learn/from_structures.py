"""Learn the whole material model of one target, term by term a formula, from every selected structure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from defectdb.db import Database
from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.config import LearnConfig
from defectdb.learn.from_pairs import learn_pairs
from defectdb.learn.job import Job, settle
from defectdb.learn.material.fit_model import Fitted, Learn, fit_model, nested_residual
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.material.structures import load_structures
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
    job = settle(db, config)
    data = load_structures(db, job)
    run_id = open_run(db, "model", job, data.selection)
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
        model_id, ids = publish(db, run_id, job, new)
    except BaseException:
        fail_run(db, run_id)
        raise
    used = [term.kernel for term in new.terms]
    return Learned(run_id, model_id, job.material, used, ids, time.monotonic() - begin)


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
    residual, blind = np.abs(fitted.residual), np.abs(fitted.residual_cv)
    terms = [
        LearnedTerm(with_constants(kernel, part.constants), float(blind[_touched(part, len(blind))].mean()))
        for kernel, part in fitted.terms
    ]
    return NewModel(
        terms=terms,
        aggregator=AGGREGATORS[job.target],
        trained_on="all",
        n_train=len(residual),
        others=fitted.spare,
        mae_train=float(residual.mean()),
        mae_cv=float(blind.mean()),
        interval_90=conformal_quantile(blind, 0.9),
    )


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
