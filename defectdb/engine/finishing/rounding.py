"""Fitted formulas to their plainest form: simplified, with round numbers where the error does not rise.

Every change is checked on the data (and over the domain) against the formula that it replaces, and the other
constants are refitted beside each round number; so a law is found exactly, and noise is not rounded away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from defectdb.learn.segvae.digits import nats_of_constant, nats_of_number
from defectdb.engine.safety.domain import Domain
from defectdb.engine.finishing.scoring import Scored, criterion
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem, loss_of
from defectdb.engine.finishing.simplify import renumbered, simplify
from defectdb.expressions.dimensions import constant_units
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import (
    Call,
    Constant,
    Expression,
    Number,
    complexity,
    n_constants,
    to_prefix,
    variables,
    walk,
)

Floats = NDArray[np.float64]
_NEAR = 0.04  # how far a constant may lie from a round number that is tried for it, relative (or absolute below 1)
_RISE = 1e-3  # share by which the loss may rise
_EXACT = 1e-24  # squared errors below this share of the data's squares are rounding errors of the arithmetic


@dataclass(frozen=True, slots=True)
class Data:
    """The rows in numpy: variables by name [point], values and weights [row], and how points mix into rows, or of which
    points the rows are the extreme [row, place]; ``huber`` as in ``Problem``, in units of ``y``.
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
        """Copies of the problem's rows: a tensor sent to another process leaves its memory, and a view behind."""
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


def plainest(
    front: Sequence[Scored], problem: Problem, grammar: Grammar, domain: Domain | None
) -> list[Scored]:
    """The front with every formula in its plainest form, and without those that others now surpass."""
    data = Data.of(problem, grammar)
    return unsurpassed([_plainer(scored, data, grammar, domain) for scored in front])


def unsurpassed(front: Iterable[Scored]) -> list[Scored]:
    """The formulas of lower loss than all that are as short or shorter, in order of complexity."""
    kept: list[Scored] = []
    for scored in sorted(front, key=lambda s: (s.complexity, s.loss)):
        if not kept or scored.loss < kept[-1].loss * (1 - _RISE):
            kept.append(scored)
    return kept


def _plainer(scored: Scored, data: Data, grammar: Grammar, domain: Domain | None) -> Scored:
    floor = _EXACT * float(np.sum(data.weight * data.y**2))  # squares of round-off, which is below ``huber``
    limit = data.loss(scored.expression, scored.constants) * (1 + _RISE) + floor
    best = (scored.expression, scored.constants)
    for step in (simplify, lambda e, c: round_numbers(e, c, data, limit, grammar), simplify):
        trial = step(*best)
        if data.loss(*trial) <= limit and safe(*trial, grammar, domain):
            best = trial
    if best[0] == scored.expression and best[1] == scored.constants:
        return scored
    return rescored(scored, *best, data)


def rescored(scored: Scored, expression: Expression, constants: tuple[float, ...], data: Data) -> Scored:
    """The record of another form of the same formula: its errors in training and ``bic`` are taken anew.

    The left-out errors stay those of ``scored``, whose constants were refitted without each fold, also those that are
    literal numbers now; of the new form they would be about as large, mostly lower. ``skeleton`` stays that from which
    the formula came; ``description_length`` is to be taken anew (NaN).
    """
    error = data.residuals(expression, constants)
    loss = data.mean(loss_of(error, data.huber))
    return replace(
        scored, expression=expression, constants=constants, complexity=complexity(expression), loss=loss,
        mse=data.mean(error**2), mae=data.mean(np.abs(error)),
        bic=criterion(loss, data.n_rows, len(constants), data.huber), description_length=math.nan,
    )  # fmt: skip


def round_numbers(
    expression: Expression, constants: tuple[float, ...], data: Data, limit: float, grammar: Grammar
) -> tuple[Expression, tuple[float, ...]]:
    """Integers, halves and quarters for constants, one after another, while the error stays below ``limit``.

    The other constants are refitted every time. A constant that carries one of the grammar's units stays, and so does
    one that takes fewer digits, as well as the data know it, than the round number: that would be no simpler.
    """
    for index in range(n_constants(expression)):
        value = constants[index]
        known = nats_of_constant(value, data.information(expression, constants)[index])
        for nearest in dict.fromkeys(round(value * d) / d for d in (1, 2, 4)):
            if abs(value - nearest) > _NEAR * max(abs(value), 0.25) or (nearest == 0.0 and abs(value) > 1e-3):
                continue
            if nearest and nats_of_number(nearest) >= known:
                continue
            trial = _with_number(expression, index, nearest)
            if not keeps_units(trial, grammar):
                continue
            fixed, others = renumbered(trial, constants)
            others = others if data.loss(fixed, others) <= limit else data.refit(fixed, others)
            if data.loss(fixed, others) <= limit:
                places = _places(trial)
                refitted = list(constants)
                for place, new in zip(places, others, strict=True):
                    refitted[place] = new
                expression, constants = trial, tuple(refitted)
                break
    return renumbered(expression, constants)


def _places(expression: Expression) -> list[int]:
    return [node.index for node in walk(expression) if isinstance(node, Constant)]


def _with_number(node: Expression, index: int, value: float) -> Expression:
    """The tree with a literal number in the place of one constant."""
    if isinstance(node, Constant):
        return Number(value) if node.index == index else node
    if isinstance(node, Call):
        return Call(node.operator, tuple(_with_number(arg, index, value) for arg in node.args))
    return node


def safe(expression: Expression, constants: Sequence[float], grammar: Grammar, domain: Domain | None) -> bool:
    """Whether a variable is left, nothing forbidden has come in, the units fit and it is safe over the domain."""
    if not variables(expression) or set(to_prefix(expression)) & set(grammar.forbidden):
        return False
    if not keeps_units(expression, grammar):
        return False
    return domain is None or domain.permits(expression, constants, grammar.variables)


def keeps_units(expression: Expression, grammar: Grammar) -> bool:
    """Whether some units of the constants make the formula dimensionally sound; always where the grammar has none."""
    if not grammar.units:
        return True
    value = grammar.value_unit
    further = (0.0,) * (len(value) - len(grammar.units[0]))
    units = {name: (*unit, *further) for name, unit in zip(grammar.variables, grammar.units, strict=True)}
    return constant_units(expression, units, value or None) is not None
