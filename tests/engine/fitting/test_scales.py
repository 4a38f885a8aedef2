"""Laws are found in whatever units variable and values are: constants are of the size that their place asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectdb.engine import SymbolicRegressor
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.fitting.scales import MAX_CONSTANT, Scales, fastest
from defectdb.engine.fitting.variable_projection import errors
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build

GRAMMAR = Grammar(
    variables=("r",), operators=("add", "sub", "mul", "div", "exp", "cos", "inv", "square", "pow")
)
R = torch.linspace(2.0, 9.0, 25, dtype=torch.float64)


def tokens_of(text: str) -> torch.Tensor:
    return torch.tensor([GRAMMAR.encode(text.split())])


@pytest.mark.parametrize(
    ("text", "theta", "x"),
    [
        ("exp mul c r", -1.3e3, torch.linspace(0, 0.004, 30)),
        ("cos mul c r", 80.0, torch.linspace(0, 1, 200)),
        ("cos mul c r", 1900.0, torch.linspace(0, 1, 1000)),
        ("exp mul c square r", -0.3e20, R * 1e-10),
    ],
)
def test_true_constants_that_the_points_resolve_are_allowed(text: str, theta: float, x: torch.Tensor) -> None:
    programs = build(tokens_of(text), GRAMMAR, max_terms=3)
    truth = torch.full((1, 1, 1), theta, dtype=torch.float64)
    y = programs.values(x.double()[None], truth)[programs.terms[0, 0], 0]
    assert float(errors(programs, Problem.of(x, 2 * y + 1), truth)) < 1e-20


def test_what_the_points_cannot_tell_is_refused_as_before() -> None:
    programs = build(tokens_of("cos mul c r"), GRAMMAR, max_terms=3)
    found = errors(programs, Problem.of(R, torch.cos(R)), torch.tensor([[[61.0], [59.0]]]).double())
    assert torch.isfinite(found).tolist() == [[False, True]]


@pytest.mark.parametrize("unit", [1e-10, 1e-3, 1e2, 1e6])
@pytest.mark.parametrize(
    ("text", "powers"),
    [
        ("exp mul c r", [-1]),
        ("exp mul c square r", [-2]),
        ("cos div r c", [1]),
        ("inv add c r", [1]),
        ("div r sub square r c", [2]),
        ("div 1 add 1 mul c r", [-1]),
        ("mul exp mul c r cos add mul c r c", [-1, -1, 0]),
        ("exp mul c cos mul c r", [0, -1]),
        ("pow r c", [0]),
        ("square sub r c", [1]),
        ("exp div c mul r r", [2]),
    ],
)
def test_constants_are_expected_in_powers_of_the_variables_unit(
    text: str, powers: list[int], unit: float
) -> None:
    programs = build(tokens_of(text), GRAMMAR, max_terms=3)
    found = Scales.of(programs, Problem.of(5 * unit * R / 9.0, R)).constants
    expected = torch.tensor([unit**power for power in powers], dtype=torch.float64)
    torch.testing.assert_close(found[0, 0], expected, rtol=1e-9, atol=0.0)


def test_usual_variables_have_usual_constants() -> None:
    programs = build(tokens_of("exp mul c r"), GRAMMAR, max_terms=3)
    scales = Scales.of(programs, Problem.of(R, torch.cos(R)))
    assert float(scales.largest) == MAX_CONSTANT
    assert float(scales.constants) == float(scales.terms) == 1.0


def test_the_fastest_frequency_follows_the_unit_and_not_repeated_points() -> None:
    twice = torch.cat([R, R])
    for unit in (1e-12, 1.0, 1e9):
        found = fastest(Problem.of(unit * twice, torch.cos(twice)))
        assert float(found[0]) * unit == pytest.approx(float(np.pi / (R[1] - R[0])), rel=1e-9)


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1.0, 1e3, 1e10])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize(
    ("text", "theta"),
    [
        ("mul exp mul c r cos mul c r", (-0.5, 2.2)),
        ("exp mul c square r", (-0.11,)),
        ("inv add c square sub r c", (1.7, 4.9)),
    ],
)
def test_a_fit_finds_its_constants_in_any_unit(
    text: str, theta: tuple[float, ...], unit: float, size: float
) -> None:
    programs = build(tokens_of(text), GRAMMAR, max_terms=3)
    values = programs.values(R[None], torch.tensor([[theta]]).double())[programs.terms[0, 0], 0]
    problem = Problem.of(unit * R, size * (0.4 + values))
    rows = tokens_of(text).repeat(20, 1)
    found = fit(rows, GRAMMAR, problem, torch.Generator().manual_seed(0), starts=8, iterations=(10, 60))
    exact = found.sse < 1e-16 * problem.y.square().sum()
    assert float(exact.double().mean()) > 0.7


LAWS = {
    "gauss": lambda r: 1.3 * np.exp(-0.11 * r * r) + 0.21,
    "decay": lambda r: 1.3 * np.exp(-0.47 * r) + 0.21 * r,
}


@pytest.mark.parametrize(
    ("law", "unit", "size"),
    [
        ("gauss", 1.0, 1.0), ("gauss", 1e-10, 1.0), ("gauss", 1e2, 1.0), ("gauss", 1.0, 1e-9),
        ("gauss", 1.0, 1e9), ("decay", 1e-10, 1.0), ("decay", 1e2, 1e-9),
    ],
)  # fmt: skip
def test_a_law_is_found_in_any_unit(law: str, unit: float, size: float) -> None:
    r, between = np.linspace(1.0, 7.0, 25), np.linspace(1.1, 6.9, 40)
    model = SymbolicRegressor(
        operators=("add", "mul", "exp", "cos", "square"), max_tokens=15, generations=0, exhaustive_limit=1000
    )
    model.fit(unit * r, size * LAWS[law](r))
    assert np.allclose(model.predict(unit * between) / size, LAWS[law](between), rtol=1e-9)
