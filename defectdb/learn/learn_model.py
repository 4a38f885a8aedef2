"""The learner's second door: every selected structure to one material model, term by term a formula."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from defectdb.db import Database
from defectdb.learn.config import LearnConfig, resolve_device
from defectdb.learn.job import Learned, Progress
from defectdb.learn.learn_pairs import learn_pairs
from defectdb.learn.material.fit_model import Learn, fit_model, nested_residual
from defectdb.learn.material.structures import load_structures
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.pairs.warm_start import warm_tasks
from defectdb.learn.pairs.workers import learn_kernels
from defectdb.learn.publish import _publish, fail_run, generation_rows, open_run
from defectdb.learn.select import check_target, choose_material


def learn_model(db: Database, config: LearnConfig, progress: Progress | None = None) -> Learned:
    """Learn the whole material model of one target and activate it.

    From pairs (``config.protocol``): the kernels of every pair label. From all: kernels and three-body terms through
    the sum over pairs and triples of every structure, constants refined together. Raises as ``learn_pairs``.
    """
    if config.protocol == "pairs":
        return learn_pairs(db, config, None, progress)
    progress = progress or Progress()
    begin = time.monotonic()
    check_target(config.target)
    device = resolve_device(config.device)
    material = choose_material(db, config.material)
    data = load_structures(db, config, material)
    run_id = open_run(db, "model", config, data.selection, device)
    try:
        everything = np.ones(len(data.y), dtype=bool)
        log, blind_log = list[Kernel](), list[Kernel]()
        learn = _learner(db, config, material, progress, log)
        fitted = fit_model(data, config, device, learn, everything)
        if config.nested:
            cold = config.model_copy(update={"warm": False})
            blind = _learner(db, cold, material, progress, blind_log)
            fitted = replace(fitted, residual_cv=nested_residual(data, config, device, blind))
        rows = [generation_rows(k, run_id) for k in log]
        rows += [generation_rows(k, run_id, " without a fold") for k in blind_log]
        model_id, used, ids = _publish(db, run_id, config, data, fitted, rows)
    except BaseException:
        fail_run(db, run_id)
        raise
    return Learned(run_id, model_id, material, used, ids, time.monotonic() - begin)


def _learner(
    db: Database, config: LearnConfig, material: str, progress: Progress, log: list[Kernel]
) -> Learn:
    """Searches run side by side, seeded with stored formulas where asked for, and watched; ``log`` keeps them all."""

    def learn(tasks: Sequence[KernelTask]) -> Iterator[Kernel]:
        warm = warm_tasks(db, tasks, config, material)
        progress.kernel(None, 0, len(warm))
        found = learn_kernels(warm, progress.generation, progress.beside)
        for done, kernel in enumerate(found, start=1):
            progress.kernel(kernel, done, len(warm))
            log.append(kernel)
            yield kernel

    return learn
