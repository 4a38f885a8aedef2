"""The selected rows of one pair label to a front of kernels: one search, or several in worker processes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.errors import SelectionError, UsageError
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.lattice_sums import class_folds, distance_classes, lattice_domain
from defectdb.engine.fitting.multistart import Problem
from defectdb.engine.safety.domain import MAX_DRIFT
from defectdb.engine.finishing.scoring import Domain, Scored, select
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.seeds.physical_laws import law_seeds
from defectdb.engine.search.worker_lifetime import end_with
from defectdb.engine.search.search import Generation, Search
from defectdb.learn.select import Selection, dz_windows, lattice_points
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Constant
from defectdb.schema.fields import TARGETS
from defectdb.schema.records import EVERY_DZ

Floats = NDArray[np.float64]
CUTOFF = 30.0
"""A kernel must be finite and quiet up to this distance, angstrom."""

MIN_ROWS = 4
"""Fewer distinct distances than this give a constant, not a curve."""


@dataclass(frozen=True)
class KernelTask:
    """One formula to learn: label, |dz| window, points ``x`` [variable, point] and values ``y`` [row].

    ``weight`` [row]; ``mixing`` [row, point] sums points into rows, None where rows are points. ``values`` [point]
    are what the formula itself should be near at the points, for its domain (None: ``y``). ``offset`` frees a
    constant. ``spare`` is the squared error that a simpler formula may add to the best one's; None chooses by
    cross-validation instead; ``frequency`` [point] then says how often each point occurs. ``hosts`` [row]; ``shift``
    is by how much the mean host offset in ``y`` differs from that of view ``host_offsets``, eV.
    """

    label: str
    dz_min: float
    dz_max: float
    x: Floats
    y: Floats
    weight: Floats
    mixing: Floats | None
    cutoff: float
    config: LearnConfig
    device: str
    variables: tuple[str, ...] = ("r",)
    values: Floats | None = None
    offset: bool = True
    spare: float | None = None
    frequency: Floats | None = None
    island: int = 0
    seeds: tuple[tuple[str, ...], ...] = ()
    hosts: tuple[str, ...] = ()
    shift: float = 0.0

    @property
    def r(self) -> Floats:
        """The first variable: of a pair kernel the distance, angstrom."""
        first: Floats = self.x[0]
        return first

    @property
    def name(self) -> str:
        """The label and, where it has several kernels, the |dz| window."""
        if self.dz_min == 0 and self.dz_max >= EVERY_DZ:
            return self.label
        return (
            f"{self.label} dz>={self.dz_min:.2f}"
            if self.dz_max >= EVERY_DZ
            else f"{self.label} dz<{self.dz_max:.2f}"
        )


@dataclass(frozen=True)
class Kernel:
    """A learned kernel: its task, the front, the index of the formula to use, the search's log and time."""

    task: KernelTask
    front: list[Scored]
    chosen: int
    generations: list[Generation]
    seconds: float
    n_fits: int


Heard = Callable[[KernelTask, Generation], None]
"""What hears of every generation of a search, and of which task it is."""

Told = SimpleQueue["tuple[int, Generation] | None"]


def kernel_tasks(db: Database, selection: Selection, config: LearnConfig, device: str) -> list[KernelTask]:
    """One task for every label and |dz| window of the selection. Raises UsageError for sums of levels."""
    if config.images == "sum" and TARGETS[config.target].aggregator != "sum":
        raise UsageError(
            f"{config.target} does not add up over periodic images; learn it with --images nearest"
        )
    tasks = []
    for (label,), frame in selection.frame.group_by(["label"], maintain_order=True):
        for low, high in dz_windows(frame["dz"].to_numpy()):
            part = frame.filter(pl.col("dz").is_between(low, high, closed="left"))
            r, y = part["r"].to_numpy().copy(), part["y"].to_numpy().copy()
            mixing = None
            if config.images == "sum":
                points = lattice_points(db, part)
                distances, where = np.unique(points["r"].to_numpy().round(6), return_inverse=True)
                mixing = np.zeros((len(y), len(distances)))
                np.add.at(mixing, (points["row"].to_numpy(), where), 1.0)
                r = distances
            free = mixing is None and not config.decay
            tasks.append(
                KernelTask(
                    str(label),
                    low,
                    high,
                    r[None],
                    y,
                    np.ones_like(y),
                    mixing,
                    CUTOFF,
                    config,
                    device,
                    offset=free,
                    hosts=tuple(part["host_id"]),
                )
            )
    return tasks


def _seed(task: KernelTask) -> int:
    """The task's own seed: the same whatever else is learned beside it, and in whatever order."""
    text = f"{task.config.seed}/{task.island}/{task.label}/{task.dz_min:.3f}/{task.config.target}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def seed_rows(grammar: Grammar, task: KernelTask) -> torch.Tensor:
    """The field's laws and the task's own seeds as token rows, those that the grammar can write."""
    return torch.cat([law_seeds(grammar), grammar.encode_all(task.seeds)])


def problem_of(task: KernelTask) -> Problem:
    """The task's data as tensors."""
    return Problem.of(
        torch.from_numpy(task.x),
        torch.from_numpy(task.y),
        torch.from_numpy(task.weight),
        mixing=None if task.mixing is None else torch.from_numpy(task.mixing),
        offset=task.offset,
    )


def domain_of(task: KernelTask) -> Domain:
    """Where the formula must be finite and quiet: from the shortest distance to the cutoff.

    For several variables: at the points and half-way between points picked in pairs, without a denominator that
    changes its sign there.
    """
    decay = task.config.decay
    if len(task.variables) > 1:
        values = task.y if task.values is None else task.values
        shuffled = np.random.default_rng(0).permutation(task.x.shape[1])
        grid = np.concatenate([task.x, (task.x + task.x[:, shuffled]) / 2], axis=1)
        margin = 0.25 * float(np.ptp(values))
        low, high = float(values.min()) - margin, float(values.max()) + margin
        return Domain(torch.from_numpy(grid), 0, low, high, np.inf, one_sign=True)
    if task.values is not None:
        return Domain.of(
            torch.from_numpy(task.r), torch.from_numpy(task.values), cutoff=task.cutoff, decay=decay
        )
    if task.mixing is not None:
        return lattice_domain(task)
    r, y = torch.from_numpy(task.r), torch.from_numpy(task.y)
    return Domain.of(r, y, cutoff=task.cutoff, decay=decay)


def n_distances(task: KernelTask) -> int:
    """Different distances of the rows, of their nearest images where rows are lattice sums."""
    if task.mixing is not None and task.spare is None:
        return len(np.unique(distance_classes(task)))
    return len(np.unique(task.r.round(6)))


def demand_vanishing(task: KernelTask) -> None:
    """Raises SelectionError where ``decay`` is asked for and the values are too far from zero for that."""
    if not task.config.decay or task.mixing is not None or n_distances(task) < MIN_ROWS:
        return
    domain = domain_of(task)
    drift = MAX_DRIFT * (domain.high - domain.low)
    if domain.low - drift > domain.tail or domain.high + drift < -domain.tail:
        values = f"{task.y.min():.4g} to {task.y.max():.4g} eV"
        raise SelectionError(
            f"{task.config.target} of {task.name} is {values} at all {n_distances(task)} distances, nowhere near zero: "
            f"no formula of these vanishes at the cutoff of {task.cutoff:g} angstrom; leave out --decay"
        )


def learn_kernel(task: KernelTask, report: Callable[[Generation], None] | None = None) -> Kernel:
    """Search one kernel. Repeatable: one thread, a seed of its own.

    Raises SelectionError where the kernel of a pair should vanish and no safe formula that was found does.
    """
    if n_distances(task) < MIN_ROWS:
        return _constant(task)
    if task.device == "cpu":
        torch.set_num_threads(1)
    grammar = task.config.grammar(task.variables)
    config = replace(task.config.search(task.device), seed=_seed(task))
    domain = domain_of(task)
    folds = class_folds(task) if task.mixing is not None and task.spare is None else None
    outcome = Search(problem_of(task), grammar, config, domain, report, seed_rows(grammar, task)).run(folds)
    if not outcome.front:
        if task.config.decay and task.mixing is None and task.spare is None:
            raise SelectionError(
                f"no formula of these vanishes at the cutoff of {task.cutoff:g} angstrom and fits "
                f"{task.config.target} of {task.name}; try a greater --max-tokens (now {task.config.max_tokens}) or "
                f"--generations (now {task.config.generations}), fewer demands on operators, or leave out --decay"
            )
        found = (outcome.generations, outcome.seconds, outcome.n_fits)
        return Kernel(task, _constant(task).front, 0, *found)
    chosen = select(outcome.front) if task.spare is None else _cheapest(outcome.front, task.spare, task)
    front = [_at_points(s, task) for s in outcome.front]
    return Kernel(task, front, chosen, outcome.generations, outcome.seconds, outcome.n_fits)


def _at_points(scored: Scored, task: KernelTask) -> Scored:
    """Errors in the target's unit: where rows are a metric's, the distance from ``values``, frequent points first."""
    if task.frequency is None or task.values is None:
        return scored
    error = np.abs(evaluate_numpy(scored.expression, {"r": task.r}, scored.constants) - task.values)
    mae = float((error * task.frequency).sum() / task.frequency.sum())
    return replace(scored, mae=mae, mae_cv=np.nan, mae_cv_interior=np.nan)


def _cheapest(front: list[Scored], spare: float, task: KernelTask) -> int:
    """The simplest formula whose squared error is within ``spare`` of the best one's."""
    bound = min(s.mse for s in front) + spare / float(task.weight.sum())
    return next(i for i, s in enumerate(front) if s.mse <= bound)


def _constant(task: KernelTask) -> Kernel:
    """The median: all that too few distances, or distances that no safe formula fits, can say. Its error is unknown.

    Of pairs whose kernel should vanish it is 0, as behind lattice sums.
    """
    vanishes = task.mixing is not None or (task.config.decay and task.spare is None)
    values = task.values if task.values is not None else np.zeros(1) if vanishes else task.y
    value = float(np.median(values))
    error = task.y - (value if task.mixing is None else task.mixing @ np.full(task.x.shape[1], value))
    mae = float(np.abs(error).mean())
    scored = Scored(Constant(0), (value,), 1, float((error**2).mean()), mae, np.nan, np.nan, np.nan, ())
    return Kernel(task, [scored], 0, [], 0.0, 0)


def merge_islands(islands: Sequence[Kernel]) -> Kernel:
    """Independent searches of one task to one front: the best formula of every complexity that betters simpler ones."""
    first = islands[0]
    task = replace(first.task, island=0)
    if len(islands) == 1:
        return replace(first, task=task)
    front: list[Scored] = []
    for scored in sorted((s for k in islands for s in k.front), key=lambda s: (s.complexity, s.loss)):
        if not front or (scored.loss < 0.999 * front[-1].loss and scored.complexity > front[-1].complexity):
            front.append(scored)
    chosen = select(front) if task.spare is None else _cheapest(front, task.spare, task)
    generations = [g for k in islands for g in k.generations]
    seconds, n_fits = sum(k.seconds for k in islands), sum(k.n_fits for k in islands)
    return Kernel(task, front, chosen, generations, seconds, n_fits)


def learn_kernels(
    tasks: Sequence[KernelTask],
    report: Heard | None = None,
    beside: Heard | None = None,
) -> Iterator[Kernel]:
    """Kernels as they are done, each from ``config.islands`` searches with seeds of their own.

    On the CPU in worker processes (``config.workers``, 0: one for every core); which process does what changes
    nothing in the results. ``report`` hears of every generation of a search in this process, ``beside`` (in a thread
    of its own) of those in worker processes.
    """
    if not tasks:
        return
    config = tasks[0].config
    workers = min(config.workers or os.cpu_count() or 1, len(tasks) * config.islands)
    if workers < 2 or tasks[0].device != "cpu":
        for task in tasks:
            yield merge_islands([learn_kernel(t, report and partial(report, t)) for t in _islands(task)])
        return
    waiting: dict[tuple[str, float], list[Kernel]] = {}
    spawn = get_context("spawn")
    parts = [part for task in sorted(tasks, key=lambda t: -t.x.size) for part in _islands(task)]
    with (
        _heard(parts, beside) as queue,
        ProcessPoolExecutor(workers, spawn, initializer=_begin, initargs=(os.getpid(), queue)) as pool,
    ):
        futures = [pool.submit(_learn_aloud, at, part) for at, part in enumerate(parts)]
        try:
            for future in as_completed(futures):
                kernel = future.result()
                done = waiting.setdefault((kernel.task.label, kernel.task.dz_min), [])
                done.append(kernel)
                if len(done) == config.islands:
                    yield merge_islands(sorted(done, key=lambda k: k.task.island))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_spoken: list[Told] = []
"""Where a worker process tells its generations, if anybody listens."""


def _begin(parent: int, queue: Told | None) -> None:
    """What a worker process does first."""
    end_with(parent)
    if queue is not None:
        _spoken.append(queue)


def _learn_aloud(at: int, task: KernelTask) -> Kernel:
    """Search one kernel in a worker process and tell of its generations as those of the search number ``at``."""
    return learn_kernel(task, (lambda g: _spoken[0].put((at, g))) if _spoken else None)


@contextmanager
def _heard(parts: Sequence[KernelTask], beside: Heard | None) -> Iterator[Told | None]:
    """A queue for the generations of these searches, each handed to ``beside`` by a thread."""
    if beside is None:
        yield None
        return
    queue: Told = get_context("spawn").SimpleQueue()

    def listen() -> None:
        while (told := queue.get()) is not None:
            beside(parts[told[0]], told[1])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield queue
    finally:
        queue.put(None)
        listener.join()
        queue.close()


def _islands(task: KernelTask) -> list[KernelTask]:
    return [replace(task, island=i) for i in range(task.config.islands)]
