"""The learner's doors: learn the kernels of some pair labels and make them the active model."""

from __future__ import annotations

import time
from collections.abc import Sequence

from defectdb.db import Database
from defectdb.errors import SelectionError, UsageError
from defectdb.learn.config import LearnConfig, resolve_device
from defectdb.learn.job import Learned, Progress
from defectdb.learn.pairs.host_offsets import without_host_offsets
from defectdb.learn.pairs.kernel_task import MIN_ROWS, Kernel, KernelTask
from defectdb.learn.pairs.tasks import demand_vanishing, kernel_tasks, n_distances
from defectdb.learn.pairs.warm_start import warm_tasks
from defectdb.learn.pairs.workers import learn_kernels
from defectdb.learn.publish import fail_run, open_run, publish
from defectdb.learn.select import (
    Selection,
    check_target,
    choose_material,
    find_label,
    known_labels,
    select_pairs,
)


def learn_pairs(
    db: Database, config: LearnConfig, labels: list[str] | None = None, progress: Progress | None = None
) -> Learned:
    """Learn kernels of ``labels`` (None: of every pair label of the material) and activate the new model.

    With ``config.activate`` false the model and its formulas are stored as candidates.

    Raises UnknownNameError, UsageError and SelectionError before anything is written; a run that fails later
    is marked so and leaves the active model as it was. A label of too few distances for a curve is an error where it
    was asked for or ``config.where`` made it so, else it gets a constant.
    """
    progress = progress or Progress()
    begin = time.monotonic()
    _demand_pairs(config)
    check_target(config.target)
    config.grammar()
    device = resolve_device(config.device)
    material = choose_material(db, config.material)
    wanted = known_labels(db, material) if labels is None else [find_label(db, material, x) for x in labels]
    selection = select_pairs(db, config, material, sorted(set(wanted)))
    tasks = kernel_tasks(db, selection, config, device)
    constants = _constants(db, config, selection, tasks, asked=labels is not None)
    for task in tasks:
        demand_vanishing(task)
    tasks = warm_tasks(db, without_host_offsets(db, tasks, config, material), config, material)
    run_id = open_run(db, "pairs" if labels is None else "pair", config, selection, device)
    for line in constants:
        progress.note(line)
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


def _demand_pairs(config: LearnConfig) -> None:
    """Raises UsageError for options that only a model of all structures has."""
    if config.protocol == "all":
        raise UsageError(
            "the kernels of pairs are learned from 1- and 2-defect structures; to learn from every structure "
            "write --model --from all, without --pair and --all-pairs"
        )
    if config.nested:
        raise UsageError(
            "--nested cross-validates a model of all structures; write --model --from all --nested"
        )


def _constants(
    db: Database, config: LearnConfig, selection: Selection, tasks: Sequence[KernelTask], *, asked: bool
) -> list[str]:
    """A line for every kernel that will be a constant, because the whole database has too few distances of it.

    Raises SelectionError where the label was ``asked`` for and none of its kernels has enough, or the predicate left
    out rows of it.
    """
    counts = {task.name: n_distances(task) for task in tasks}
    enough = {task.label for task in tasks if counts[task.name] >= MIN_ROWS}
    few = [task for task in tasks if counts[task.name] < MIN_ROWS]
    whole = _rows_of(db, config, selection, {task.label for task in few})
    lines = []
    for task in few:
        n, found = _distances(counts[task.name]), sum(t.y.size for t in tasks if t.label == task.label)
        if found < whole[task.label]:
            raise SelectionError(
                f"{task.name} has {n} where {config.where}, and a formula needs {MIN_ROWS} different ones at least; "
                f"widen --where, which leaves {found} of {whole[task.label]} rows of {task.label}"
            )
        if asked and task.label not in enough:
            raise SelectionError(
                f"{task.name} has {n} in the database, and a formula needs {MIN_ROWS} different ones at least; "
                "ingest more 2-defect structures of it"
            )
        lines.append(
            f"{task.name} has {n}, {MIN_ROWS} are needed for a formula: it gets the constant "
            f"{'0' if config.decay or config.images == 'sum' else 'that is their median'}"
        )
    return lines


def _rows_of(db: Database, config: LearnConfig, selection: Selection, labels: set[str]) -> dict[str, int]:
    """How many rows every label has without the predicate."""
    if not labels:
        return {}
    everything = config.model_copy(update={"where": None})
    frame = select_pairs(db, everything, selection.material, sorted(labels)).frame
    return dict(frame.group_by("label").len().iter_rows())


def _distances(n: int) -> str:
    return "1 distance" if n == 1 else f"{n} distances"
