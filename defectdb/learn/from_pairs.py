"""Learn the kernels of pair labels from structures with one and two defects, and make them the active model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import polars as pl

from defectdb.db import Database
from defectdb.errors import SelectionError, UsageError
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import Job, settle
from defectdb.learn.model_front import ModelPoint
from defectdb.learn.outcome import Learned, Progress
from defectdb.learn.pairs.choose_formulas import (
    chosen_together,
    fitted_to_structures,
    occurrences,
    pair_model_front,
    stored_pairs,
)
from defectdb.learn.pairs.host_offsets import without_host_offsets
from defectdb.learn.pairs.kernel_task import MIN_ROWS, Kernel, KernelTask, PairTask
from defectdb.learn.pairs.left_out import left_out
from defectdb.learn.pairs.tasks import demand_vanishing, kernel_tasks, n_distances
from defectdb.learn.pairs.warm_start import warm_tasks
from defectdb.learn.pairs.workers import learn_kernels
from defectdb.learn.publish import LearnedTerm, NewModel, fail_run, open_run, publish
from defectdb.learn.records import generation_rows
from defectdb.learn.select import missing_singles, select_pairs
from defectdb.schema.fields import TARGETS
from defectdb.schema.records import TermRecord


def learn_pairs(
    db: Database, config: LearnConfig, labels: list[str] | None = None, progress: Progress | None = None, *,
    executor: Executor | None = None, resumes: int | None = None,
) -> Learned:  # fmt: skip
    """Learn kernels of ``labels`` (None: of every pair label of the material) and activate the new model.

    With ``config.activate`` false the model and its formulas are stored as candidates. Searches run on an ``executor``
    (anything of ``concurrent.futures``), where there is none in processes of this machine. ``resumes`` is the id of a
    run that ended before it was done and is taken up again.

    Raises UnknownNameError, UsageError and SelectionError before anything is written; a run that fails later
    is marked so and leaves the active model as it was. A label of too few distances for a curve is an error where it
    was asked for or ``config.where`` made it so, else it gets a constant.
    """
    progress = progress or Progress()
    begin = time.monotonic()
    _demand_pairs(config)
    job = replace(settle(db, config, labels), executor=executor, resumes=resumes)
    selection = select_pairs(db, job)
    tasks = kernel_tasks(db, selection, job)
    constants = _constants(db, job, tasks, asked=labels is not None)
    for task in tasks:
        demand_vanishing(task)
    tasks = warm_tasks(db, without_host_offsets(db, tasks, job), job)
    stored = stored_pairs(db, job)
    remarks = [*missing_singles(db, job), *constants]
    run_id = open_run(db, "pairs" if labels is None else "pair", job, selection)
    progress.begun(run_id)
    for line in remarks:
        progress.note(line)
    kernels: list[Kernel] = []
    try:
        kernels = _searched(tasks, progress, job)
        front: list[ModelPoint] = []
        if labels is None:
            often = occurrences(stored, kernels)
            kernels = fitted_to_structures(job, kernels, often)
            front = pair_model_front(kernels, often)
        kernels, refusal = chosen_together(job, kernels, front)
        blind = _left_out(kernels, selection.frame)
        if refusal is not None:
            job = replace(job, config=job.config.model_copy(update={"activate": False}))
        [model_id], chosen = publish(
            db, run_id, job,
            lambda: [
                replace(_new_model(db, run_id, job, kernels, selection.frame.height), front=front, left_out=blind)
            ],
            lambda: select_pairs(db, job),
        )  # fmt: skip
    except BaseException as error:
        raise fail_run(db, run_id, error, job, kernels) or error from error.__cause__
    if refusal is not None:
        raise UsageError(
            f"{refusal}; what was found is stored as candidates (`defectdb formulas --model-front`)"
        )
    return Learned(run_id, model_id, job.material, kernels, chosen, time.monotonic() - begin, front)


def _searched(tasks: Sequence[PairTask], progress: Progress, job: Job) -> list[Kernel]:
    """The kernels of all tasks, by label and |dz|."""
    kernels: list[Kernel] = []
    progress.kernel(None, 0, len(tasks))
    found = learn_kernels(tasks, progress.generation, progress.worker_generation, job.executor, progress.note)
    for kernel in found:
        kernels.append(kernel)
        progress.kernel(kernel, len(kernels), len(tasks))
    return sorted(kernels, key=lambda k: (k.task.label, k.task.dz_min))


def _new_model(db: Database, run_id: int, job: Job, kernels: Sequence[Kernel], n_train: int) -> NewModel:
    """The model of these kernels and of those of the active model that were not learned anew."""
    kept, trained_on = _kept_terms(db, job, [kernel.task.label for kernel in kernels])
    first = kernels[0].task
    return NewModel(
        terms=[LearnedTerm(kernel) for kernel in kernels],
        aggregator=TARGETS[job.target].aggregator,  # type: ignore[arg-type]
        trained_on=trained_on,
        n_train=n_train,
        generations=[generation_rows(kernel, run_id) for kernel in kernels],
        kept=kept,
        shift=first.shift if isinstance(first, PairTask) else 0.0,
    )


def _left_out(kernels: Sequence[Kernel], frame: pl.DataFrame) -> pl.DataFrame:
    """structure_id and absolute error (eV) of the kernels in use at distances that their constants were fitted without.

    ``frame``: the rows that tasks were made of, in order.
    """
    parts = []
    for kernel in kernels:
        task, best = kernel.task, kernel.best
        window = pl.col("dz").is_between(task.dz_min, task.dz_max, closed="left")
        rows = frame.filter(window, label=task.label).select("structure_id")
        errors = left_out(task, [(best.expression, best.constants)])[0]
        parts.append(rows.with_columns(error=pl.Series(errors)))
    return pl.concat(parts)


def _kept_terms(db: Database, job: Job, learned: Sequence[str]) -> tuple[list[TermRecord], str]:
    """The kernels of the active model of labels other than ``learned``, and what the new model is trained on.

    With kernels its three-body terms stay, where they are added in the same way. A model of several protocols
    says so: its errors are those of none of them.
    """
    frame = db.frame(
        'SELECT t."order", t.label, t.formula_id, t.value, m.trained_on FROM model_terms AS t '
        "JOIN models AS m USING (model_id) WHERE m.status = 'active' AND m.material_id = $material "
        "AND m.target = $target AND m.images = $images AND NOT list_contains($learned, t.label) "
        'AND (t."order" = 2 OR (t."order" = 3 AND m.aggregator = $aggregator)) ORDER BY ALL',
        {
            "material": job.material,
            "target": job.target,
            "images": job.config.images,
            "learned": list(learned),
            "aggregator": TARGETS[job.target].aggregator,
        },
    )
    protocol = job.config.protocol
    if not frame.filter(pl.col("order") == 2).height:
        return [], protocol
    [before] = frame["trained_on"].unique().to_list()
    trained_on = protocol if before == protocol else "pairs and all"
    return [TermRecord(**row) for row in frame.drop("trained_on").to_dicts()], trained_on


def _demand_pairs(config: LearnConfig) -> None:
    """Raises UsageError for options that only a model of all structures has."""
    if config.protocol == "all":
        raise UsageError(
            "the kernels of pairs are learned from 1- and 2-defect structures; to learn from every structure "
            "write --model --from all, without --pair and --all-pairs"
        )
    if config.max_term is not None:
        raise UsageError(
            "--max-term bounds the terms of a model of all structures; write --model --from all, or --max-tokens"
        )
    if config.nested:
        raise UsageError(
            "--nested cross-validates a model of all structures; write --model --from all --nested"
        )


def _constants(db: Database, job: Job, tasks: Sequence[KernelTask], *, asked: bool) -> list[str]:
    """A line for every kernel that will be a constant, because the whole database has too few distances of it.

    Raises SelectionError where the label was ``asked`` for and none of its kernels has enough, or the predicate left
    out rows of it.
    """
    counts = {task.name: n_distances(task) for task in tasks}
    enough = {task.label for task in tasks if counts[task.name] >= MIN_ROWS}
    few = [task for task in tasks if counts[task.name] < MIN_ROWS]
    whole = _rows_of(db, job, {task.label for task in few})
    lines = []
    for task in few:
        n, found = _distances(counts[task.name]), sum(t.y.size for t in tasks if t.label == task.label)
        if found < whole[task.label]:
            raise SelectionError(
                f"{task.name} has {n} where {job.config.where}, and a formula needs {MIN_ROWS} different ones "
                f"at least; "
                f"widen --where, which leaves {found} of {whole[task.label]} rows of {task.label}"
            )
        if asked and task.label not in enough:
            raise SelectionError(
                f"{task.name} has {n} in the database, and a formula needs {MIN_ROWS} different ones at least; "
                "ingest more 2-defect structures of it"
            )
        lines.append(
            f"{task.name} has {n}, {MIN_ROWS} are needed for a formula: it gets the constant "
            f"{'0' if job.config.decay or job.config.images == 'sum' else 'that is their median'}"
        )
    return lines


def _rows_of(db: Database, job: Job, labels: set[str]) -> dict[str, int]:
    """How many rows every label has without the predicate."""
    if not labels:
        return {}
    config = job.config.model_copy(update={"where": None})
    frame = select_pairs(db, replace(job, config=config, labels=tuple(sorted(labels)))).frame
    return dict(frame.group_by("label").len().iter_rows())


def _distances(n: int) -> str:
    return "1 distance" if n == 1 else f"{n} distances"
