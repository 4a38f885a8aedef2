"""Make kernel tasks from selected pairs, and their tensors, domain and seeds."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np
import polars as pl
import torch

from defectdb.db import Database
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import MAX_DRIFT, Domain
from defectdb.engine.seeds.physical_laws import law_seeds
from defectdb.errors import SelectionError, UsageError
from defectdb.learn.job import Job
from defectdb.learn.pairs.distance_classes import distance_classes
from defectdb.learn.pairs.kernel_task import (
    MIN_ROWS,
    KernelTask,
    LatticeTask,
    PairTask,
    TableTask,
    TripleTask,
    mixing_of,
)
from defectdb.learn.pairs.lattice_sums import lattice_domain
from defectdb.learn.select import Selection, dz_windows, lattice_points
from defectdb.schema.fields import TARGETS


def kernel_tasks(db: Database, selection: Selection, job: Job) -> list[PairTask]:
    """One task for every label and |dz| window of the selection. Raises UsageError for sums of levels."""
    config, device = job.config, job.device
    if config.images == "sum" and TARGETS[job.target].aggregator != "sum":
        raise UsageError(f"{job.target} does not add up over periodic images; learn it with --images nearest")
    tasks: list[PairTask] = []
    for (label,), frame in selection.frame.group_by(["label"], maintain_order=True):
        for low, high in dz_windows(frame["dz"].to_numpy()):
            part = frame.filter(pl.col("dz").is_between(low, high, closed="left"))
            r, y = part["r"].to_numpy().copy(), part["y"].to_numpy().copy()
            task = PairTask(
                label=str(label), dz_min=low, dz_max=high, x=r[None], y=y, weight=np.ones_like(y),
                config=config, device=device, islands=config.islands, offset=not config.decay,
                hosts=tuple(part["host_id"]),
            )  # fmt: skip
            tasks.append(_summed(db, task, part) if config.images == "sum" else task)
    return tasks


def _summed(db: Database, task: PairTask, rows: pl.DataFrame) -> LatticeTask:
    """The task with the sum over all periodic images of every row."""
    points = lattice_points(db, rows)
    r, where = np.unique(points["r"].to_numpy().round(6), return_inverse=True)
    mixing = np.zeros((len(task.y), len(r)))
    np.add.at(mixing, (points["row"].to_numpy(), where), 1.0)
    known = {f.name: getattr(task, f.name) for f in fields(task)}
    return LatticeTask(**{**known, "x": r[None], "mixing": mixing, "offset": False})


def search_seed(task: KernelTask) -> int:
    """The task's own seed: the same whatever else is learned beside it, and in whatever order."""
    text = f"{task.config.seed}/{task.island}/{task.label}/{task.dz_min:.3f}/{task.config.target}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def seed_rows(grammar: Grammar, task: KernelTask) -> torch.Tensor:
    """The field's laws and the task's own seeds as token rows, those that the grammar can write."""
    return torch.cat([law_seeds(grammar), grammar.encode_all(task.seeds)])


def problem_of(task: KernelTask) -> Problem:
    """The task's data as tensors."""
    mixing = mixing_of(task)
    return Problem.of(
        torch.from_numpy(task.x),
        torch.from_numpy(task.y),
        torch.from_numpy(task.weight),
        mixing=None if mixing is None else torch.from_numpy(mixing),
        offset=task.offset,
    )


def domain_of(task: KernelTask) -> Domain:
    """Where the formula must be finite and quiet: from the shortest distance to the cutoff.

    For several variables: at the points and half-way between points picked in pairs, without a denominator that
    changes its sign there.
    """
    decay = task.config.decay
    if isinstance(task, TripleTask):
        shuffled = np.random.default_rng(0).permutation(task.x.shape[1])
        grid = np.concatenate([task.x, (task.x + task.x[:, shuffled]) / 2], axis=1)
        margin = 0.25 * float(np.ptp(task.y))
        low, high = float(task.y.min()) - margin, float(task.y.max()) + margin
        return Domain(torch.from_numpy(grid), 0, low, high, np.inf, one_sign=True)
    if isinstance(task, TableTask):
        return Domain.of(
            torch.from_numpy(task.r), torch.from_numpy(task.values), cutoff=task.cutoff, decay=decay
        )
    if isinstance(task, LatticeTask):
        return lattice_domain(task)
    r, y = torch.from_numpy(task.r), torch.from_numpy(task.y)
    return Domain.of(r, y, cutoff=task.cutoff, decay=decay)


def n_distances(task: KernelTask) -> int:
    """Different distances of the rows, of their nearest images where rows are lattice sums."""
    if isinstance(task, LatticeTask):
        return len(np.unique(distance_classes(task)))
    return len(np.unique(task.r.round(6)))


def demand_vanishing(task: KernelTask) -> None:
    """Raises SelectionError where ``decay`` is asked for and the values are too far from zero for that."""
    if not task.config.decay or isinstance(task, LatticeTask) or n_distances(task) < MIN_ROWS:
        return
    domain = domain_of(task)
    drift = MAX_DRIFT * (domain.high - domain.low)
    if domain.low - drift > domain.tail or domain.high + drift < -domain.tail:
        values = f"{task.y.min():.4g} to {task.y.max():.4g} eV"
        raise SelectionError(
            f"{task.config.target} of {task.name} is {values} at all {n_distances(task)} distances, nowhere near zero: "
            f"no formula of these vanishes at the cutoff of {task.cutoff:g} angstrom; leave out --decay"
        )
