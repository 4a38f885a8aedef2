"""Values, sympy expressions and LaTeX of trees, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from defectdb.errors import ExpressionError
from defectdb.expressions.evaluation import evaluate_numpy, to_latex, to_sympy
from defectdb.expressions.expression import from_prefix


def tree(text: str):
    return from_prefix(text.split())


def test_values_are_those_of_a_hand_calculation() -> None:
    r = np.array([1.0, 2.5])
    values = evaluate_numpy(tree("add mul c0 exp neg r inv square r"), {"r": r}, (3.0,))
    np.testing.assert_allclose(values, 3 * np.exp(-r) + 1 / r**2, rtol=1e-15)


@pytest.mark.parametrize("text", ["log neg r", "sqrt neg r", "log sub r r", "pow neg r 0.5"])
def test_outside_the_domain_values_are_nan_without_a_warning(text: str) -> None:
    assert np.isnan(evaluate_numpy(tree(text), {"r": np.array([1.0, 2.0])})).all()


def test_a_constant_formula_has_the_shape_of_its_variables() -> None:
    assert evaluate_numpy(tree("add 1 2"), {"r": np.zeros((2, 3))}).tolist() == [[3.0] * 3] * 2


def test_a_variable_that_is_not_given_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="variable 'dz' is not given; given: r"):
        evaluate_numpy(tree("mul r dz"), {"r": np.array([1.0])})


@pytest.mark.parametrize(
    ("text", "constants", "latex"),
    [
        ("mul c0 exp neg r", (0.123456789,), r"0.12346 e^{- r}"),
        ("div c0 pow add r c1 3", (2.0, 0.5), r"\frac{2}{\left(r + 0.5\right)^{3}}"),
        ("mul mul c0 c1 r", (1.23456789, 9.87654321), r"12.193 r"),
        ("sub r12 mul dz23 dz", (), r"- \Delta z \Delta z_{23} + r_{12}"),
        ("abs sub r c0", (3.0,), r"\left|{r - 3}\right|"),
        ("square cos r", (), r"\cos^{2}{\left(r \right)}"),
    ],
)
def test_latex_is_typeset_with_rounded_constants(text: str, constants, latex: str) -> None:
    assert to_latex(tree(text), constants) == latex


def test_sympy_keeps_the_constants_exactly_unless_told_to_round() -> None:
    [symbol] = to_sympy(tree("mul c0 r"), (math.pi,)).free_symbols
    assert float(to_sympy(tree("mul c0 r"), (math.pi,)).subs(symbol, 1)) == math.pi
    assert float(to_sympy(tree("mul c0 r"), (math.pi,), digits=3).subs(symbol, 1)) == pytest.approx(3.14)
