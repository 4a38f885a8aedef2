"""A finished formula with its errors, and the choice of one from a front."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from defectdb.engine.finishing.nats import nats_of
from defectdb.engine.finishing.pareto import pareto_rows
from defectdb.expressions.expression import Expression

_ERROR_FACTOR = 2.0
"""How many times the least left-out error a formula's may be for it to be chosen."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A finished formula and its errors on the rows it was fitted to, by their weights; NaN where one is not known.

    ``expression``, ``constants``: the formula.
    ``complexity``: its tokens.
    ``mse``, ``mae``: mean squared and mean absolute error in training.
    ``mae_cv``: mean absolute error of leave-one-out or k-fold cross-validation.
    ``mae_cv_interior``: the same without the rows at the ends of the first variable's range.
    ``bic``: Bayesian information criterion.
    ``skeleton`` [position]: token indices of the skeleton that was fitted.
    ``description_length`` (nats): of data and formula together; see ``uncertainty``.
    ``loss``: mean of what was minimised in training, by which a front is ordered: Huber's loss of a robust fit, else
    (default) ``mse``.
    """

    expression: Expression
    constants: tuple[float, ...]
    complexity: int
    mse: float
    mae: float
    mae_cv: float
    mae_cv_interior: float
    bic: float
    skeleton: tuple[int, ...]
    description_length: float = math.nan
    loss: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.loss):
            object.__setattr__(self, "loss", self.mse)


def criterion(loss: float, n_rows: int, n_constants: int, huber: float = 0.0) -> float:
    """The Bayesian information criterion (Schwarz, Ann. Stat. 1978) of a formula with this mean ``loss``, up to what is
    the same for all formulas: twice the nats of the data (``nats_of``; n log(loss) of least squares) + k log(n).
    """
    return 2 * nats_of(loss, n_rows, huber) + n_constants * math.log(n_rows)


def select(front: list[Scored]) -> int:
    """Index of the formula to use: the least Bayesian information criterion among those that hold where left out.

    Those whose error at inner rows, each left out in turn, is at most ``_ERROR_FACTOR`` times the least; with few rows
    the least itself is mostly luck, and without an end of the data no formula is to be trusted there. Where an error in
    training is round-off (a millionth of the simplest formula's), the simplest such formula is used, and where no
    left-out error is finite, the simplest of all: the error in training would choose the longest.
    """
    errors = [s.mae_cv_interior for s in front]
    finite = [error for error in errors if math.isfinite(error)]
    if not finite:
        return min(range(len(front)), key=lambda i: front[i].complexity)
    round_off = 1e-6 * front[0].mae
    holding = [i for i, error in enumerate(errors) if error <= _ERROR_FACTOR * min(finite) + round_off]
    exact = [i for i in holding if front[i].mae <= round_off]
    return exact[0] if exact else min(holding, key=lambda i: front[i].bic)


def pareto_front(formulas: Iterable[Scored]) -> list[Scored]:
    """The formulas of lower loss than all that are as short or shorter, in order of complexity."""
    every = list(formulas)
    return [every[row] for row in pareto_rows([s.complexity for s in every], [s.loss for s in every])]
