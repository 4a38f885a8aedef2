"""Laws in whole numbers are found under noise, as pairs of small functions that nothing is fitted in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectdb.engine import SymbolicRegressor
from defectdb.engine.finishing.numbers_only import without_constants
from defectdb.engine.grammar.decoding import grammar_masks
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.seeds.round_number_pairs import nearest_pairs
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_prefix

X = np.random.default_rng(5).uniform(0.1, 2.0, 20)
NOISE = np.random.default_rng(6).standard_normal(20)
GRAMMAR = Grammar(
    variables=("x",), operators=("add", "sub", "mul", "div", "neg", "square", "cube", "exp", "log", "sin", "cos"),
    numbers=(1, 2),
)  # fmt: skip
LAWS = {
    "sin(x**2)*cos(x) - 1": lambda x: np.sin(x**2) * np.cos(x) - 1,
    "x**3 + x**2 + x": lambda x: x**3 + x**2 + x,
    "exp(x)/(1 + x**2)": lambda x: np.exp(x) / (1 + x**2),
}


def problem_of(y: np.ndarray) -> Problem:
    return Problem.of(torch.from_numpy(X), torch.from_numpy(y))


@pytest.mark.parametrize("law", LAWS)
def test_the_law_is_among_the_pairs_that_lie_near_it(law: str) -> None:
    truth = LAWS[law](X)
    problem = problem_of(truth + 0.03 * np.sqrt(np.mean(truth**2)) * NOISE)
    tokens = nearest_pairs(problem, GRAMMAR)
    assert bool(grammar_masks(tokens, GRAMMAR)[1].all())
    clean = without_constants(tokens, GRAMMAR, problem_of(truth))
    assert float(clean.fit.sse.min()) < 1e-20


def test_errors_of_formulas_as_they_stand_are_those_of_numpy() -> None:
    y = LAWS["exp(x)/(1 + x**2)"](X) + 0.1 * NOISE
    problem = problem_of(y)
    found = without_constants(nearest_pairs(problem, GRAMMAR), GRAMMAR, problem).best(20, 15)
    assert len(found) > 50
    for row, sse in zip(found.tokens.tolist(), found.fit.sse.tolist(), strict=True):
        values = evaluate_numpy(from_prefix(GRAMMAR.decode(row)), {"x": X}, ())
        assert sse == pytest.approx(float(np.sum((y - values) ** 2)), rel=1e-9)


def test_sums_over_points_have_no_pairs() -> None:
    problem = Problem.of(
        torch.from_numpy(X), torch.ones(10, dtype=torch.float64), mixing=torch.ones(10, 20).double()
    )
    assert not len(nearest_pairs(problem, GRAMMAR))


def test_under_noise_the_law_in_whole_numbers_is_chosen() -> None:
    truth = LAWS["x**3 + x**2 + x"](X)
    model = SymbolicRegressor(
        generations=1, population=300, operators=GRAMMAR.operators, exhaustive_limit=3000
    )
    model.fit(X, truth + 0.02 * np.sqrt(np.mean(truth**2)) * NOISE)
    fresh = np.linspace(0.1, 3.0, 50)
    assert model.best_.constants == ()
    assert np.allclose(model.predict(fresh), LAWS["x**3 + x**2 + x"](fresh))
    assert model.best_ in model.rounded_
