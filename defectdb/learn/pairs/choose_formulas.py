"""Choose the formulas of all kernels of a material together, so that the model is short for its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.engine.finishing.scored import Scored
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import variables
from defectdb.learn.job import Job
from defectdb.learn.model_front import Choices, ModelPoint, choose, model_front
from defectdb.learn.pairs.distance_classes import nearest
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.pairs.measured import data_of, measured
from defectdb.learn.pairs.named_laws import judged
from defectdb.learn.pairs.tasks import domain_of
from defectdb.schema.fields import TARGETS

_PAIR_COUNTS = """
    WITH own AS (
        SELECT structure_key FROM structures JOIN hosts USING (host_id) WHERE material_id = $material AND n_defects > 1
    )
    SELECT label, round(dz, 3) AS dz, round(distance, 2) AS r, count(*) AS n_pairs,
        (SELECT count(*) FROM own) AS n_structures
    FROM pairs
    WHERE structure_key IN (FROM own)
    GROUP BY ALL
"""

_SAME_R = 0.015
"""Distances that agree to this (angstrom) are one class of the lattice."""

LONE = 1.2
"""Factor of the squared error of a formula whose family one island alone found, where there are several."""

_LEAST_SHARE = 0.05
"""Weight of a distance that hardly any structure has, as a share of the mean: the kernel must hold there too."""


def pair_counts(db: Database, job: Job) -> pl.DataFrame:
    """How many pairs the material's stored structures have: label, dz, r (angstrom), n_pairs, n_structures.

    Targets of the structures are not looked at.
    """
    return db.frame(_PAIR_COUNTS, {"material": job.material})


def occurrences(counts: pl.DataFrame, kernels: Sequence[Kernel]) -> list[Floats]:
    """How many pairs of a stored structure, in the mean, every row of every kernel stands for [row].

    Pairs of the row's label, |dz| window and distance; those at distances that no row has count for all rows alike.
    ``counts`` as ``pair_counts`` gives them.
    """
    n_structures = float(counts["n_structures"].max() or 1)  # type: ignore[arg-type]
    return [_occurrences(kernel.task, counts, n_structures) for kernel in kernels]


def _occurrences(task: KernelTask, counts: pl.DataFrame, n_structures: float) -> Floats:
    window = pl.col("dz").is_between(task.dz_min, task.dz_max, closed="left")
    own = counts.filter(window, label=task.label)
    same = np.abs(nearest(task)[:, None] - own["r"].to_numpy()[None, :]) < _SAME_R  # [row, class]
    rows = same.sum(0)
    pairs = own["n_pairs"].to_numpy() / n_structures
    shared = float(pairs[rows == 0].sum()) / len(task.y)
    return np.asarray((same * np.where(rows > 0, pairs / np.maximum(rows, 1), 0.0)).sum(1) + shared)


def fitted_to_structures(job: Job, kernels: Sequence[Kernel], occurring: Sequence[Floats]) -> list[Kernel]:
    """The kernels with all formulas' constants fitted once more, rows weighted by how often structures have them.

    Of an energy, which is the sum over all pairs; of levels and gaps the kernels stay as they are, and so does a
    formula that would leave its domain.
    """
    if TARGETS[job.target].aggregator != "sum":
        return list(kernels)
    fitted = []
    for kernel, often in zip(kernels, occurring, strict=True):
        front = [_weighted(scored, kernel.task, often) for scored in kernel.front]
        fitted.append(replace(kernel, front=judged(front, kernel.task) if len(front) > 1 else front))
    return fitted


def _weighted(scored: Scored, task: KernelTask, often: Floats) -> Scored:
    """The formula with constants of least weighted squared error."""
    if not (scored.constants and variables(scored.expression) and often.any()):
        return scored
    share = np.maximum(often / often.mean(), _LEAST_SHARE)
    data = replace(data_of(task), weight=task.weight * share)
    constants = data.refit(scored.expression, scored.constants)
    better = data.loss(scored.expression, constants) < data.loss(scored.expression, scored.constants)
    if not better or not domain_of(task).permits(scored.expression, constants, task.variables):
        return scored
    return measured(scored, scored.expression, constants, task)


def pair_model_front(kernels: Sequence[Kernel], occurring: Sequence[Floats]) -> list[ModelPoint]:
    """The most accurate model of every total length of the kernels' formulas.

    What a formula adds to a structure's squared error is the mean of its own in training, times how often the stored
    structures have such a pair: errors of different pairs are independent of one another.
    """
    choices = []
    for kernel, often in zip(kernels, occurring, strict=True):
        data = data_of(kernel.task)
        errors = [
            float((often * data.residuals(s.expression, s.constants) ** 2).sum())
            if _vanishes(s, kernel.task)
            else np.inf
            for s in kernel.front
        ]
        if kernel.found_by:
            errors = [e * (LONE if n == 1 else 1.0) for e, n in zip(errors, kernel.found_by, strict=True)]
        tokens = np.array([s.complexity for s in kernel.front], dtype=np.int64)
        choices.append(Choices(tokens, np.array(errors)))
    return model_front(choices)


def chosen_together(
    job: Job, kernels: Sequence[Kernel], points: Sequence[ModelPoint]
) -> tuple[list[Kernel], UsageError | None]:
    """The kernels with the formulas of the point that the options ask for, of the knee where they ask for none.

    Where no model is as accurate or as short as asked for: the kernels as they are, and the error that says so. Without
    points the kernels are as they are.
    """
    if not points:
        return list(kernels), None
    try:
        point = choose(points, job.config.accuracy, job.config.tokens)
    except UsageError as refusal:
        return list(kernels), refusal
    return [replace(kernel, chosen=at) for kernel, at in zip(kernels, point.chosen, strict=True)], None


def _vanishes(scored: Scored, task: KernelTask) -> bool:
    """Whether a formula may be used where kernels must vanish: no constant does. Elsewhere every one may."""
    return task.offset or bool(variables(scored.expression)) or not any(scored.constants)
