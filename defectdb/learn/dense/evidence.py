"""Fit linear coefficients with one Gaussian prior width per group, found by evidence, and robust row weights.

MacKay, Neural Computation 4, 415 (1992): the width of a group's prior maximises the probability of the data. Rows are
reweighted towards absolute errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Flags, Floats, Integers

STEPS = 15
"""Rounds of prior widths, row weights and coefficients."""

FREE = 1e-6
"""Precision of group 0, whose coefficients are free."""

NEEDLESS = 1.0
"""A coefficient goes where the misfit rises by less than this without it, in units of the noise."""


@dataclass(frozen=True)
class LinearFit:
    """Coefficients of a linear model.

    Attributes:
        coefficients: [column]
        precision: curvature of the weighted misfit and the priors at the coefficients [column, column]
        weights: robust weights of the rows, over the noise [row]
    """

    coefficients: Floats
    precision: Floats
    weights: Floats


def fit_evidence(x: Floats, y: Floats, groups: Integers, steps: int = STEPS) -> LinearFit:
    """Fit ``x`` [row, column] @ coefficients to ``y`` [row]; columns of one group share a prior, group 0 has none.

    Columns that are zero everywhere get the coefficient 0.
    """
    size = np.sqrt((x**2).mean(0))
    seen = size > 1e-12
    scaled, group = x[:, seen] / size[seen], np.unique(groups[seen], return_inverse=True)[1]
    if not (groups[seen] == 0).any():
        group = group + 1
    fit = _fit_scaled(scaled, y, group, steps)
    coefficients, precision = np.zeros(x.shape[1]), np.eye(x.shape[1])
    coefficients[seen] = fit.coefficients / size[seen]
    at = np.flatnonzero(seen)
    precision[np.ix_(at, at)] = fit.precision * np.outer(size[seen], size[seen])
    return LinearFit(coefficients, precision, fit.weights)


def _fit_scaled(x: Floats, y: Floats, groups: Integers, steps: int) -> LinearFit:
    n_rows, n_columns = x.shape
    n_groups = int(groups.max()) + 1
    scatter = max(float(np.var(y)), 1e-12)
    prior = np.full(n_groups, n_groups * 10 / 3 / scatter)
    prior[0] = FREE
    noise, weights = 0.02 * scatter, np.ones(n_rows)
    diagonal = np.diag_indices(n_columns)
    found = np.zeros(n_columns)
    precision = np.eye(n_columns)
    for _ in range(steps):
        precision = (x * weights[:, None]).T @ x / noise
        precision[diagonal] += prior[groups]
        spread = np.linalg.inv(precision)
        found = spread @ (x.T @ (weights * y)) / noise
        residual = y - x @ found
        known = np.bincount(groups, 1 - prior[groups] * np.diag(spread), minlength=n_groups)
        squares = np.bincount(groups, found**2, minlength=n_groups)
        prior[1:] = np.clip(np.maximum(known, 1e-3) / np.maximum(squares, 1e-12), 1e-6, 1e12)[1:]
        share = n_rows / (n_rows - min(float(known.sum()), 0.6 * n_rows))
        middle = float(np.median(np.abs(residual))) * share + 1e-12
        weights = 1 / np.sqrt(residual**2 + (middle / 2) ** 2)
        weights *= n_rows / weights.sum()
        left = n_rows - min(float(known.sum()), 0.8 * n_rows)
        noise = max(float((weights * residual**2).sum()) / left, 1e-12)
    return LinearFit(found, precision, weights / noise)


def needed_columns(fit: LinearFit, optional: Sequence[int], cost: float = NEEDLESS) -> tuple[Flags, Floats]:
    """Take away ``optional`` columns one after another, the least missed first, while none is missed by ``cost``.

    Which columns stay [column], and the coefficients of these with the others gone [column].
    """
    alive = np.ones(len(fit.coefficients), dtype=bool)
    spread = np.linalg.inv(fit.precision)
    found = fit.coefficients.copy()
    candidates = list(optional)
    while candidates:
        missed = found[candidates] ** 2 / np.diag(spread)[candidates]
        least = int(missed.argmin())
        if missed[least] > cost:
            break
        column = candidates.pop(least)
        alive[column] = False
        lever = spread[:, column] / spread[column, column]
        found = found - lever * found[column]
        spread = spread - np.outer(lever, spread[column])
        found[~alive] = 0.0
    return alive, found
