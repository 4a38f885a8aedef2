"""Errors of a fitted law or table, in training and left out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import Expression
from defectdb.learn.pairs.left_out import Errors


@dataclass(frozen=True)
class Fitted:
    """One law fitted to the rows: its formula and constants (None for tables), errors and criteria.

    ``safe``: finite and quiet over the whole range of distances, as every candidate of a search must be (a cosine
    that oscillates faster than the points lie is not). ``aicc`` is Akaike's criterion corrected for few rows
    (Hurvich and Tsai, Biometrika 76, 297 (1989)), ``bic`` Schwarz's; both from n log(mean squared error), NaN for
    tables.
    """

    law: str
    expression: Expression | None
    constants: tuple[float, ...]
    n_constants: int
    errors: Errors
    safe: bool = True
    aicc: float = math.nan
    bic: float = math.nan


def criteria(residual: Floats, k: int) -> tuple[float, float]:
    """AICc and BIC of residuals [row] left by k constants; AICc is NaN where rows are too few for it."""
    n = len(residual)
    fit_term = n * math.log(max(float(np.mean(residual**2)), 1e-300))
    few = n - k - 1
    return fit_term + 2 * k + 2 * k * (k + 1) / few if few > 0 else math.nan, fit_term + k * math.log(n)
