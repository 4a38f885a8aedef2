"""Errors of constants against scipy and against repeated draws; description lengths; averages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from defectdb.engine.finishing.numbers_only import round_halves, round_number_formulas
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.uncertainty import averaged, covariance, description_length
from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.expressions.expression import complexity, from_prefix, to_prefix

R = np.linspace(1.0, 6.0, 40)
NOISE = 0.02


def scored(text: str, constants: tuple[float, ...], **errors: float) -> Scored:
    tree = from_prefix(text.split())
    known = {"mse": 0.0, "mae": 0.0, "mae_cv": 0.01, "mae_cv_interior": 0.01, "bic": 0.0} | errors
    return Scored(tree, constants, complexity(tree), skeleton=(), **known)


def data_of(y: np.ndarray) -> Data:
    return Data({"r": R}, y, np.ones_like(y), None)


DECAY = "mul c0 exp mul c1 r"


def decay(r: np.ndarray, a: float, b: float) -> np.ndarray:
    return a * np.exp(b * r)


@pytest.fixture
def noisy() -> np.ndarray:
    return decay(R, 1.5, -0.4) + NOISE * np.random.default_rng(3).standard_normal(len(R))


def test_covariance_is_that_of_scipy(noisy):
    constants, expected = curve_fit(decay, R, noisy, p0=(1.0, -0.3))
    found = covariance(scored(DECAY, tuple(constants)), data_of(noisy))
    assert np.allclose(found, expected, rtol=1e-3)


def test_derivatives_are_those_by_hand():
    slopes = data_of(np.zeros_like(R)).jacobian(scored(DECAY, ()).expression, (1.5, -0.4))
    assert np.allclose(slopes[:, 0], np.exp(-0.4 * R), rtol=1e-6)
    assert np.allclose(slopes[:, 1], 1.5 * R * np.exp(-0.4 * R), rtol=1e-6)


def test_too_few_rows_give_no_covariance():
    few = Data({"r": R[:2]}, np.zeros(2), np.ones(2), None)
    assert np.isnan(covariance(scored(DECAY, (1.5, -0.4)), few)).all()


def test_the_law_is_shorter_than_a_constant_and_than_an_interpolation(noisy):
    constants, _ = curve_fit(decay, R, noisy, p0=(1.0, -0.3))
    law, flat = scored(DECAY, tuple(constants)), scored("add c0 mul 0 r", (float(noisy.mean()),))
    long = scored(f"add {DECAY} mul c2 mul r cos mul c3 r", (*constants, 1e-4, 9.0))
    lengths = [description_length(s, data_of(noisy)) for s in (law, flat, long)]
    assert lengths[0] < min(lengths[1:])


def test_a_description_length_is_that_by_hand():
    """c0 r at r = 1, 2, 3: three tokens of three kinds and a constant of Fisher information 14 / variance."""
    data = Data({"r": np.array([1.0, 2.0, 3.0])}, np.array([2.1, 3.9, 6.0]), np.ones(3), None)
    constant = 28 * 2 / 28 - 0.1 / 14  # least squares: sum of r y = 27.9 over sum of r^2 = 14
    left = (2.1**2 + 3.9**2 + 6.0**2) - 27.9**2 / 14  # 0.01928...
    fisher = 14 / (left / 2)
    by_hand = 1.5 * math.log(left / 3) + 3 * math.log(3)
    by_hand += 0.5 * math.log(fisher) + math.log(27.9 / 14) - 0.5 * math.log(3)
    assert constant == pytest.approx(27.9 / 14)
    assert description_length(scored("mul c0 r", (constant,)), data) == pytest.approx(by_hand, rel=1e-6)


def test_a_constant_that_cannot_be_told_from_zero_takes_nothing_and_earns_nothing(noisy):
    """Its standard error is a hundred times its size; tokens and loss are those of the formula beside it."""
    steep = scored("add mul 2 r mul c0 r", (1e-6,))
    none = scored("add mul 2 r mul 0 r", ())  # the number 0 takes log(1 + 0) nats
    y = 2 * R + (noisy - noisy.mean())
    difference = description_length(steep, data_of(y)) - description_length(none, data_of(y))
    assert difference == pytest.approx(0.0, abs=1e-3)


def test_rows_of_no_weight_change_neither_lengths_nor_errors(noisy):
    constants, _ = curve_fit(decay, R, noisy, p0=(1.0, -0.3))
    law = scored(DECAY, tuple(constants))
    r, y = np.append(R, np.linspace(7, 50, 90)), np.append(noisy, np.full(90, 5.0))
    more = Data({"r": r}, y, np.append(np.ones(40), np.zeros(90)), None)
    assert description_length(law, more) == pytest.approx(description_length(law, data_of(noisy)))
    assert np.allclose(covariance(law, more), covariance(law, data_of(noisy)))


def test_a_formula_without_values_is_infinitely_long():
    assert description_length(scored("log neg r", ()), data_of(R)) == math.inf


def test_the_average_follows_the_criterion():
    front = [scored("r", (), bic=0.0), scored("neg r", (), bic=80.0), scored("mul 2 r", (), bic=0.0)]
    mean, spread = averaged(front, {"r": np.array([2.0, 4.0])})
    assert mean == pytest.approx([3.0, 6.0])
    assert spread == pytest.approx([1.0, 2.0])


def test_formulas_without_values_do_not_count_in_the_average():
    front = [scored("r", ()), scored("log neg r", ())]
    assert averaged(front, {"r": np.array([2.0])})[0] == pytest.approx([2.0])


def test_rounded_formulas_have_no_constants_and_the_errors_that_they_are_said_to_have():
    grammar = Grammar(max_length=9)
    x = torch.tensor(R)
    problem = Problem.of(x, 2 * torch.cos(x) - x + 1)
    row = torch.tensor([grammar.encode(["add", "cos", "mul", "c0", "r", "r"])])
    fit = Fit(
        torch.tensor([[1.04]]).double(),
        torch.tensor([[1.9, -1.1, 0.0, 0.8]]).double(),
        torch.ones(1).double(),
    )
    one = torch.ones(1, dtype=torch.long)
    found = round_number_formulas(
        round_halves(Archive(row, fit, one, one, one, one > 1), grammar, problem), grammar, problem
    )
    assert len(found) == 1
    assert not found[0].constants
    assert found[0].mse < 1e-25
    assert "c0" not in to_prefix(found[0].expression)
