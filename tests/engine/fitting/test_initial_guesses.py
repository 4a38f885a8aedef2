"""First guesses know whether a constant is a place, a length, a frequency or a rate."""

from __future__ import annotations

import math

import pytest
import torch

from defectdb.engine.fitting.initial_guesses import starts_of
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem

GRAMMAR = Grammar(variables=("r", "s"))
R = torch.linspace(3.0, 9.0, 13, dtype=torch.float64)  # steps of 1/2
PROBLEM = Problem.of(torch.stack([R, 100 + R]), torch.cos(R))


def guesses(text: str, count: int = 4000, problem: Problem = PROBLEM) -> torch.Tensor:
    """Guesses [start, k] for one formula."""
    rows = torch.tensor([GRAMMAR.encode(text.split())])
    generator = torch.Generator().manual_seed(2)
    return starts_of(rows, text.split().count("c"), GRAMMAR, problem, count, generator)[0]


def share_within(values: torch.Tensor, low: float, high: float) -> float:
    return float(((values >= low) & (values <= high)).double().mean())


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("square add c r", -9.9, -2.1),  # the range of r, a little more on both sides
        ("square add c s", -109.9, -102.1),
        ("sin div c r", 0.9, 22.5),
        ("cos mul c r", math.pi / 12, 2 * math.pi),  # half a period over all points to one over two steps
        ("sin add s mul c r", math.pi / 12, 2 * math.pi),
        ("exp mul c r", -10 / 6, 0.0),
    ],
)
def test_most_guesses_lie_where_such_a_constant_can(text: str, low: float, high: float) -> None:
    values = guesses(text)[:, 0]
    assert share_within(values, low, high) > 0.55
    assert share_within(values, low, high) < 1.0  # the others are sizes of any kind


@pytest.mark.parametrize(
    ("text", "sign"), [("add c r", -1), ("add r c", -1), ("sub c r", 1), ("sub r c", 1), ("sub c s", 1)]
)
def test_most_zeros_of_sums_with_a_variable_lie_within_the_data(text: str, sign: int) -> None:
    zeros = sign * guesses(f"inv {text}")[:, 0]
    first = 100.0 * text.endswith("s")
    assert share_within(zeros, first + 2.1, first + 9.9) > 0.55
    assert share_within(zeros, first + 3.0, first + 9.0) > 0.45


@pytest.mark.parametrize("text", ["cos mul r c", "sin add s mul r c", "cos mul c r"])
def test_a_factor_is_a_frequency_on_either_side(text: str) -> None:
    assert share_within(guesses(text)[:, 0], math.pi / 12, 2 * math.pi) > 0.55


@pytest.mark.parametrize("unit", [1e-10, 1e3])
@pytest.mark.parametrize(
    ("text", "power"),
    [
        ("inv add c r", 1),
        ("sin div c r", 1),
        ("cos mul c r", -1),
        ("exp mul c r", -1),
        ("exp mul c square r", -2),
    ],
)
def test_most_guesses_scale_with_the_variable(text: str, power: int, unit: float) -> None:
    scaled = guesses(text, problem=Problem.of(unit * PROBLEM.x, PROBLEM.y)).abs() / unit**power
    assert share_within(scaled, 0.001, 300.0) > 0.55


def test_a_constant_beside_none_of_these_is_a_size_of_either_sign() -> None:
    values = guesses("tanh mul c exp r")[:, 0]
    assert 0.7 < float((values > 0).double().mean()) < 0.8
    assert float(values.abs().min()) < 0.05
    assert float(values.abs().max()) > 4.0


def test_every_constant_of_a_formula_has_its_own_role() -> None:
    rate, frequency, place = guesses("mul exp mul c r cos add mul c r inv add c r").T
    assert share_within(rate, -10 / 6, 0.0) > 0.55
    assert share_within(frequency, math.pi / 12, 2 * math.pi) > 0.55
    assert share_within(place, -9.9, -2.1) > 0.55


def test_eight_starts_mostly_find_a_damped_oscillation() -> None:
    kernels = Grammar(variables=("r",))
    x = torch.linspace(1.0, 7.0, 25, dtype=torch.float64)
    problem = Problem.of(x, torch.exp(-0.5 * x) * torch.cos(2.2 * x))
    rows = torch.tensor([kernels.encode(["mul", "exp", "mul", "c", "r", "cos", "mul", "c", "r"])] * 60)
    found = fit(rows, kernels, problem, torch.Generator().manual_seed(0), starts=8, iterations=(10, 60))
    assert float((found.sse < 1e-12).double().mean()) > 0.8
