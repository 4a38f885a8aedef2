"""Laws seen only through sums, minima and maxima over pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from defectdb.engine import SymbolicRegressor
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.fitting.variable_projection import residuals
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build
from defectdb.errors import SelectionError, UsageError

SIZES = np.array([1, 2, 3, 3, 2, 1, 3, 2, 3, 1, 2, 3] * 3)
GROUPS = np.repeat(np.arange(len(SIZES)), SIZES)
R = np.random.default_rng(3).uniform(2.5, 9.0, len(GROUPS))

LAWS = {
    "Yukawa": (lambda r: 3 * np.exp(-r / 2) / r, ("add", "mul", "div", "neg", "exp")),
    "RKKY": (lambda r: np.cos(2 * r + 1) / r**2, ("add", "mul", "div", "square", "cos")),
    "Morse": (lambda r: (1 - np.exp(-(r - 4))) ** 2, ("add", "sub", "mul", "neg", "square", "exp")),
    "damped cosine": (lambda r: np.exp(-0.4 * r) * np.cos(1.7 * r), ("add", "mul", "neg", "exp", "cos")),
}


def aggregated(values: np.ndarray, how: str) -> np.ndarray:
    parts = np.split(values, np.cumsum(SIZES)[:-1])
    return np.array([{"sum": np.sum, "min": np.min, "max": np.max}[how](part) for part in parts])


@pytest.mark.parametrize("how", ["sum", "min", "max"])
@pytest.mark.parametrize("law", LAWS)
def test_a_law_is_recovered_from_what_its_pairs_add_up_to_or_decide(law: str, how: str) -> None:
    truth, operators = LAWS[law]
    model = SymbolicRegressor(
        operators=operators,
        variables=("r",),
        aggregate=how,
        generations=20,
        population=1500,
        max_tokens=17,
        seed=1,
    ).fit(R, aggregated(truth(R), how), groups=GROUPS)
    fresh = np.linspace(2.5, 9.0, 200)
    expected = truth(fresh)
    # a kernel is known from its sums up to nothing, from extremes alone only where it decides
    seen = expected < np.quantile(expected, 0.4) if how == "min" else expected > np.quantile(expected, 0.6)
    seen |= how == "sum"
    assert np.abs(model.predict(fresh) - expected)[seen].max() < 1e-6 * np.ptp(expected)
    assert np.allclose(model.predict(R, groups=GROUPS), aggregated(truth(R), how), atol=1e-9)
    assert model.score(R, aggregated(truth(R), how), groups=GROUPS) == pytest.approx(1.0)


def test_constants_behind_a_minimum_are_those_of_scipy() -> None:
    r, y = torch.from_numpy(R), aggregated(1.2 + 0.8 * np.cos(1.1 * R) - 0.3 * R / 9, "min")
    y = y + 0.02 * np.random.default_rng(0).standard_normal(len(y))
    table = np.stack(
        [np.nonzero(i == GROUPS)[0][np.minimum(np.arange(3), n - 1)] for i, n in enumerate(SIZES)]
    )
    grammar = Grammar(variables=("r",))
    problem = Problem.of(r, torch.from_numpy(y), groups=torch.from_numpy(table), extreme="min", max_terms=1)
    rows = torch.tensor([grammar.encode(["cos", "mul", "c", "r"])])
    found = fit(rows, grammar, problem, torch.Generator().manual_seed(0), starts=24, iterations=(10, 60))

    def error(theta: np.ndarray) -> np.ndarray:
        return (theta[0] + theta[1] * np.cos(theta[2] * R))[table].min(1) - y

    start = np.array([float(found.beta[0, -1]), float(found.beta[0, 0]), float(found.theta[0, 0])])
    reference = least_squares(error, start, xtol=1e-14, ftol=1e-14)
    assert float(found.sse[0]) <= 2 * reference.cost * (1 + 1e-3)
    program = build(rows, grammar)
    left = residuals(program, problem, found.theta[:, None], found.beta[:, :, None])[0, 0]
    assert np.allclose(left.numpy(), -error(start), atol=1e-9)


def test_an_extreme_is_that_of_its_own_points() -> None:
    table = torch.tensor([[0, 1, 2], [3, 3, 3]])
    problem = Problem.of(torch.arange(4.0), torch.zeros(2), groups=table, extreme="max")
    extreme, points = problem.deciding(torch.tensor([[1.0, 5.0, 2.0, 7.0], [9.0, 5.0, 2.0, -7.0]]))
    assert extreme.tolist() == [[5.0, 7.0], [9.0, -7.0]]
    assert points.tolist() == [[1, 3], [0, 3]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1], "one for every row of X"),
        ([0.0, 1.0, 1.0, 2.0], "whole numbers"),
        ([0, 1, 1, 5], "every group from 0 to 2 needs a row"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: list[float], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        SymbolicRegressor().fit([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0], groups=groups)


def test_an_unknown_aggregate_is_named() -> None:
    with pytest.raises(UsageError, match="unknown aggregate 'mean'; try sum, min, max"):
        SymbolicRegressor(aggregate="mean").fit([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], groups=[0, 1, 2])
