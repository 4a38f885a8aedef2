"""The learner's doors: learn the kernels of some pair labels and make them the active model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from defectdb.db import Database
from defectdb.learn.config import LearnConfig, resolve_device
from defectdb.learn.kernels import Beside, Kernel, kernel_tasks, learn_kernels
from defectdb.learn.offsets import settled
from defectdb.learn.publish import fail_run, open_run, publish
from defectdb.learn.segvae.search import Generation
from defectdb.learn.select import check_target, choose_material, find_label, known_labels, select_pairs
from defectdb.learn.warm import warm_tasks


@dataclass(frozen=True)
class Learned:
    """What one job wrote: run, model, kernels with the ids of their chosen formulas, seconds of wall time."""

    run_id: int
    model_id: int
    material: str
    kernels: list[Kernel]
    formula_ids: list[int]
    seconds: float


def _silent(*_: object) -> None:
    """No display."""


@dataclass(frozen=True)
class Progress:
    """Hooks that a display may give: kernels found so far of how many, and every generation of the search in progress.

    ``beside`` hears of the generations of searches in worker processes, in a thread of its own.
    """

    kernel: Callable[[Kernel | None, int, int], None] = _silent
    generation: Callable[[Generation], None] | None = None
    beside: Beside | None = None


def learn_pairs(
    db: Database, config: LearnConfig, labels: list[str] | None = None, progress: Progress | None = None
) -> Learned:
    """Learn kernels of ``labels`` (None: of every pair label of the material) and activate the new model.

    Raises UnknownNameError, UsageError and SelectionError before anything is written; a run that fails later
    is marked so and leaves the active model as it was.
    """
    progress = progress or Progress()
    begin = time.monotonic()
    check_target(config.target)
    device = resolve_device(config.device)
    material = choose_material(db, config.material)
    wanted = known_labels(db, material) if labels is None else [find_label(db, material, x) for x in labels]
    selection = select_pairs(db, config, material, sorted(set(wanted)))
    tasks = settled(db, kernel_tasks(db, selection, config, device), config, material)
    tasks = warm_tasks(db, tasks, config, material)
    run_id = open_run(db, "pairs" if labels is None else "pair", config, selection, device)
    try:
        kernels: list[Kernel] = []
        progress.kernel(None, 0, len(tasks))
        for kernel in learn_kernels(tasks, progress.generation, progress.beside):
            kernels.append(kernel)
            progress.kernel(kernel, len(kernels), len(tasks))
        kernels.sort(key=lambda k: (k.task.label, k.task.dz_min))
        model_id, chosen = publish(db, run_id, config, selection, kernels)
    except BaseException:
        fail_run(db, run_id)
        raise
    return Learned(run_id, model_id, material, kernels, chosen, time.monotonic() - begin)
