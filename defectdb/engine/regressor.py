"""A regressor in the manner of scikit-learn that learns formulas from arrays and data frames, without a database."""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from defectdb.engine.equation_learner.regression import learn_front
from defectdb.engine.finishing.rounding import safe
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored, pareto_front, select
from defectdb.engine.finishing.uncertainty import averaged, covariance, description_length
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.regressor_input import Columns, groups_of, matrix_of, points_in_rows, vector_of
from defectdb.engine.regressor_options import check_options, not_fitted
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.islands import search_islands
from defectdb.engine.search.search import Search
from defectdb.engine.seeds.physical_laws import law_seeds
from defectdb.engine.seeds.polynomials import polynomial_seeds
from defectdb.engine.settings import ModelConfig, SearchConfig
from defectdb.errors import SelectionError, UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy, to_latex, to_sympy
from defectdb.expressions.expression import Constant, Expression
from defectdb.expressions.texts import to_infix

EXACT = 1e-20
"""A mean squared error below this share of the data's mean square ends the search: the law is found."""

OPERATORS = (
    "add", "sub", "mul", "div", "pow", "neg", "inv", "square", "cube", "sqrt", "exp", "log", "sin", "cos",
)  # fmt: skip


class SymbolicRegressor:
    """A regressor that finds formulas for ``y`` in the columns of ``X``.

    Parameters are stored as given (``get_params``, ``set_params``), as scikit-learn's are, and it works in that
    library's pipelines and cross-validation.

    ``operators``, ``numbers``: operators and whole numbers that formulas may hold.
    ``variables``: names of the columns (default: those of a data frame, else x, or x1, x2 ...).
    ``max_tokens``: length of a finished formula; ``max_terms``: its summands with a free coefficient.
    ``generations``, ``population``, ``time_limit`` (seconds), ``exhaustive_limit``: how long and how wide to search.
    ``seed``, ``islands``: the first seed and how many are searched, two at a time.
    ``huber`` (units of ``y``): residuals beyond it count linearly, for data with outliers; 0: least squares.
    ``aggregate``: what points make of their group, "sum", "min" or "max".
    ``safe``: refuse formulas with a pole or without a value between the points.
    ``required``, ``forbidden``: tokens that every formula must have, or none may.
    ``predicate``: callback that accepts or refuses skeletons.
    ``units``: exponents of base units, one row a variable.
    ``conditional``: the network that proposes formulas reads the data too.
    ``state``: file that keeps the search after every generation; a later ``fit`` of the same data goes on from it.
    ``engine``: "segvae", or "equation-learner": sparse networks of units by tree search (one island).

    After ``fit``:

    ``front_``: Scored formulas, simplest first; ``best_``: the chosen one.
    ``equations_``: the front as rows of a table.
    ``rounded_``: formulas in round numbers.
    ``stability_`` [formula]: share of the islands whose front holds each formula.
    ``variables_``, ``feature_names_in_``: the variables.
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
        safe: bool = True,
        required: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        units: Sequence[Sequence[float]] = (),
        predicate: Callable[[Expression], bool] | None = None,
        conditional: bool = False,
        state: str | Path | None = None,
        engine: str = "segvae",
    ) -> None:
        self.operators, self.numbers, self.variables = operators, numbers, variables
        self.max_tokens, self.max_terms = max_tokens, max_terms
        self.generations, self.population, self.time_limit = generations, population, time_limit
        self.exhaustive_limit, self.islands, self.seed, self.huber = exhaustive_limit, islands, seed, huber
        self.aggregate, self.safe = aggregate, safe
        self.required, self.forbidden, self.units, self.predicate = required, forbidden, units, predicate
        self.conditional, self.state, self.engine = conditional, state, engine

    def __repr__(self) -> str:
        usual = inspect.signature(type(self)).parameters
        changed = [f"{n}={v!r}" for n, v in self.get_params().items() if repr(v) != repr(usual[n].default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """The estimator's tags for scikit-learn, which whoever asks has loaded."""
        utils = importlib.import_module("sklearn.utils")
        target = utils.TargetTags(required=True)
        return utils.Tags(
            estimator_type="regressor", target_tags=target, regressor_tags=utils.RegressorTags()
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_")

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
        check_options(self)
        x = matrix_of(X)
        target = vector_of(y, "y", len(x) if groups is None else None)
        if len(target) == 1:
            raise SelectionError("1 sample (n_samples=1) is too few for a formula; give at least 3 rows")
        self._known_columns = Columns.of(X, self.variables)
        self.variables_ = self._known_columns.variables
        self.n_features_in_, self.feature_names_in_ = x.shape[1], np.array(self.variables_, dtype=object)
        weight = None
        if sample_weight is not None:
            weight = torch.tensor(vector_of(sample_weight, "sample_weight", len(target)))
        problem = Problem.of(
            torch.tensor(x.T.copy()), torch.tensor(target), weight, huber=self.huber,
            **points_in_rows(groups, len(x), len(target), self.aggregate),
        )  # fmt: skip
        if problem.n_rows < 3:
            raise SelectionError(
                f"{problem.n_rows} rows (of some weight) are too few for a formula; give at least 3"
            )
        # an amplitude for every two rows that the offset leaves: more could pass through any data
        problem = replace(problem, max_terms=max(1, min(self.max_terms, (problem.n_rows - 1) // 2)))
        counted = problem.weight.numpy() > 0
        grammar = self._grammar(x if groups is not None else x[counted], problem.n_rows)
        self.rounded_ = list[Scored]()
        self._data = Data.of(problem, grammar)
        if np.ptp(target[counted]) == 0.0:
            warnings.warn("the target is constant: so is the formula", stacklevel=2)
            value = (float(target[counted][0]),)
            self.front_ = [Scored(Constant(0), value, 1, 0.0, 0.0, 0.0, 0.0, -math.inf, ())]
            self.stability_ = [1.0]
        else:
            self.front_, self.rounded_ = self._search(problem, grammar)
        if not self.front_:
            raise SelectionError(
                "no formula of this grammar can be evaluated on the data; allow more operators"
            )
        self.best_ = self._choose(self.rounded_, self._data)
        self.rounded_ = pareto_front(self.rounded_)
        return self

    def _grammar(self, x: Floats, rows: int) -> Grammar:
        """The formulas that the rows can bear: fewer constants than ``rows``, no variable without range."""
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
            max_constants=max(0, min(6, rows - 3)),
            required=tuple(self.required),
            forbidden=(*self.forbidden, *flat),
            units=tuple(tuple(u) for u in self.units),
        )

    def _search(self, problem: Problem, grammar: Grammar) -> tuple[list[Scored], list[Scored]]:
        if self.engine == "equation-learner":
            return self._learn_equations(problem, grammar), []
        exact = EXACT * float((problem.weight * problem.y.square()).sum() / problem.weight.sum())
        config = SearchConfig(
            seed=self.seed, generations=self.generations, time_limit=self.time_limit, population=self.population,
            max_complexity=self.max_tokens, patience=max(10, self.generations // 2), target_mse=exact,
            exhaustive_limit=self.exhaustive_limit, rounded=True, model=ModelConfig(conditional=self.conditional),
        )  # fmt: skip
        seeds = torch.cat([law_seeds(grammar), polynomial_seeds(grammar)])
        domain = self._domain(problem)
        if self.islands > 1:
            found = search_islands(problem, grammar, config, domain, seeds=seeds, count=self.islands)
            self.stability_ = found.stability
            return found.front, [s for outcome in found.outcomes for s in outcome.rounded]
        state = None if self.state is None else Path(self.state)
        outcome = Search(
            problem, grammar, config, domain, seeds=seeds, predicate=self.predicate, state_file=state
        ).run()
        self.stability_ = [1.0] * len(outcome.front)
        return outcome.front, outcome.rounded

    def _learn_equations(self, problem: Problem, grammar: Grammar) -> list[Scored]:
        """The front of the other engine."""
        domain = self._domain(problem)
        front = learn_front(self, self._data, grammar.max_constants, lambda t, c: safe(t, c, grammar, domain))
        self.stability_ = [1.0] * len(front)
        return front

    def _domain(self, problem: Problem) -> Domain | None:
        """Where a formula must have values, and over one variable no pole: among the points and between them."""
        return Domain.between(problem.x) if self.safe else None

    def _choose(self, rounded: list[Scored], data: Data) -> Scored:
        """The simplest exact formula, or else the one that describes the data at the least length (in nats).

        Formulas in round numbers (``rounded``) compete with the front. One with as many constants as rows is not exact.
        """
        size = data.mean(data.y**2)
        exact = [s for s in self.front_ if s.mse <= 1e-16 * size and math.isfinite(s.mae_cv)]
        if exact or not rounded:
            return exact[0] if exact else self.front_[select(self.front_)]
        return min((*self.front_, *rounded), key=lambda s: description_length(s, data))

    @property
    def equations_(self) -> list[dict[str, Any]]:
        """The front as one dict a formula, for a table: complexity, errors, criteria, text, LaTeX, which is chosen."""
        self._fitted()
        return [
            {
                "complexity": s.complexity, "n_constants": len(s.constants), "rmse": math.sqrt(s.mse), "mae": s.mae,
                "mae_cv": s.mae_cv, "bic": s.bic, "description_length": s.description_length,
                "formula": to_infix(s.expression, s.constants, 6), "latex": to_latex(s.expression, s.constants),
                "chosen": s == self.best_,
            }
            for s in self.front_
        ]  # fmt: skip

    def covariance(self, index: int | None = None) -> Floats:
        """Covariance [constant, constant] of the chosen formula's constants, or of ``front_[index]``'s; NaN where rows
        are too few.
        """
        return covariance(self._fitted(index), self._data)

    def averaged(self, X: ArrayLike) -> tuple[Floats, Floats]:
        """Mean and spread [row] of the front's formulas, weighted by the Bayesian information criterion."""
        self._fitted()
        return averaged(self.front_, self._columns(X))

    def predict(self, X: ArrayLike, index: int | None = None, groups: ArrayLike | None = None) -> Floats:
        """Values [row] of the chosen formula, or of ``front_[index]``; NaN outside its domain.

        With ``groups`` [point] the sums or extremes of the groups' points, in the order of their numbers. A data
        frame's columns are taken by name. Raises SelectionError for other columns than the formula was learned from,
        and where the groups are not 0, 1, 2 ... without a gap.
        """
        chosen, env = self._fitted(index), self._columns(X)
        points = len(next(iter(env.values())))
        values = np.broadcast_to(evaluate_numpy(chosen.expression, env, chosen.constants), (points,)).copy()
        if groups is None:
            return values
        row = groups_of(groups, points)
        start = {"sum": 0.0, "min": np.inf, "max": -np.inf}[self.aggregate]
        out = np.full(int(row.max()) + 1, start)
        {"sum": np.add, "min": np.minimum, "max": np.maximum}[self.aggregate].at(out, row, values)
        return out

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> float:
        """Coefficient of determination R^2 of the chosen formula; ``groups`` as in ``predict``."""
        predicted = self.predict(X, groups=groups)
        target = vector_of(y, "y", len(predicted))
        weight = None if sample_weight is None else vector_of(sample_weight, "sample_weight", len(target))
        mean = np.average(target, weights=weight)
        error, spread = (np.average(v**2, weights=weight) for v in (target - predicted, target - mean))
        return 1.0 - float(error / spread)

    def sympy(self, index: int | None = None) -> Any:
        """The chosen formula, or ``front_[index]``, as a sympy expression."""
        chosen = self._fitted(index)
        return to_sympy(chosen.expression, chosen.constants)

    def latex(self, index: int | None = None) -> str:
        """The chosen formula, or ``front_[index]``, in LaTeX."""
        chosen = self._fitted(index)
        return to_latex(chosen.expression, chosen.constants)

    def infix(self, digits: int = 6, index: int | None = None) -> str:
        """The chosen formula, or ``front_[index]``, as Python text."""
        chosen = self._fitted(index)
        return to_infix(chosen.expression, chosen.constants, digits)

    def _fitted(self, index: int | None = None) -> Scored:
        if not hasattr(self, "best_"):
            raise not_fitted("this regressor is not fitted yet; call fit first")
        if index is None:
            return self.best_
        if not -len(self.front_) <= index < len(self.front_):
            raise UsageError(f"the front has {len(self.front_)} formulas; there is no number {index}")
        return self.front_[index]

    def _columns(self, X: ArrayLike) -> dict[str, Floats]:
        """The variables' values [row] by name."""
        x = self._known_columns.select(X)
        return {name: x[:, i] for i, name in enumerate(self.variables_)}
