"""Covariance of a formula's constants, its description length, and the weighted average of a front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from defectdb.engine.finishing.nats import nats_of, nats_of_constant, nats_of_number
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Number, to_prefix, walk


def covariance(scored: Scored, data: Data) -> Floats:
    """Covariance [constant, constant] of least squares with the noise that the residuals show; NaN without rows (of
    some weight) to spare.

    For a robust fit the noise is taken from the mean Huber loss.
    """
    slopes, weight = _counted(scored, data)
    n, k = slopes.shape
    loss = data.loss(scored.expression, scored.constants)
    if n <= k or not (np.isfinite(slopes).all() and math.isfinite(loss)):
        return np.full((k, k), np.nan)
    return np.asarray(
        loss / (n - k) * np.linalg.pinv(slopes.T @ (weight[:, None] * slopes)), dtype=np.float64
    )


def _counted(scored: Scored, data: Data) -> tuple[Floats, Floats]:
    """Derivatives [row, constant] and weights [row] of the rows that count: those of some weight."""
    some = data.weight > 0
    return data.jacobian(scored.expression, scored.constants)[some], data.weight[some]


def description_length(scored: Scored, data: Data) -> float:
    """Nats that data and formula take together, with the noise that the formula itself leaves; infinite without values.

    The rows of some weight take ``nats_of`` their mean loss (n/2 log(mean squared error) of least squares), the formula
    tokens x log(kinds of tokens), its constants and literal numbers what ``nats`` says (Bartlett, Desmond & Ferreira,
    IEEE Trans. Evol. Comput. 2023, with the likelihood's maximum over the unknown standard deviation).
    """
    n, k = data.n_rows, len(scored.constants)
    loss = data.loss(scored.expression, scored.constants)
    if not math.isfinite(loss) or n <= k:
        return math.inf
    fisher = data.information(scored.expression, scored.constants)
    constants = sum(map(nats_of_constant, scored.constants, fisher))
    numbers = sum(nats_of_number(node.value) for node in walk(scored.expression) if isinstance(node, Number))
    kinds = {
        name[:1] if name[1:].isdigit() and name[0] == "c" else name for name in to_prefix(scored.expression)
    }
    form = scored.complexity * math.log(max(2, len(kinds)))
    rows = nats_of(loss / float(data.weight.sum()), n, data.huber)
    return rows + form + constants + numbers


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
