"""Choose the functions of a law one after another, and how many, by cross-validation inside the training rows.

Every step takes the function that lowers the robust squared error most, and all coefficients are refitted to absolute
errors. The whole path is walked again without each fold, so that how many functions hold is judged on rows that
chose none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Flags, Floats, Integers

STEPS = 12
"""Most functions of a law."""

SLACK = 1.02
"""The shortest law whose left-out error is at most this times the least one is taken."""

EXACT = 1e-4
"""Errors that differ by less than this, eV, are the same."""

SHRINK = 1e-4
"""Ridge, in units of the number of rows, on coefficients of functions of unit spread."""

LENGTH_PENALTY = 0.3
"""A function's gain counts its tokens to the power of minus this: of two that gain the same the shorter is taken."""

ROUNDS = 12
"""Rounds of reweighting towards absolute errors."""


@dataclass(frozen=True)
class Law:
    """A sum of functions.

    Attributes:
        chosen: indices of the functions, in the order in which they were taken
        offset: the constant, eV
        coefficients: of the chosen functions [function], eV
    """

    chosen: tuple[int, ...]
    offset: float
    coefficients: Floats

    def predict(self, x: Floats) -> Floats:
        """The law's values [row] of all functions' values ``x`` [row, function]."""
        values: Floats = self.offset + x[:, list(self.chosen)] @ self.coefficients
        return values


def least_absolute(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coefficients [column] of nearly least absolute errors with a little ridge, and the rows' weights [row].

    The first column, a constant, is not shrunk.
    """
    ridge = np.full(x.shape[1], SHRINK * len(y))
    ridge[0] = 1e-9
    weights: Floats = np.ones(len(y))
    found: Floats = np.zeros(x.shape[1])
    for _ in range(ROUNDS):
        weighted = x * weights[:, None]
        solved = np.linalg.solve(weighted.T @ x + np.diag(ridge), weighted.T @ y)
        found = np.asarray(solved, dtype=np.float64)
        residual = y - x @ found
        scale = max(float(np.median(np.abs(residual))), 1e-9)
        weights = 1 / np.sqrt(residual**2 + (0.3 * scale) ** 2)
        weights = weights * (len(y) / weights.sum())
    return found, weights


def path(x: Floats, y: Floats, tokens: Floats, steps: int = STEPS) -> list[Law]:
    """Laws of 0, 1, 2 ... functions (columns of ``x`` [row, function]), each one longer than the one before."""
    mean, spread = x.mean(0), x.std(0)
    usable = spread > 1e-9
    z = (x - mean) / np.where(usable, spread, 1.0)
    discount = tokens**-LENGTH_PENALTY
    chosen: list[int] = []
    laws = []
    for _ in range(min(steps, int(usable.sum())) + 1):
        columns = np.column_stack([np.ones(len(y)), z[:, chosen]])
        found, weights = least_absolute(columns, y)
        own = found[1:] / spread[chosen]
        laws.append(Law(tuple(chosen), float(found[0] - own @ mean[chosen]), own))
        gain = _gain(z, columns, weights, y - columns @ found) * discount
        gain[~usable] = -1.0
        gain[chosen] = -1.0
        chosen = [*chosen, int(np.argmax(gain))]
    return laws


def _gain(z: Floats, columns: Floats, weights: Floats, residual: Floats) -> Floats:
    """What every function takes off the weighted squared error beside the chosen ``columns`` [function]."""
    weighted = columns * weights[:, None]
    gram = weighted.T @ columns + SHRINK * len(residual) * np.eye(columns.shape[1])
    rest = z - columns @ np.linalg.solve(gram, weighted.T @ z)
    along = rest.T @ (weights * residual)
    gain: Floats = along**2 / ((rest**2).T @ weights + SHRINK * len(residual))
    return gain


def path_errors(x: Floats, y: Floats, tokens: Floats, fold: Integers) -> Floats:
    """Mean absolute error of laws of 0, 1, 2 ... functions on rows left out of choice and fit [length]."""
    total = np.zeros(STEPS + 1)
    for k in np.unique(fold):
        held = fold == k
        laws = path(x[~held], y[~held], tokens)
        errors = [float(np.abs(y[held] - law.predict(x[held])).sum()) for law in laws]
        total += np.array(errors + errors[-1:] * (STEPS + 1 - len(errors)))
    return total / len(y)


def choose(x: Floats, y: Floats, tokens: Floats, fold: Integers, subsets: Sequence[Integers]) -> Law:
    """The law of the rows: from which of the ``subsets`` of functions, of how many and which of them.

    An earlier subset is kept unless a later one's least left-out error is clearly lower; ``fold`` [row] parts the rows.
    """
    best, errors = subsets[0], path_errors(x[:, subsets[0]], y, tokens[subsets[0]], fold)
    for subset in subsets[1:]:
        trial = path_errors(x[:, subset], y, tokens[subset], fold)
        if SLACK * trial.min() + EXACT < errors.min():
            best, errors = subset, trial
    length = int(np.argmax(errors <= SLACK * errors.min() + EXACT))
    law = path(x[:, best], y, tokens[best], length)[-1]
    return Law(tuple(int(best[i]) for i in law.chosen), law.offset, law.coefficients)


def left_out(x: Floats, y: Floats, tokens: Floats, fold: Integers, subsets: Sequence[Integers]) -> Floats:
    """Residuals [row], eV: subset, length, functions and coefficients of the law all chosen without the row's fold."""
    residual = np.zeros(len(y))
    for k in np.unique(fold):
        held: Flags = fold == k
        law = choose(x[~held], y[~held], tokens, fold[~held], subsets)
        residual[held] = y[held] - law.predict(x[held])
    return residual
