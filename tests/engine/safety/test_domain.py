"""Formulas with poles, spikes and swings are refused wherever these stand; quiet ones pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.fitted_values import in_domain, predict
from defectdb.expressions.expression import from_prefix

X = torch.tensor([2.4, 4.0, 5.1, 6.8, 7.5, 8.2, 9.3, 11.3, 13.0, 14.8], dtype=torch.float64)
Y = torch.exp(-0.5 * X) * torch.cos(0.7 * X)
GRAMMAR = Grammar(max_length=12)


def verdict(values, **options) -> bool:
    """Whether a function of r passes the domain of the data."""
    domain = Domain.of(X, Y, **options)
    return bool(domain.holds(values(domain.grid[0]).unsqueeze(0)))


def law(r):
    return torch.exp(-0.5 * r) * torch.cos(0.7 * r)


def test_the_law_itself_passes():
    assert verdict(law)
    assert verdict(law, cutoff=30.0)
    assert verdict(law, cutoff=30.0, decay=True)


@pytest.mark.parametrize(
    "text", ["inv sub r c0", "inv square sub c0 r", "div r mul r sub r c0", "div r abs sub r c0"]
)
@pytest.mark.parametrize("pole", [3.2, 4.55, 7.8, 10.0, 12.0, 14.0, 22.123])
@pytest.mark.parametrize("strength", [1e-2, 1e-5, 1e-9])
def test_a_pole_between_the_points_is_refused_however_weak_it_is(text, pole, strength):
    grammar = Grammar(operators=("sub", "mul", "div", "inv", "square", "abs"), max_length=8)
    rows = torch.tensor([grammar.encode(text.split())] * 2)
    theta = torch.tensor([[pole], [-pole]], dtype=torch.float64)
    beta = torch.tensor([[strength, 0.0, 0.0, 0.0]] * 2, dtype=torch.float64)
    fit = Fit(theta, beta, torch.ones(2, dtype=torch.float64))
    domain = Domain.of(X, Y, cutoff=30.0)
    assert in_domain(rows, grammar, fit, Problem.of(X, Y), domain).tolist() == [False, True]


@pytest.mark.parametrize("point", [2.4, 4.0, 8.2, 13.0])
@pytest.mark.parametrize("beside", [0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.03])
def test_a_pole_beside_a_data_point_is_refused_however_narrow_it_is(point, beside):
    strength = 0.05 * max(beside, 1e-6)  # it lends its value to the data point, and to nothing else
    assert not verdict(lambda r: law(r) + strength / (r - point - beside))


@pytest.mark.parametrize("width", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
def test_a_spike_on_a_data_point_is_refused_however_narrow_it_is(width):
    assert not verdict(lambda r: law(r) + 0.1 * torch.exp(-(((r - 8.2) / width) ** 2)))


def test_a_swing_between_the_points_is_refused():
    assert not verdict(lambda r: law(r) + 0.2 * torch.sin(12 * r))


@pytest.mark.parametrize(
    ("text", "constants", "safe"),
    [
        (
            "add mul c0 inv r mul c1 inv sub r c2",
            (0.1, 1e-9, 10.0),
            False,
        ),  # far too weak to be seen in the values
        ("add mul c0 inv r mul c1 inv sub r c2", (0.1, 1e-9, -10.0), True),
        ("add mul c0 inv r mul c1 log square sub r c2", (0.1, 1e-9, 10.0), False),
        ("mul c0 inv r", (0.1, 0.0, 0.0), True),
        ("div 1 2", (), True),  # nothing divides by a number but zero
    ],
)
def test_one_formula_is_judged_as_a_batch_is(text, constants, safe):
    domain = Domain.of(X, 0.1 / X, cutoff=30.0)
    tree = from_prefix(text.split())
    low, high = replace(domain, low=-1.0, high=1.0), replace(domain, low=-1.0, high=1.0, one_sign=True)
    assert low.permits(tree, constants, ("r",)) is safe
    assert high.permits(tree, constants, ("r",)) is safe


def test_the_order_of_rows_changes_nothing():
    x = torch.tensor([3.0, 3.0, 3.0, 4.0, 5.0, 6.0, 7.0], dtype=torch.float64)
    y = torch.tensor([0.0, 0.5, 1.0, 0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    found = set()
    for order in ([0, 1, 2], [0, 2, 1], [2, 0, 1]):
        rows = torch.tensor([*order, 3, 4, 5, 6])
        domain = Domain.of(x[rows], y[rows])
        assert domain.resolution is not None
        found.add(domain.resolution.noise)
    assert found == {1.0}


@pytest.mark.parametrize("shift", [-20.0, -8.0, 0.0])
def test_variables_may_be_negative(shift):
    domain = Domain.of(X + shift, Y)
    r = domain.grid[0]
    assert bool((r.diff() >= 0).all())
    assert bool(domain.holds(law(r - shift).unsqueeze(0)))
    assert not bool(domain.holds((law(r - shift) + 5e-7 / (r - shift - 8.2 - 1e-6)).unsqueeze(0)))


def test_values_without_a_number_are_refused():
    assert not verdict(lambda r: torch.sqrt(r - 3.0))
    assert not verdict(lambda r: torch.where(r > 20, torch.nan, law(r)), cutoff=30.0)
    assert verdict(lambda r: torch.where(r > 20, torch.nan, law(r)))


def test_decay_demands_that_nothing_is_left_at_the_cutoff():
    assert verdict(lambda r: law(r) + 0.02, cutoff=30.0)
    assert not verdict(lambda r: law(r) + 0.02, cutoff=30.0, decay=True)


def test_equal_distances_with_different_values_make_no_infinite_slope():
    x, y = torch.cat([X, X[-2:]]), torch.cat([Y, Y[-2:] + 0.001])
    domain = Domain.of(x, y)
    assert math.isfinite(domain.roughness)
    assert bool(domain.holds(law(domain.grid[0]).unsqueeze(0)))


def test_constant_values_still_give_a_domain():
    domain = Domain.of(X, torch.full_like(X, 0.3))
    assert bool(domain.holds(torch.full_like(domain.grid, 0.3)))


def test_a_batch_is_judged_formula_by_formula():
    rows = torch.tensor([GRAMMAR.encode(t.split()) for t in ("inv r", "inv sub r c0", "inv sub r c0")])
    theta = torch.tensor([[0.0], [7.0], [-7.0]], dtype=torch.float64)
    beta = torch.tensor([[0.1, 0.0, 0.0, 0.0]] * 3, dtype=torch.float64)
    fit = Fit(theta, beta, torch.tensor([1.0, 1.0, torch.inf], dtype=torch.float64))
    problem = Problem.of(X, Y)
    assert in_domain(rows, GRAMMAR, fit, problem, Domain.of(X, Y)).tolist() == [True, False, False]
    values = predict(rows, GRAMMAR, fit, X.unsqueeze(0), problem)
    assert torch.allclose(values[1], 0.1 / (X - 7.0))


@pytest.mark.parametrize(
    ("text", "zero", "kept"), [("log square sub r c0", 9.0, -9.0), ("log abs sub r c0", 6.1, -6.1)]
)
def test_a_logarithm_of_what_passes_zero_is_refused_however_weak_it_is(text, zero, kept):
    grammar = Grammar(operators=("sub", "log", "square", "abs"), max_length=8)
    rows = torch.tensor([grammar.encode(text.split())] * 2)
    theta = torch.tensor([[zero], [kept]], dtype=torch.float64)
    beta = torch.tensor([[1e-4, 0.0, 0.0, 0.0]] * 2, dtype=torch.float64)
    fit = Fit(theta, beta, torch.ones(2, dtype=torch.float64))
    domain = Domain.of(X, Y, cutoff=30.0)
    assert in_domain(rows, grammar, fit, Problem.of(X, Y), domain).tolist() == [False, True]


@pytest.mark.parametrize("steepness", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("frequency", [20.0, 33.0])
def test_a_ripple_on_a_slope_is_refused_where_it_never_turns(steepness, frequency):
    slope = -steepness / X**2
    domain = Domain.of(X, slope, cutoff=30.0)
    r = domain.grid[0]
    ripple = 0.02 * steepness / frequency * torch.cos(frequency * r)
    assert bool(domain.holds((-steepness / r**2).unsqueeze(0)))
    assert not bool(domain.holds((-steepness / r**2 + ripple).unsqueeze(0)))


def test_three_body_formulas_have_no_denominator_of_both_signs():
    grammar = Grammar(variables=("r12", "r13"), operators=("sub", "inv", "add"), max_length=8)
    rows = torch.tensor([grammar.encode(t.split()) for t in ("inv sub r12 r13", "inv add r12 r13")])
    x = torch.stack([X, X.flip(0)])
    fit = Fit(
        torch.zeros(2, 0, dtype=torch.float64),
        torch.tensor([[1e-3, 0.0, 0.0, 0.0]] * 2, dtype=torch.float64),
        torch.ones(2, dtype=torch.float64),
    )
    domain = Domain(x, 0, -9.0, 9.0, math.inf, one_sign=True)
    assert in_domain(rows, grammar, fit, Problem.of(x, Y), domain).tolist() == [False, True]
