"""Arrays to formulas in the manner of scikit-learn, without a database: fit, predict, front_, sympy, latex."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from defectdb.errors import SelectionError, UsageError
from defectdb.learn.segvae.front import Scored, select
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.islands import merged, search_islands
from defectdb.learn.segvae.model import ModelConfig
from defectdb.learn.segvae.problem import Problem
from defectdb.learn.segvae.rounding import Data
from defectdb.learn.segvae.search import Search, SearchConfig
from defectdb.learn.segvae.uncertainty import averaged, covariance, description_length
from defectdb.schema.engines import evaluate_numpy, to_latex, to_sympy
from defectdb.schema.expression import Constant, Expression
from defectdb.schema.texts import to_infix

Floats = NDArray[np.float64]
MAX_VARIABLES = 6
AGGREGATES = ("sum", "min", "max")
EXACT = 1e-20
"""A mean squared error below this share of the data's mean square ends the search: the law is found."""

OPERATORS = (
    "add", "sub", "mul", "div", "pow", "neg", "inv", "square", "cube", "sqrt", "exp", "log", "sin", "cos",
)  # fmt: skip


class SymbolicRegressor:
    """Searches formulas for ``y`` in the columns of ``X``.

    Parameters are stored as given (``get_params``, ``set_params``), as scikit-learn's are. ``variables``
    names the columns (default x, or x1, x2 ...); ``max_tokens`` bounds a finished formula; ``time_limit`` in
    seconds; ``islands`` seeds are searched, two at a time; ``huber`` (units of ``y``) for data with
    outliers; ``aggregate`` ("sum", "min", "max") what groups of points make of their values; ``predicate``
    accepts or refuses skeletons; ``units`` are exponents of base units, one row a variable; ``conditional``: the
    network that proposes formulas sees the data as well.

    After ``fit``: ``front_`` (Scored formulas, simplest first), ``best_`` the chosen one, ``rounded_``
    formulas in round numbers, ``stability_`` the share of islands whose front holds each formula.
    """

    def __init__(
        self,
        *,
        operators: Sequence[str] = OPERATORS,
        numbers: Sequence[int] = (1, 2),
        variables: Sequence[str] | None = None,
        max_tokens: int = 25,
        max_terms: int = 6,
        generations: int = 30,
        population: int = 2000,
        time_limit: float = 60.0,
        exhaustive_limit: int = 30_000,
        islands: int = 1,
        seed: int = 0,
        huber: float = 0.0,
        aggregate: str = "sum",
        required: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        units: Sequence[Sequence[float]] = (),
        predicate: Callable[[Expression], bool] | None = None,
        conditional: bool = False,
    ) -> None:
        self.operators, self.numbers, self.variables = operators, numbers, variables
        self.max_tokens, self.max_terms = max_tokens, max_terms
        self.generations, self.population, self.time_limit = generations, population, time_limit
        self.exhaustive_limit, self.islands, self.seed, self.huber = exhaustive_limit, islands, seed, huber
        self.aggregate = aggregate
        self.required, self.forbidden, self.units, self.predicate = required, forbidden, units, predicate
        self.conditional = conditional

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  (scikit-learn's signature)
        """The parameters by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change parameters. Raises UsageError for unknown ones."""
        unknown = sorted(set(params) - set(self.get_params()))
        if unknown:
            raise UsageError(
                f"unknown parameters {', '.join(unknown)}; known: {', '.join(self.get_params())}"
            )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Search. ``X`` [row, variable] or [row], ``y`` [row].

        With ``groups`` [point] the rows of ``X`` are points (pairs of defects), and group i of them makes ``y[i]``:
        their sum, smallest or largest value, as ``aggregate`` says.

        Raises SelectionError for data from which nothing can be learned, UsageError for options that do not fit them;
        warns of variables without range and of a constant target.
        """
        x, target = _columns(X), np.asarray(y, dtype=np.float64)
        self.variables_ = self._names(x.shape[1])
        weight = None if sample_weight is None else torch.tensor(np.asarray(sample_weight, dtype=np.float64))
        problem = Problem.of(
            torch.tensor(x.T.copy()), torch.tensor(target), weight, max_terms=self.max_terms, huber=self.huber,
            **self._joined(groups, len(x), len(target)),
        )  # fmt: skip
        if len(target) < 3:
            raise SelectionError(f"{len(target)} rows are too few for a formula; give at least 3")
        grammar, self.rounded_ = self._grammar(x), list[Scored]()
        self._data = Data.of(problem, grammar)
        if np.ptp(target) == 0.0:
            warnings.warn("the target is constant: so is the formula", stacklevel=2)
            self.front_ = [Scored(Constant(0), (float(target[0]),), 1, 0.0, 0.0, 0.0, 0.0, -math.inf, ())]
            self.stability_ = [1.0]
        else:
            self.front_, self.rounded_ = self._search(problem, grammar)
        if not self.front_:
            raise SelectionError(
                "no formula of this grammar can be evaluated on the data; allow more operators"
            )
        self.best_ = self._choose(self.rounded_, self._data)
        self.rounded_ = merged([self.rounded_])
        return self

    def _joined(self, groups: ArrayLike | None, points: int, rows: int) -> dict[str, Any]:
        """How points make rows, as options of a problem."""
        if self.aggregate not in AGGREGATES:
            raise UsageError(f"unknown aggregate {self.aggregate!r}; try {', '.join(AGGREGATES)}")
        if groups is None:
            return {}
        row = _groups(groups, points)
        if len(np.unique(row)) != rows or row.max() != rows - 1:
            raise SelectionError(f"the groups must be numbered 0 to {rows - 1}, one for every value of y")
        if self.aggregate == "sum":
            mixing = np.zeros((rows, points))
            mixing[row, np.arange(points)] = 1.0
            return {"mixing": torch.from_numpy(mixing)}
        order = np.argsort(row, kind="stable")
        count = np.bincount(row)
        place = np.minimum(np.arange(count.max()), count[:, None] - 1)
        table = order[(np.cumsum(count) - count)[:, None] + place]
        return {"groups": torch.from_numpy(table), "extreme": self.aggregate}

    def _names(self, count: int) -> tuple[str, ...]:
        if self.variables is not None:
            if len(self.variables) != count:
                raise UsageError(f"{len(self.variables)} variable names for {count} columns")
            return tuple(self.variables)
        return ("x",) if count == 1 else tuple(f"x{i + 1}" for i in range(count))

    def _grammar(self, x: Floats) -> Grammar:
        """The formulas that the rows can bear: fewer constants than rows, no variable without range."""
        flat = [
            name for name, spread in zip(self.variables_, np.ptp(x, axis=0), strict=True) if spread == 0.0
        ]
        if flat:
            warnings.warn(
                f"{', '.join(flat)} has one value only and is left out of the formulas", stacklevel=3
            )
        return Grammar(
            variables=self.variables_,
            operators=tuple(self.operators),
            numbers=tuple(self.numbers),
            max_length=max(3, self.max_tokens - 2),
            max_constants=max(0, min(6, len(x) - 3)),
            required=tuple(self.required),
            forbidden=(*self.forbidden, *flat),
            units=tuple(tuple(u) for u in self.units),
        )

    def _search(self, problem: Problem, grammar: Grammar) -> tuple[list[Scored], list[Scored]]:
        exact = EXACT * float((problem.weight * problem.y.square()).sum() / problem.weight.sum())
        config = SearchConfig(
            seed=self.seed, generations=self.generations, time_limit=self.time_limit, population=self.population,
            max_complexity=self.max_tokens, patience=max(10, self.generations // 2), target_mse=exact,
            exhaustive_limit=self.exhaustive_limit, rounded=True, model=ModelConfig(conditional=self.conditional),
        )  # fmt: skip
        seeds = polynomial_seeds(grammar)
        if self.islands > 1:
            if self.predicate is not None:
                raise UsageError("a predicate cannot travel to other processes; use islands=1")
            found = search_islands(problem, grammar, config, seeds=seeds, count=self.islands)
            self.stability_ = found.stability
            return found.front, [s for outcome in found.outcomes for s in outcome.rounded]
        outcome = Search(problem, grammar, config, seeds=seeds, predicate=self.predicate).run()
        self.stability_ = [1.0] * len(outcome.front)
        return outcome.front, outcome.rounded

    def _choose(self, plain: list[Scored], data: Data) -> Scored:
        """The simplest exact formula, or else the one that describes the data in the fewest digits.

        Formulas in round numbers (``plain``) compete with the front.
        """
        size = float(np.average(data.y**2, weights=data.weight))
        exact = [s for s in self.front_ if s.mse <= 1e-16 * size]
        if exact or not plain:
            return exact[0] if exact else self.front_[select(self.front_)]
        return min((*self.front_, *plain), key=lambda s: description_length(s, data))

    def covariance(self) -> Floats:
        """Covariance [constant, constant] of the chosen formula's constants; NaN where rows are too few."""
        return covariance(self._fitted(), self._data)

    def averaged(self, X: ArrayLike) -> tuple[Floats, Floats]:
        """Mean and spread [row] of the front's formulas, weighted by the Bayesian information criterion."""
        self._fitted()
        x = _columns(X)
        return averaged(self.front_, {name: x[:, i] for i, name in enumerate(self.variables_)})

    def predict(self, X: ArrayLike, index: int | None = None, groups: ArrayLike | None = None) -> Floats:
        """Values [row] of the chosen formula, or of ``front_[index]``; NaN outside its domain.

        With ``groups`` [point] the sums or extremes of the groups' points, in the order of their numbers.
        """
        x = _columns(X)
        chosen = self._fitted() if index is None else self.front_[index]
        env = {name: x[:, i] for i, name in enumerate(self.variables_)}
        values = np.broadcast_to(evaluate_numpy(chosen.expression, env, chosen.constants), (len(x),)).copy()
        if groups is None:
            return values
        row = _groups(groups, len(x))
        start = {"sum": 0.0, "min": np.inf, "max": -np.inf}[self.aggregate]
        out = np.full(row.max() + 1, start)
        {"sum": np.add, "min": np.minimum, "max": np.maximum}[self.aggregate].at(out, row, values)
        return out

    def score(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> float:
        """Coefficient of determination R^2 of the chosen formula; ``groups`` as in ``predict``."""
        target = np.asarray(y, dtype=np.float64)
        error = target - self.predict(X, groups=groups)
        return 1.0 - float(np.sum(error**2) / np.sum((target - target.mean()) ** 2))

    def sympy(self) -> Any:
        """The chosen formula as a sympy expression."""
        chosen = self._fitted()
        return to_sympy(chosen.expression, chosen.constants)

    def latex(self) -> str:
        """The chosen formula in LaTeX."""
        chosen = self._fitted()
        return to_latex(chosen.expression, chosen.constants)

    def infix(self, digits: int = 6) -> str:
        """The chosen formula as Python text."""
        chosen = self._fitted()
        return to_infix(chosen.expression, chosen.constants, digits)

    def _fitted(self) -> Scored:
        if not hasattr(self, "best_"):
            raise UsageError("this regressor is not fitted yet; call fit first")
        return self.best_


def _groups(groups: ArrayLike, points: int) -> NDArray[np.int64]:
    """Group numbers [point]. Raises SelectionError where they are no whole numbers from 0, one for every point."""
    row = np.asarray(groups)
    if row.shape != (points,) or row.dtype.kind not in "iu" or row.min() < 0:
        raise SelectionError(f"groups must be {points} whole numbers from 0, one for every row of X")
    return row.astype(np.int64)


def _columns(X: ArrayLike) -> Floats:
    """[row, variable] in float64. Raises SelectionError for other shapes and more than six variables."""
    x = np.asarray(X, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not 1 <= x.shape[1] <= MAX_VARIABLES:
        raise SelectionError(f"X must be [row, variable] with 1 to {MAX_VARIABLES} variables, not {x.shape}")
    return x


def polynomial_seeds(grammar: Grammar, degree: int = 9) -> torch.Tensor | None:
    """Polynomials as far as the grammar can write them, int64 [formula, position].

    In Horner's form with free coefficients and with all coefficients one, degree 2 upwards, and sums of two
    of them in different variables.
    """
    if not {"mul", "add"} <= set(grammar.index):
        return None
    inner = [leaf for leaf in ("c", "1") if leaf in grammar.index]
    single = [
        _horner(name, leaf, power)
        for name in grammar.variables
        for leaf in inner
        for power in range(2, degree + 1)
    ]
    double = [
        ["add", *_horner(a, "c", m), *_horner(b, "c", n)]
        for a in grammar.variables for b in grammar.variables if a != b
        for m in (2, 3, 4) for n in (1, 2, 3)
    ]  # fmt: skip
    rows = [
        row for row in (*single, *double)
        if set(row) <= set(grammar.index) and len(row) <= grammar.max_length
        and row.count("c") <= grammar.max_constants
    ]  # fmt: skip
    return torch.tensor([grammar.encode(row) for row in rows], dtype=torch.long) if rows else None


def _horner(name: str, leaf: str, degree: int) -> list[str]:
    """x * (leaf + x * (leaf + ... x)) in prefix tokens."""
    return ["mul", name, "add", leaf] * (degree - 1) + [name]
