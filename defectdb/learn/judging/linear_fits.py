"""Linear fits by least squares and by least absolute errors."""

from __future__ import annotations

import numpy as np

from defectdb.expressions.arrays import Floats

RIDGE = 1e-6
"""Weight of the coefficients' squares, as a share of the mean square of the columns."""

_STEPS = 30  # of iteratively reweighted least squares
_FLOOR_SHARE, _FLOOR = 0.1, 1e-5  # residuals count at least so much: a share of their median, and eV


def least_squares(x: Floats, y: Floats, weight: Floats) -> Floats:
    """Coefficients [column] of least weighted squares, with a slight ridge so that columns may depend on each other.

    ``x`` [row, column], ``y`` [row], ``weight`` [row].
    """
    weighted = x * weight[:, None]
    normal = x.T @ weighted
    ridge = RIDGE * np.trace(normal) / len(normal)
    found: Floats = np.linalg.solve(normal + ridge * np.eye(len(normal)), weighted.T @ y)
    return found


def least_absolute(x: Floats, y: Floats, scale: Floats) -> Floats:
    """Coefficients [column] of least absolute errors of y times ``scale`` [row], by reweighted least squares."""
    coefficients = least_squares(x, y, scale**2)
    for _ in range(_STEPS):
        error = np.abs(y - x @ coefficients) * scale
        floor = max(_FLOOR_SHARE * float(np.median(error)), _FLOOR)
        coefficients = least_squares(x, y, scale**2 / np.maximum(error, floor))
    return coefficients
