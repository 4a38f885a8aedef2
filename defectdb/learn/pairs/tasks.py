"""Make kernel tasks from selected pairs, and their tensors, domain and seeds."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import torch

from defectdb.db import Database
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import MAX_DRIFT, Domain
from defectdb.engine.seeds.physical_laws import law_seeds
from defectdb.errors import SelectionError, UsageError
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.distance_classes import distance_classes
from defectdb.learn.pairs.kernel_task import CUTOFF, MIN_ROWS, KernelTask
from defectdb.learn.pairs.lattice_sums import lattice_domain
from defectdb.learn.select import Selection, dz_windows, lattice_points
from defectdb.schema.fields import TARGETS


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
