"""The data as numpy arrays, for the steps that treat one formula at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem, loss_of
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression


@dataclass(frozen=True, slots=True)
class Data:
    """The data of a problem in numpy.

    ``x``: values [point] of every variable, by name.
    ``y`` [row]: the target.
    ``weight`` [row]: weights.
    ``mixing`` [row, point]: factors by which points add up to rows; None where they do not.
    ``huber`` (units of ``y``): residuals beyond it count linearly; 0 for least squares.
    ``groups`` [row, member]: points of which each row is the extreme; None where rows are no extremes.
    ``extreme``: "min" or "max".
    """

    x: dict[str, Floats]
    y: Floats
    weight: Floats
    mixing: Floats | None
    huber: float = 0.0
    groups: NDArray[np.int64] | None = None
    extreme: str = "min"

    @classmethod
    def of(cls, problem: Problem, grammar: Grammar) -> Data:
        """The problem's rows, copied: a tensor's own memory moves when the tensor is sent to another process."""
        local = problem.to("cpu")
        x = {name: local.x[i].numpy().copy() for i, name in enumerate(grammar.variables)}
        mixing = None if local.mixing is None else local.mixing.numpy().copy()
        groups = None if local.groups is None else local.groups.numpy().copy()
        y, weight = local.y.numpy().copy(), local.weight.numpy().copy()
        return cls(x, y, weight, mixing, local.huber, groups, local.extreme)

    def residuals(self, expression: Expression, constants: Sequence[float] | Floats) -> Floats:
        """Data minus formula, [row]."""
        values = np.broadcast_to(
            evaluate_numpy(expression, self.x, [float(c) for c in constants]),
            next(iter(self.x.values())).shape,
        )
        if self.groups is not None:
            grouped = values[self.groups]
            values = np.min(grouped, axis=1) if self.extreme == "min" else np.max(grouped, axis=1)
        with np.errstate(all="ignore"):  # infinite values times nothing
            return self.y - (values if self.mixing is None else self.mixing @ values)

    @property
    def n_rows(self) -> int:
        """Rows that count: those of some weight."""
        return int(np.count_nonzero(self.weight > 0))

    def mean(self, values: Floats) -> float:
        """Weighted mean of ``values`` [row]; rows of no weight do not count, whatever they hold."""
        some = self.weight > 0
        return float(np.average(values[some], weights=self.weight[some]))

    def loss(self, expression: Expression, constants: Sequence[float]) -> float:
        """Weighted sum of squared errors (or Huber losses); infinite where a row of some weight has no value."""
        some = self.weight > 0
        residual = self.residuals(expression, constants)[some]
        with np.errstate(all="ignore"):  # squares beyond the largest number
            total = float(np.sum(self.weight[some] * loss_of(residual, self.huber)))
        return total if np.isfinite(total) else np.inf

    def refit(self, expression: Expression, constants: Sequence[float]) -> tuple[float, ...]:
        """The constants after a few steps of scipy's least squares from where they are, towards the least ``loss``."""
        some = self.weight > 0
        root = np.sqrt(self.weight[some])

        def error(theta: Floats) -> Floats:
            """Numbers [row] whose squares are the rows' weighted losses."""
            left = self.residuals(expression, theta)[some]
            if self.huber:
                left = np.sign(left) * np.sqrt(loss_of(left, self.huber))
            return np.clip(np.nan_to_num(root * left, nan=1e150), -1e150, 1e150)

        start = np.asarray(constants, dtype=np.float64)
        if not len(start) or self.loss(expression, constants) == np.inf:
            return tuple(constants)
        with np.errstate(all="ignore"):
            found = least_squares(
                error, start, x_scale=np.abs(start) + 1e-9, max_nfev=30, xtol=1e-15, ftol=1e-15, gtol=1e-15
            )
        return tuple(float(v) for v in found.x)

    def jacobian(self, expression: Expression, constants: Sequence[float]) -> Floats:
        """Derivatives of the rows' values with respect to the constants, [row, constant], by central differences."""
        columns = []
        for i, value in enumerate(constants):
            step = 1e-6 * abs(value) or 1e-9
            above, below = (
                self.residuals(expression, [*constants[:i], value + s, *constants[i + 1 :]])
                for s in (step, -step)
            )
            columns.append((below - above) / (2 * step))
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.y), 0))

    def information(self, expression: Expression, constants: Sequence[float]) -> list[float]:
        """Fisher information of every constant by itself, of the noise that the formula leaves: loss / (n - k)."""
        n, k, loss = self.n_rows, len(constants), self.loss(expression, constants)
        if n <= k or not np.isfinite(loss):
            return [0.0] * k
        some = self.weight > 0
        slopes = self.jacobian(expression, constants)[some]
        fisher = (self.weight[some, None] * slopes**2).sum(0) / max(loss / (n - k), 1e-300)
        return [float(f) if np.isfinite(f) else 0.0 for f in fisher]
