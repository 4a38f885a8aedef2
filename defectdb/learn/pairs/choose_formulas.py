"""Choose the formulas of all kernels of a material together, so that the model is short for its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from defectdb.db import Database
from defectdb.engine.finishing.scored import Scored
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import variables
from defectdb.learn.job import Job
from defectdb.learn.model_front import Choices, ModelPoint, choose, model_front
from defectdb.learn.pairs.distance_classes import SAME_DISTANCE, nearest
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask, handicap
from defectdb.learn.pairs.measured import data_of, measured
from defectdb.learn.pairs.named_laws import judged
from defectdb.learn.pairs.tasks import domain_of
from defectdb.schema.fields import TARGETS

_PAIRS = """
    WITH own AS (
        SELECT structure_key FROM structures JOIN hosts USING (host_id)
        WHERE material_id = $material AND n_defects > 1 AND dataset_id IN (
            SELECT dataset_id FROM structures JOIN hosts USING (host_id)
            WHERE material_id = $material AND n_defects = 2
        ) AND {where}
        ORDER BY md5(structure_id)
        LIMIT $most
    )
    SELECT dense_rank() OVER (ORDER BY structure_key) - 1 AS structure, label, dz, distance AS r
    FROM pairs
    WHERE structure_key IN (FROM own)
    ORDER BY ALL
"""

MOST_STRUCTURES = 5000
"""Formulas are judged by the pairs of at most this many stored structures, drawn by a hash of their ids."""

_LEAST_SHARE = 0.05
"""Weight of a distance that hardly any structure has, as a share of the mean: the kernel must hold there too."""


def stored_pairs(db: Database, job: Job) -> pl.DataFrame:
    """The pairs of stored structures: structure (0, 1, ...), label, dz, r (angstrom).

    Of the data sets that hold structures with two defects; the structures' targets are not looked at.
    """
    where = "list_contains($datasets, dataset_id)" if job.datasets else "len($datasets) = 0"
    scope = {"material": job.material, "most": MOST_STRUCTURES, "datasets": list(job.datasets)}
    return db.frame(_PAIRS.format(where=where), scope)


def occurrences(pairs: pl.DataFrame, kernels: Sequence[Kernel]) -> list[csr_array]:
    """How many pairs of every structure each row of every kernel stands for [structure, row].

    A pair counts for the row of its label and |dz| window that is nearest in distance, in equal parts where several
    are. ``pairs`` as ``stored_pairs`` gives them.
    """
    n = 1 + int(pairs["structure"].max() or 0)  # type: ignore[arg-type]
    return [_occurrences(kernel.task, pairs, n) for kernel in kernels]


def _occurrences(task: KernelTask, pairs: pl.DataFrame, n: int) -> csr_array:
    window = pl.col("dz").is_between(task.dz_min, task.dz_max, closed="left")
    own = pairs.filter(window, label=task.label)
    distances, at = np.unique(own["r"].to_numpy().round(3), return_inverse=True)
    away = np.abs(distances[:, None] - nearest(task)[None, :])  # [distance, row]
    near = away <= away.min(1, keepdims=True) + SAME_DISTANCE if len(distances) else away > 0
    share = csr_array(near / np.maximum(near.sum(1, keepdims=True), 1))
    of_structure = csr_array((np.ones(len(at)), (own["structure"].to_numpy(), at)), shape=(n, len(distances)))
    return csr_array(of_structure @ share)


def fitted_to_structures(job: Job, kernels: Sequence[Kernel], occurring: Sequence[csr_array]) -> list[Kernel]:
    """The kernels with all formulas' constants fitted once more, rows weighted by how often structures have them.

    Of an energy, which is the sum over all pairs; of levels and gaps the kernels stay as they are, and so does a
    formula that would leave its domain.
    """
    if TARGETS[job.target].aggregator != "sum":
        return list(kernels)
    fitted = []
    for kernel, counts in zip(kernels, occurring, strict=True):
        often = np.asarray(counts.mean(axis=0))
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


def pair_model_front(kernels: Sequence[Kernel], occurring: Sequence[csr_array]) -> list[ModelPoint]:
    """The most accurate models of the kernels' formulas by total length.

    A formula's deviation in a structure is the sum of what it leaves at the rows that the structure's pairs stand for.
    """
    choices = []
    for kernel, counts in zip(kernels, occurring, strict=True):
        data = data_of(kernel.task)
        left = np.stack([data.residuals(s.expression, s.constants) for s in kernel.front])
        deviations = np.asarray((counts @ left.T).T)
        for i, n in enumerate(kernel.found_by):
            deviations[i] *= handicap(n, kernel.task.islands)
        deviations[[not _vanishes(s, kernel.task) for s in kernel.front]] = np.inf
        tokens = np.array([s.complexity for s in kernel.front], dtype=np.int64)
        choices.append(Choices(tokens, deviations))
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
