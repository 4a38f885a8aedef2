"""The Pareto front of formulas: those of lower error than all that are as short or shorter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defectdb.expressions.arrays import Floats

LEAST_PROGRESS = 1e-3
"""Share by which a longer formula must lower the error to stand on a front."""


def pareto_rows(
    complexity: Sequence[int], error: Sequence[float] | Floats, progress: float = LEAST_PROGRESS
) -> list[int]:
    """Rows on the Pareto front, in order of complexity.

    ``complexity`` [formula] in tokens, ``error`` [formula] of any kind. A formula stands on the front where its error
    is lower, by the share ``progress`` at least, than that of the last simpler one on it.
    """
    kept: list[int] = []
    for row in np.lexsort((np.asarray(error), np.asarray(complexity))).tolist():
        if not kept or error[row] < error[kept[-1]] * (1 - progress):
            kept.append(row)
    return kept
