"""Extremely randomised regression trees (Geurts, Ernst and Wehenkel, Machine Learning 63, 3 (2006))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats, Integers

N_TREES = 40
LEAF = 5
"""So few rows are not split any more."""


@dataclass(frozen=True)
class Tree:
    """One tree.

    Attributes:
        column [node]: column that is compared, -1 at a leaf
        threshold [node]: rows at most this large go left
        left, right [node]: numbers of the nodes below
        value [node]: mean of y
    """

    column: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats

    def __call__(self, x: Floats) -> Floats:
        """Values [row] for ``x`` [row, column]."""
        node = np.zeros(len(x), dtype=np.int64)
        rows = np.arange(len(x))
        while (inner := self.column[node] >= 0).any():
            at = node[inner]
            low = x[rows[inner], self.column[at]] <= self.threshold[at]
            node[inner] = np.where(low, self.left[at], self.right[at])
        found: Floats = self.value[node]
        return found


def predict_with_trees(x: Floats, y: Floats, unseen: Floats, seed: int) -> Floats:
    """Mean of the trees' values [row] for ``unseen`` [row, column], grown on ``x`` [row, column] and ``y`` [row]."""
    random = np.random.default_rng(seed)
    found: Floats = np.mean([_grow(x, y, random)(unseen) for _ in range(N_TREES)], axis=0)
    return found


def _grow(x: Floats, y: Floats, random: np.random.Generator) -> Tree:
    nodes: list[tuple[int, float, int, int, float]] = []
    waiting = [np.arange(len(y))]
    while len(nodes) < len(waiting):
        rows = waiting[len(nodes)]
        column, threshold = _best_random_split(x[rows], y[rows], random) if len(rows) > LEAF else (-1, 0.0)
        below = len(waiting)
        nodes.append((column, threshold, below, below + 1, float(y[rows].mean())))
        if column >= 0:
            low = x[rows, column] <= threshold
            waiting += [rows[low], rows[~low]]
    columns = [np.array(values) for values in zip(*nodes, strict=True)]
    return Tree(columns[0], columns[1], columns[2], columns[3], columns[4])


def _best_random_split(x: Floats, y: Floats, random: np.random.Generator) -> tuple[int, float]:
    """Of one random threshold for every column the one that leaves least variance; column -1 where none parts rows."""
    low, high = x.min(axis=0), x.max(axis=0)
    thresholds = low + (high - low) * random.random(x.shape[1])
    left = x <= thresholds
    n_left = left.sum(axis=0)
    n_right = len(y) - n_left
    centred = y - y.mean()
    total = centred @ left
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where((high > low) & (n_right > 0), total**2 / n_left + total**2 / n_right, -1.0)
    best = int(gain.argmax())
    return (best, float(thresholds[best])) if gain[best] > 0 else (-1, 0.0)
