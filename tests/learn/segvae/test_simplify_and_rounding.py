"""Formulas keep their values when they are simplified, and become exact when their constants are round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from random_formulas import formulas

from defectdb.learn.segvae.front import Scored
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.problem import Problem
from defectdb.learn.segvae.rounding import Data, plainest, round_numbers
from defectdb.learn.segvae.simplify import simplify
from defectdb.schema.engines import evaluate_numpy
from defectdb.schema.expression import complexity, from_prefix, to_prefix

R = np.linspace(0.7, 4.3, 23)


@settings(max_examples=300, deadline=None)
@given(formulas())
def test_a_simplified_formula_has_the_same_values_and_no_more_tokens(formula):
    expression, constants = formula
    env = {"r": R, "dz": R[::-1].copy()}
    before = np.broadcast_to(evaluate_numpy(expression, env, constants), R.shape)
    assume(np.isfinite(before).all() and np.abs(before).max() < 1e8)
    simple, kept = simplify(expression, constants)
    after = np.broadcast_to(evaluate_numpy(simple, env, kept), R.shape)
    assert complexity(simple) <= complexity(expression)
    finite = np.isfinite(after)
    assert np.allclose(after[finite], before[finite], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("prefix", "constants", "simple"),
    [
        ("neg neg r", (), "r"),
        ("mul c0 neg r", (2.0,), "mul c0 r"),
        ("mul c0 inv r", (2.0,), "div c0 r"),
        ("div c0 inv r", (2.0,), "mul c0 r"),
        ("add c0 neg r", (2.0,), "sub c0 r"),
        ("mul c0 square mul c1 r", (2.0, 3.0), "mul c0 square r"),
        ("mul c0 cube div c1 r", (2.0, 3.0), "div c0 cube r"),
        ("mul c0 exp add c1 r", (2.0, 1.0), "mul c0 exp r"),
        ("mul c0 exp sub c1 r", (2.0, 1.0), "mul c0 exp neg r"),
        ("cos neg r", (), "cos r"),
        ("square sub 1 r", (), "square sub r 1"),
        ("add r exp c0", (0.5,), "add c0 r"),
        ("mul r 1", (), "r"),
        ("log exp r", (), "r"),
        ("div r inv r", (), "mul r r"),
    ],
)
def test_rules_resolve_signs_inverses_and_constants(prefix, constants, simple):
    expression, _ = simplify(from_prefix(prefix.split()), constants)
    assert " ".join(to_prefix(expression)) == simple


def scored(prefix: str, constants: tuple[float, ...], y: np.ndarray) -> Scored:
    expression = from_prefix(prefix.split())
    error = y - evaluate_numpy(expression, {"r": R}, constants)
    mse, mae = float(np.mean(error**2)), float(np.mean(np.abs(error)))
    return Scored(expression, constants, complexity(expression), mse, mae, mae, mae, 0.0, ())


def test_fitted_constants_become_the_round_numbers_that_made_the_data():
    y = 2 * np.cos(3 * R) / R**2 - 0.5
    data = Data({"r": R}, y, np.ones_like(R), None)
    fitted = (-0.5 + 1e-9, 2 - 1e-8, 3 + 1e-10)
    expression, constants = round_numbers(
        from_prefix(["add", "c0", "mul", "c1", "div", "cos", "mul", "c2", "r", "square", "r"]),
        fitted,
        data,
        1e-20,
        Grammar(),
    )
    assert " ".join(to_prefix(expression)) == "add -0.5 mul 2 div cos mul 3 r square r"
    assert constants == ()


def test_constants_that_are_not_round_stay_as_they_were_fitted():
    y = 1.9 * np.exp(-0.8123 * R)
    data = Data({"r": R}, y, np.ones_like(R), None)
    expression, constants = round_numbers(
        from_prefix(["mul", "c0", "exp", "mul", "c1", "r"]), (1.9, -0.8123), data, 1e-20, Grammar()
    )
    assert constants == (1.9, -0.8123)
    assert " ".join(to_prefix(expression)) == "mul c0 exp mul c1 r"


def test_constants_that_carry_a_unit_are_not_rounded():
    y = 2 * np.exp(-R / 2) * np.cos(3 * R + 1)
    data = Data({"r": R}, y, np.ones_like(R), None)
    form = from_prefix(["mul", "exp", "mul", "c0", "r", "cos", "add", "mul", "c1", "r", "c2"])
    whole = from_prefix(["mul", "c3", *to_prefix(form)])
    expression, constants = round_numbers(whole, (-0.5, 3.0, 1.0, 2.0), data, 1e-20, Grammar(units=((1.0,),)))
    assert " ".join(to_prefix(expression)) == "mul 2 mul exp mul c0 r cos add mul c1 r 1"
    assert constants == (-0.5, 3.0)


def test_a_front_loses_the_formulas_that_a_rounded_one_surpasses():
    y = R**3 + R**2 + R
    front = [
        scored("mul c0 cube r", (1.3,), y),
        scored("add mul c0 cube r mul c1 square r", (0.98, 1.4), y),
        scored("add add mul c0 cube r mul c1 square r mul c2 r", (1.0, 1.0, 1.0), y),
    ]
    problem = Problem.of(torch.from_numpy(R), torch.from_numpy(y))
    plain = plainest(front, problem, Grammar(), None)
    assert " ".join(to_prefix(plain[-1].expression)) == "add add cube r square r r"
    assert plain[-1].mse < 1e-20
    assert [s.complexity for s in plain] == sorted({s.complexity for s in plain})
