"""The Pareto front of formulas: those of lower error than all that are as short or shorter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from defectdb.expressions.arrays import Floats

LEAST_PROGRESS = 1e-3
"""Share by which a longer formula must lower the error to stand on a front."""


def pareto_rows(
    complexity: Sequence[int],
    error: Sequence[float] | Floats,
    progress: float = LEAST_PROGRESS,
    *,
    beat_all: bool = False,
) -> list[int]:
    """Rows on the Pareto front, in order of complexity.

    ``complexity`` [formula] in tokens, ``error`` [formula] of any kind. A formula stands on the front where its error
    is lower, by the share ``progress`` at least, than that of the last simpler one on it, so that many small steps
    add up to one; with ``beat_all`` than that of every simpler formula, on the front or not.
    """
    kept: list[int] = []
    bound = math.inf
    for row in np.lexsort((np.asarray(error), np.asarray(complexity))).tolist():
        better = not kept or error[row] < bound * (1 - progress)
        if better:
            kept.append(row)
        if better or beat_all:
            bound = min(bound, error[row])
    return kept
