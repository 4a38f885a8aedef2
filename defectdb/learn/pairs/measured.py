"""Errors and constants of formulas on a kernel task's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from defectdb.engine.finishing.rounding import rescored
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.uncertainty import description_length
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask, TableTask, mixing_of


def with_constants(kernel: Kernel, constants: Sequence[float]) -> Kernel:
    """The kernel with the chosen formula's constants replaced, and what is known about it taken anew."""
    best = kernel.front[kernel.chosen]
    if tuple(constants) == best.constants:
        return kernel
    moved = measured(best, best.expression, tuple(constants), kernel.task)
    return replace(kernel, front=[moved if i == kernel.chosen else s for i, s in enumerate(kernel.front)])


def data_of(task: KernelTask) -> Data:
    """The rows of a task, in numpy."""
    return Data(dict(zip(task.variables, task.x, strict=True)), task.y, task.weight, mixing_of(task))


def measured(
    scored: Scored, expression: Expression, constants: tuple[float, ...], task: KernelTask
) -> Scored:
    """The record of a formula on the rows of ``task``: all that depends on its form and constants is taken anew.

    The mean absolute error is that from ``task.values``, frequent points first, where the rows are a metric's. Left-out
    errors are NaN, since nothing was refitted without a row.
    """
    data = data_of(task)
    new = replace(rescored(scored, expression, constants, data), mae_cv=np.nan, mae_cv_interior=np.nan)
    new = replace(new, description_length=description_length(new, data))
    if not isinstance(task, TableTask):
        return new
    error = np.abs(evaluate_numpy(expression, data.x, constants) - task.values)
    return replace(new, mae=float((error * task.frequency).sum() / task.frequency.sum()))
