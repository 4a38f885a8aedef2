"""Formulas keep their values when they are simplified, and become exact when their constants are round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from scipy.optimize import least_squares, minimize
from scipy.special import huber
from support.random_formulas import formulas

from defectdb.engine.finishing.nats import nats_of
from defectdb.engine.finishing.numbers_only import (
    round_number_formulas,
    without_coefficients,
    without_constants,
)
from defectdb.engine.finishing.rounding import plainest, rescored, round_numbers
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored, pareto_front
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import complexity, from_prefix, to_prefix

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
        ("pow r 2", (), "square r"),
        ("pow r 0.5", (), "sqrt r"),
        ("pow r 1", (), "r"),
        ("pow r 4", (), "pow r 4"),
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


def robust_data(weight: float) -> Data:
    """Noisy values of 2 exp(-0.6 r) with outliers, every row of this weight."""
    y = 2 * np.exp(-0.6 * R) + 0.01 * np.random.default_rng(4).standard_normal(len(R))
    y[[3, 11, 17]] += [2.0, -3.0, 1.5]
    return Data({"r": R}, y, np.full_like(R, weight), None, huber=0.02)


DECAY = from_prefix(["mul", "c0", "exp", "mul", "c1", "r"])


@pytest.mark.parametrize("weight", [1e-4, 1.0, 100.0])
def test_a_robust_refit_ends_where_scipy_does_whatever_the_weights_are(weight):
    data = robust_data(weight)
    expected = least_squares(
        lambda p: data.y - p[0] * np.exp(p[1] * R), [2.0, -0.6], loss="huber", f_scale=0.02, xtol=1e-15
    )
    constants = data.refit(DECAY, (1.9, -0.55))
    assert constants == pytest.approx(expected.x, rel=2e-4)
    assert data.loss(DECAY, constants) == pytest.approx(2 * weight * expected.cost, rel=1e-6)


def test_weights_count_in_a_robust_refit():
    data = robust_data(1.0)
    data = replace(data, weight=np.where(np.arange(len(R)) % 3 == 1, 20.0, 0.5))

    def loss(p):
        return np.sum(data.weight * 2 * huber(0.02, data.y - p[0] * np.exp(p[1] * R)))

    expected = minimize(loss, [2.0, -0.6], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14})
    even = robust_data(1.0).refit(DECAY, (1.9, -0.55))
    assert abs(even[0] - expected.x[0]) > 1e-2
    assert data.refit(DECAY, (1.9, -0.55)) == pytest.approx(expected.x, rel=1e-4)


def test_rows_of_no_weight_may_hold_anything():
    y = 2 * np.exp(-0.6 * R)
    r, values = np.append(R, -1.0), np.append(y, 1e6)
    data = Data({"r": r}, values, np.append(np.ones_like(R), 0.0), None)
    root = from_prefix(["mul", "c0", "exp", "mul", "c1", "mul", "sqrt", "r", "sqrt", "r"])  # none at -1
    assert data.n_rows == len(R)
    assert data.loss(root, (2.0, -0.6)) == pytest.approx(0.0, abs=1e-25)
    assert data.refit(root, (1.9, -0.55)) == pytest.approx((2.0, -0.6))
    new = rescored(scored("r", (), y), root, (2.0, -0.5), data)
    alone = rescored(scored("r", (), y), root, (2.0, -0.5), Data({"r": R}, y, np.ones_like(R), None))
    assert (new.mse, new.mae, new.bic) == pytest.approx((alone.mse, alone.mae, alone.bic))


def front_of_two(n: int) -> list[Scored]:
    """A short formula of low squared error, and a longer one of lower Huber loss that outliers burden."""
    short, long = from_prefix(["mul", "c0", "r"]), DECAY
    rest = {"mae": 0.1, "mae_cv": 0.1, "mae_cv_interior": 0.1, "bic": 0.0, "skeleton": ()}
    return [
        Scored(short, (1.0,), complexity(short), mse=0.5, loss=0.2, **rest),
        Scored(long, (1.0, -1.0), complexity(long), mse=0.9, loss=0.1, **rest),
    ][:n]


def test_robust_fronts_are_pruned_by_the_loss_that_made_them():
    front = front_of_two(2)
    assert pareto_front(front) == front
    worse = replace(front[1], mse=0.1, loss=0.15)  # as long
    assert pareto_front([*front, worse]) == pareto_front([worse, *front]) == front
    assert pareto_front([*front_of_two(1), *front[1:]]) == front


def test_another_form_is_scored_by_the_robust_loss():
    data = robust_data(3.0)
    new = rescored(front_of_two(1)[0], DECAY, (2.0, -0.6), data)
    error = data.y - 2 * np.exp(-0.6 * R)
    assert new.mse == pytest.approx(np.mean(error**2))
    assert new.loss == pytest.approx(2 * np.mean(huber(0.02, error)))
    assert new.bic == pytest.approx(2 * nats_of(new.loss, len(R), 0.02) + 2 * np.log(len(R)))


def test_formulas_in_round_numbers_are_kept_by_the_robust_loss():
    grammar, y = Grammar(max_length=9), robust_data(1.0).y
    problem = Problem.of(torch.from_numpy(R), torch.from_numpy(y), huber=0.02)
    archive = without_constants(torch.tensor([grammar.encode(["exp", "neg", "r"])]), grammar, problem)
    error = y - np.exp(-R)
    assert float(archive.fit.sse[0]) == pytest.approx(2 * np.sum(huber(0.02, error)))
    [found] = round_number_formulas(archive, grammar, without_coefficients(problem))
    assert found.loss == pytest.approx(2 * np.mean(huber(0.02, error)))
    assert found.bic == pytest.approx(2 * nats_of(found.loss, len(R), 0.02))


@pytest.mark.parametrize(("noise", "kept"), [(0.0, "mul -68 exp neg r"), (0.2, "mul c0 exp neg r")])
def test_a_round_number_that_says_no_less_than_the_data_know_is_not_put_in_the_place_of_a_constant(
    noise, kept
):
    """Where the data know two digits, 68 takes as many as the fitted constant."""
    y = -68.0 * np.exp(-R) + noise * np.random.default_rng(3).standard_normal(len(R))
    problem = Problem.of(torch.from_numpy(R), torch.from_numpy(y))
    data, tree = Data.of(problem, Grammar()), from_prefix(["mul", "c0", "exp", "neg", "r"])
    fitted = data.refit(tree, (-67.0,))
    found, _ = round_numbers(tree, fitted, data, 1.001 * data.loss(tree, fitted) + 1e-20, Grammar())
    assert to_prefix(found) == kept.split()
    assert abs(fitted[0] + 68) < 0.04 * 68


def test_a_forbidden_operator_does_not_come_in_by_a_plainer_form():
    data = np.sqrt(R)
    problem = Problem.of(torch.from_numpy(R), torch.from_numpy(data))
    for forbidden, expected in (((), "sqrt r"), (("sqrt",), "pow r 0.5")):
        grammar = Grammar(operators=("add", "mul", "pow", "sqrt"), forbidden=forbidden)
        tree = from_prefix(["pow", "r", "c0"])
        front = [Scored(tree, (0.5,), 3, 0.0, 0.0, 0.0, 0.0, 0.0, ())]
        assert to_prefix(plainest(front, problem, grammar, None)[0].expression) == expected.split()
