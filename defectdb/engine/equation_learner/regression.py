"""Formulas for plain data by an equation learner: what ``SymbolicRegressor(engine="equation-learner")`` runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from defectdb.engine.equation_learner.learner import Candidate, Found, Learner, LearnerSettings
from defectdb.engine.equation_learner.least_squares import Objective, minimise
from defectdb.engine.equation_learner.networks import Built, Network
from defectdb.engine.equation_learner.sparsity import closed
from defectdb.engine.equation_learner.units import UNITS
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored, criterion, pareto_front
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.finishing.uncertainty import description_length
from defectdb.expressions.arrays import Floats, Integers
from defectdb.expressions.expression import Expression, complexity

_FOLDS = 5
_REFINED = 30  # candidates whose constants are fitted to the end


@dataclass(frozen=True, slots=True, eq=False)
class RowsObjective:
    """The weighted errors of one formula on rows of data, [row], and their derivatives by differences."""

    data: Data
    expression: Expression
    root_weight: Floats

    def residuals(self, constants: Floats) -> Floats | None:
        """Weighted errors [row]; None where a row of some weight has no value."""
        some = self.root_weight > 0
        errors = -self.data.residuals(self.expression, constants)[some] * self.root_weight[some]
        return errors if bool((np.abs(errors) < 1e150).all()) else None

    def both(self, constants: Floats) -> tuple[Floats, Floats] | None:
        """Weighted errors [row] and their derivatives [row, constant]."""
        errors = self.residuals(constants)
        if errors is None:
            return None
        slopes = np.empty((len(errors), len(constants)))
        for i, value in enumerate(constants):
            step = 1e-6 * max(abs(float(value)), 1e-3)
            moved = np.array(constants, dtype=np.float64)
            moved[i] += step
            there = self.residuals(moved)
            slopes[:, i] = 0.0 if there is None else (there - errors) / step
        return errors, slopes


@dataclass(frozen=True, slots=True, eq=False)
class RowsTask:
    """One formula for rows of data."""

    data: Data
    networks: tuple[Network, ...]
    root_weight: Floats

    def objective(self, functions: Sequence[Built]) -> Objective:
        """Weighted squared errors."""
        return RowsObjective(self.data, functions[0].expression, self.root_weight)

    def start(self, functions: Sequence[Built]) -> Floats:  # noqa: ARG002  (the protocol's signature)
        """No numbers of its own."""
        return np.zeros(0)

    def permits(self, functions: Sequence[Built], constants: Floats) -> bool:  # noqa: ARG002
        """Any: what is not safe is left out of the front."""
        return True


def network_of(data: Data, operators: Sequence[str], slots: int) -> Network:
    """A network over the data's variables with the units that these operators allow."""
    names = tuple(data.x)
    allowed = set(operators) | {"damped", "tanh", "add", "mul", "sub", "neg"}
    units = tuple(name for name, needed in _NEEDS.items() if needed <= allowed)
    low, high = (tuple(float(f(data.x[n])) for n in names) for f in (np.min, np.max))
    wide = tuple(b if b > a else a + 1.0 for a, b in zip(low, high, strict=True))
    return Network("y", names, low, wide, units, slots=slots, offset=True)


_NEEDS = {
    "identity": set(), "square": {"square"}, "shifted": set(), "parabola": {"square"}, "quotient": {"inv", "square"},
    "bell": {"inv", "square"}, "exp": {"exp"}, "power": {"pow"}, "gauss": {"exp", "square"},
    "gauss_at": {"exp", "square"}, "wave": {"exp", "cos"}, "log": {"log", "square"}, "step": {"exp"}, "root": {"sqrt"},
    "rising_power": {"pow"},
}  # fmt: skip
assert set(_NEEDS) <= set(UNITS)


def learn_rows(
    data: Data,
    network: Network,
    settings: LearnerSettings,
    max_tokens: int,
    permits: Callable[[Expression, tuple[float, ...]], bool],
) -> tuple[list[Scored], Found]:
    """The front of formulas for the data, cross-validated, and the search's log.

    ``permits``: whether a formula with constants is safe. Slots that the smoothed penalty weakens are closed where a
    fifth of the rows, left out of the fits, lets them.
    """
    root = np.sqrt(np.maximum(data.weight, 0.0))
    task = RowsTask(data, (network,), root)
    found = Learner(task, settings).run()
    fold = np.arange(len(data.y)) % _FOLDS
    formulas: dict[tuple[str, int], Scored] = {}
    for candidate in _spread(found.candidates):
        for expression, constants in _variants(task, candidate, fold):
            short, values = simplify(expression, tuple(float(c) for c in constants))
            if complexity(short) > max_tokens or not permits(short, values):
                continue
            scored = _scored(data, short, values, fold)
            key = (repr(short), complexity(short))
            if key not in formulas or scored.loss < formulas[key].loss:
                formulas[key] = scored
    front = pareto_front(sorted(formulas.values(), key=lambda s: (s.complexity, s.loss)))
    return [replace(s, description_length=description_length(s, data)) for s in front], found


def learn_front(
    regressor: Any, data: Data, max_constants: int, permits: Callable[[Expression, tuple[float, ...]], bool]
) -> list[Scored]:
    """The front for a ``SymbolicRegressor``'s data, under its options."""
    settings = LearnerSettings(
        max_constants=max_constants, playouts=regressor.generations * regressor.population,
        time_limit=0.7 * regressor.time_limit, seed=regressor.seed,
    )  # fmt: skip
    operators = [name for name in regressor.operators if name not in regressor.forbidden]
    network = network_of(data, operators, min(3, regressor.max_terms))
    return learn_rows(data, network, settings, regressor.max_tokens, permits)[0]


def _spread(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best of all, and the best of every number of constants."""
    counts: dict[int, int] = {}
    chosen = []
    for number, candidate in enumerate(candidates):
        seen = counts.get(candidate.n_constants, 0)
        if number < _REFINED // 2 or seen < 4:
            chosen.append(candidate)
            counts[candidate.n_constants] = seen + 1
        if len(chosen) >= _REFINED:
            break
    return chosen


def _variants(task: RowsTask, candidate: Candidate, fold: Integers) -> list[tuple[Expression, Floats]]:
    """A candidate with constants fitted to the end, and with fewer slots where it does not need them."""
    objective = task.objective(candidate.functions)
    end = minimise(objective, candidate.constants, iterations=60, tolerance=1e-12).constants
    out = [(candidate.functions[0].expression, end)]
    if len(candidate.structure[0]) > 1 and len(task.data.y) >= 3 * _FOLDS:
        held = np.where(fold == 0, 0.0, task.root_weight)
        left = np.where(fold == 0, task.root_weight, 0.0)

        def fitted(function: Built) -> Objective:
            return RowsObjective(task.data, function.expression, held)

        def outside(function: Built, constants: Floats) -> float:
            errors = RowsObjective(task.data, function.expression, left).residuals(constants)
            return math.inf if errors is None else float(errors @ errors)

        network = task.networks[0]
        plain = replace(network, offset=network.offset)
        sparse = closed(plain, candidate.structure[0], end, fitted, outside)
        if len(sparse.terms) < len(candidate.structure[0]):
            again = task.objective([sparse.function])
            out.append(
                (sparse.function.expression, minimise(again, sparse.constants, iterations=60).constants)
            )
    return out


def _scored(data: Data, expression: Expression, constants: tuple[float, ...], fold: Integers) -> Scored:
    error = data.residuals(expression, constants)
    loss = data.loss(expression, constants) / max(float(data.weight.sum()), 1e-300)
    blind = np.full(len(data.y), np.inf)
    if len(constants) < data.n_rows - data.n_rows // _FOLDS:
        for k in range(_FOLDS):
            held = fold == k
            part = replace(data, weight=np.where(held, 0.0, data.weight))
            if np.any(part.weight > 0):
                blind[held] = np.abs(data.residuals(expression, part.refit(expression, constants))[held])
    blind = np.nan_to_num(blind, nan=np.inf)
    first = next(iter(data.x.values()))
    inner = np.ones(len(data.y), dtype=np.bool_)
    if data.mixing is None and data.groups is None and len(np.unique(first)) > 2:
        inner = (first > first.min()) & (first < first.max())
    with np.errstate(invalid="ignore"):
        inside = (
            float(np.average(blind[inner], weights=data.weight[inner]))
            if data.weight[inner].sum()
            else math.inf
        )
        left_out = data.mean(blind)
    return Scored(
        expression, constants, complexity(expression), mse=data.mean(error**2), mae=data.mean(np.abs(error)),
        mae_cv=left_out, mae_cv_interior=inside, bic=criterion(loss, data.n_rows, len(constants), data.huber),
        skeleton=(), loss=loss,
    )  # fmt: skip
