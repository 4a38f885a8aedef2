"""Choose the formulas of all kernels of a material together, so that the model is short for its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.engine.finishing.scored import Scored
from defectdb.errors import UsageError
from defectdb.expressions.expression import variables
from defectdb.learn.job import Job
from defectdb.learn.model_front import Choices, ModelPoint, choose, model_front
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask

_PAIR_COUNTS = """
    WITH own AS (
        SELECT structure_key FROM structures JOIN hosts USING (host_id) WHERE material_id = $material AND n_defects > 1
    )
    SELECT label, round(dz, 3) AS dz, count(*) AS n_pairs, (SELECT count(*) FROM own) AS n_structures
    FROM pairs
    WHERE structure_key IN (FROM own)
    GROUP BY ALL
"""


def pair_model_front(db: Database, job: Job, kernels: Sequence[Kernel]) -> list[ModelPoint]:
    """The most accurate model of every total length of the kernels' formulas.

    What a formula adds to a structure's error is its mean absolute error in training times the number of pairs that the
    material's stored structures have of its label and |dz| window in the mean. Their targets are not looked at.
    """
    counts = db.frame(_PAIR_COUNTS, {"material": job.material})
    n_structures = counts["n_structures"].max() or 1
    choices = []
    for kernel in kernels:
        task = kernel.task
        window = pl.col("dz").is_between(task.dz_min, task.dz_max, closed="left")
        pairs = counts.filter(window, label=task.label)["n_pairs"].sum()
        errors = np.array([scored.mae if _vanishes(scored, task) else np.inf for scored in kernel.front])
        tokens = np.array([scored.complexity for scored in kernel.front], dtype=np.int64)
        choices.append(Choices(tokens, errors * (pairs / n_structures)))  # type: ignore[operator]
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
