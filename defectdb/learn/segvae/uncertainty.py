"""Fitted formulas to what is known about them: errors of the constants, description length, a weighted average."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from defectdb.learn.segvae.front import Scored
from defectdb.learn.segvae.rounding import Data
from defectdb.schema.engines import evaluate_numpy
from defectdb.schema.expression import Number, walk

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


def noise_level(front: Sequence[Scored]) -> float:
    """Standard deviation of the noise: the least error in cross-validation, were it Gaussian; 0 where there is none."""
    finite = [s.mae_cv for s in front if math.isfinite(s.mae_cv)]
    return math.sqrt(math.pi / 2) * min(finite) if finite else 0.0


def description_length(scored: Scored, data: Data, noise: float, n_tokens: int) -> float:
    """Nats that data and formula take together, for noise of standard deviation ``noise`` and ``n_tokens`` kinds of
    tokens; infinite for a formula without values (Bartlett, Desmond & Ferreira, IEEE Trans. Evol. Comput. 2023).
    """
    loss = data.loss(scored.expression, scored.constants)
    if not math.isfinite(loss):
        return math.inf
    fisher = ((data.weight[:, None] * jacobian(scored, data) ** 2).sum(0)) / noise**2
    # a constant costs its digits up to its standard error, and none if it cannot be told from zero
    digits = [
        max(0.0, 0.5 * math.log(3 * f) + math.log(abs(c))) - 0.5 * math.log(3)
        for f, c in zip(fisher, scored.constants, strict=True)
        if f * c * c > 0
    ]
    numbers = [math.log(1 + abs(node.value)) for node in walk(scored.expression) if isinstance(node, Number)]
    return 0.5 * loss / noise**2 + scored.complexity * math.log(n_tokens) + sum(digits) + sum(numbers)


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
