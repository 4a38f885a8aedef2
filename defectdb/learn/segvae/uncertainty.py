"""Fitted formulas to what is known about them: errors of the constants, description length, a weighted average."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from defectdb.learn.segvae.front import Scored
from defectdb.learn.segvae.rounding import Data
from defectdb.schema.engines import evaluate_numpy
from defectdb.schema.expression import Number, to_prefix, walk

Floats = NDArray[np.float64]


def jacobian(scored: Scored, data: Data) -> Floats:
    """Derivatives of the rows' values with respect to the constants, [row, constant], by central differences."""
    columns = []
    for i, value in enumerate(scored.constants):
        step = 1e-6 * max(abs(value), 1e-3)
        above, below = (
            data.residuals(scored.expression, [*scored.constants[:i], value + s, *scored.constants[i + 1 :]])
            for s in (step, -step)
        )
        columns.append((below - above) / (2 * step))
    return np.stack(columns, axis=1) if columns else np.zeros((len(data.y), 0))


def covariance(scored: Scored, data: Data) -> Floats:
    """Covariance [constant, constant] of least squares with the noise that the residuals show; NaN without rows to
    spare.
    """
    slopes = jacobian(scored, data)
    n, k = slopes.shape
    if n <= k or not np.isfinite(slopes).all():
        return np.full((k, k), np.nan)
    noise = data.loss(scored.expression, scored.constants) / (n - k)
    return np.asarray(noise * np.linalg.pinv(slopes.T @ (data.weight[:, None] * slopes)), dtype=np.float64)


def description_length(scored: Scored, data: Data) -> float:
    """Nats that data and formula take together, with the noise that the formula itself leaves; infinite without values.

    n/2 log(residual variance) + tokens x log(kinds of tokens) + digits of the constants (Bartlett, Desmond & Ferreira,
    IEEE Trans. Evol. Comput. 2023, with the likelihood's maximum over the unknown standard deviation).
    """
    n, k = len(data.y), len(scored.constants)
    loss = data.loss(scored.expression, scored.constants)
    if not math.isfinite(loss) or n <= k:
        return math.inf
    variance = max(loss / (n - k), 1e-300)
    fisher = (data.weight[:, None] * jacobian(scored, data) ** 2).sum(0) / variance
    # a constant costs its digits up to its standard error, and none if it cannot be told from zero
    digits = [
        max(0.0, 0.5 * math.log(3 * f) + math.log(abs(c))) - 0.5 * math.log(3)
        for f, c in zip(fisher, scored.constants, strict=True)
        if f * c * c > 0
    ]
    numbers = [_digits(node.value) for node in walk(scored.expression) if isinstance(node, Number)]
    kinds = {
        name[:1] if name[1:].isdigit() and name[0] == "c" else name for name in to_prefix(scored.expression)
    }
    form = scored.complexity * math.log(max(2, len(kinds)))
    return 0.5 * n * math.log(max(loss / n, 1e-300)) + form + sum(digits) + sum(numbers)


def _digits(number: float) -> float:
    """Nats of a literal number: a half takes one more bit than a whole number of its size twice over."""
    return math.log(1 + abs(number)) if number.is_integer() else math.log(2) + math.log(1 + 2 * abs(number))


def averaged(front: Sequence[Scored], env: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the formulas' values [point], weighted by exp(-BIC / 2).

    Formulas without a finite cross-validated error, or without values somewhere, do not count.
    """
    usable = [s for s in front if math.isfinite(s.mae_cv) and math.isfinite(s.bic)] or list(front)
    values = np.stack(
        [np.broadcast_to(evaluate_numpy(s.expression, env, s.constants), _shape(env)) for s in usable]
    )
    bic = np.array([s.bic for s in usable])
    weight = np.exp(-0.5 * (bic - bic.min())) * np.isfinite(values).all(1)
    weight = weight / weight.sum()
    values = np.where(weight[:, None] > 0, values, 0.0)
    mean = weight @ values
    return mean, np.sqrt(weight @ (values - mean) ** 2)


def _shape(env: dict[str, Floats]) -> tuple[int, ...]:
    return next(iter(env.values())).shape
