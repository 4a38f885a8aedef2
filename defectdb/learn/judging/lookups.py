"""Look-up tables and nearest neighbours, the simplest predictors of a pair's value."""

from __future__ import annotations

import math

import numpy as np

from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.judging.errors import Fitted
from defectdb.learn.pairs.distance_classes import distance_classes, nearest
from defectdb.learn.pairs.kernel_task import KernelTask
from defectdb.learn.pairs.left_out import split_errors


def look_up_table(task: KernelTask) -> Fitted:
    """The mean of every distance class; left out: a straight line between its neighbours, constant at the ends."""
    r, values, classes = _class_means(task)
    share = (r[1:-1] - r[:-2]) / (r[2:] - r[:-2])
    inner = values[:-2] + share * (values[2:] - values[:-2])
    guess = np.concatenate([values[1:2], inner, values[-2:-1]]) if len(r) > 1 else np.full(1, math.nan)
    return _table(task, "look-up table", values, guess, classes)


def nearest_neighbour(task: KernelTask) -> Fitted:
    """The value of the nearest distance class, left out: of the nearest other one."""
    r, values, classes = _class_means(task)
    apart = np.abs(r[:, None] - r[None, :])
    np.fill_diagonal(apart, np.inf)
    guess = values[apart.argmin(1)] if len(r) > 1 else np.full(1, math.nan)
    return _table(task, "nearest neighbour", values, guess, classes)


def _class_means(task: KernelTask) -> tuple[Floats, Floats, Integers]:
    """Distance and mean value of every class, and the class of every row."""
    classes = distance_classes(task)
    count = np.bincount(classes)
    return np.bincount(classes, nearest(task)) / count, np.bincount(classes, task.y) / count, classes


def _table(task: KernelTask, name: str, values: Floats, guess: Floats, classes: Integers) -> Fitted:
    left_out = np.nan_to_num(np.abs(task.y - guess[classes]), nan=np.inf)
    errors = split_errors(np.abs(task.y - values[classes]), left_out, classes)
    return Fitted(name, None, (), len(values), errors)
