"""Group rows whose pairs are equally far apart, and make folds of the groups."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.pairs.kernel_task import KernelTask, LatticeTask

SAME_DISTANCE = 1e-3
"""Distances that agree to this (angstrom) are one class and are left out together."""

MAX_FOLDS = 64


def nearest(task: KernelTask) -> Floats:
    """Distance of every row, of its nearest image where rows are sums, angstrom."""
    if not isinstance(task, LatticeTask):
        return task.r
    shortest: Floats = np.where(task.mixing > 0, task.r, np.inf).min(axis=1)
    return shortest


def distance_classes(task: KernelTask) -> Integers:
    """Class [row] of every row's distance (of its nearest image), counted from the shortest."""
    found: Integers = np.unique(np.round(nearest(task) / SAME_DISTANCE), return_inverse=True)[1]
    return found.astype(np.int64)


def class_folds(task: KernelTask) -> Tensor:
    """Folds [row] that leave out one distance class at a time, in turns where there are more than 64."""
    return torch.from_numpy(distance_classes(task) % MAX_FOLDS)
