"""Formulas of phi, rho and F from the SEGVAE search, each for the spline potential's own function.

What an error of one function costs, the two others as they are, is part of the quadratic form: a regression whose rows
are sums over points. Potentials are then put together from the three fronts.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import torch

from defectdb.engine.equation_learner.least_squares import minimise
from defectdb.engine.equation_learner.networks import Built
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.search.search import Search
from defectdb.engine.settings import SearchConfig
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, n_constants
from defectdb.learn.potential.fitting.metric import Metric, MetricObjective
from defectdb.learn.potential.fitting.spline_eam import SplineEam
from defectdb.learn.potential.physics.potential import ROLES, VARIABLE, Formula, Potential, Window

_OPERATORS = ("add", "sub", "mul", "div", "pow", "neg", "inv", "square", "sqrt", "exp", "log")
_KEPT = 6  # formulas of every part that are put together


def segvae_potentials(
    metric: Metric, spline: SplineEam, window: Window, max_constants: int, seconds: float, seed: int
) -> list[tuple[Potential, float]]:
    """Potentials of up to ``max_constants`` constants with their loss in the quadratic form, lowest first.

    ``seconds``: of all three searches together.
    """
    began = time.monotonic()
    values = [
        spline.pair_term(metric.distances)[0], spline.density(metric.distances)[0], spline.embedded(metric.densities)[0]
    ]  # fmt: skip
    fronts = [
        _front(metric, values, which, max(1.0, (began + seconds - time.monotonic()) / (3 - which)), seed)
        for which in range(3)
    ]
    found = []
    for parts in itertools.product(*fronts):
        if sum(n_constants(part.expression) for part in parts) > max_constants:
            continue
        functions = tuple(
            Built(p.expression, np.array(p.constants), np.zeros(len(p.constants), dtype=np.bool_))
            for p in parts
        )
        start = np.concatenate([*(f.start for f in functions), np.ones(1)])
        end = minimise(MetricObjective(metric, functions), start, iterations=15, tolerance=1e-4)
        if np.isfinite(end.loss):
            formulas = [Formula(p.expression, tuple(p.constants)) for p in parts]
            potential = Potential(formulas[0], formulas[1], formulas[2], window)
            found.append((potential.with_constants(end.constants[:-1]), end.loss))
    return sorted(found, key=lambda pair: pair[1])


def _front(metric: Metric, values: list[Floats], which: int, seconds: float, seed: int) -> list[Scored]:
    """Formulas of one part, best of every length first by what they cost."""
    k = len(metric.distances)
    blocks = [slice(0, k), slice(k, 2 * k), slice(2 * k, None)]
    others = np.concatenate([v if i != which else np.zeros_like(v) for i, v in enumerate(values)])
    role = ROLES[which]
    points = metric.densities if which == 2 else metric.distances
    factor = np.ones_like(points) if which == 2 else metric.window
    problem = Problem.of(
        torch.tensor(points), torch.tensor(metric.target - metric.rows @ others),
        mixing=torch.tensor(metric.rows[:, blocks[which]] * factor), offset=False, max_terms=1 if which == 1 else 2,
    )  # fmt: skip
    grammar = Grammar(
        variables=(VARIABLE[role],), operators=_OPERATORS, numbers=(1, 2), max_length=10, max_constants=3
    )
    config = SearchConfig(
        seed=seed, generations=8, time_limit=seconds, population=600, exhaustive_size=6, exhaustive_limit=3000,
        sparse_size=4, max_complexity=12, algebra=False, starts=3, seed_starts=3,
    )  # fmt: skip
    outcome = Search(problem, grammar, config, predicate=_from_zero if which == 2 else None).run()
    return sorted(outcome.front, key=lambda s: s.loss)[:_KEPT]


def _from_zero(tree: Expression) -> bool:
    """Whether a skeleton may be an embedding: nothing at no density, with any constants."""
    here = {VARIABLE["F"]: np.array([1e-12])}
    start = evaluate_numpy(tree, here, [0.7] * n_constants(tree))
    return bool(np.isfinite(start).all() and np.abs(start).max() < 1e-4)
