"""Values, derivatives and fits of whole batches against numpy, sympy and scipy, formula by formula."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import quad
from scipy.optimize import least_squares
from scipy.special import huber

from defectdb.engine.finishing.cross_validation import (
    cross_validate,
    distinct_points,
    make_folds,
    points_left,
)
from defectdb.engine.finishing.nats import nats_of
from defectdb.engine.finishing.scored import criterion
from defectdb.engine.finishing.scoring import score_front
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.fitting.variable_projection import levenberg_marquardt, residuals
from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem, loss_of
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.programs.complexity import complexities
from defectdb.engine.programs.finished import finish
from defectdb.engine.safety.fitted_values import predict
from defectdb.errors import SelectionError
from defectdb.expressions.evaluation import SympyMathematics, evaluate_numpy
from defectdb.expressions.expression import complexity, evaluate, from_prefix

GRAMMAR = Grammar(
    operators=(
        "add", "sub", "mul", "div", "pow", "neg", "inv", "square", "cube", "sqrt", "exp", "log", "sin", "cos",
        "tanh", "abs", "damped",
    ),
    variables=("r", "s"),
    max_length=15,
)  # fmt: skip
KERNELS = Grammar(max_length=15)


def sample(count: int, seed: int, k: int | None = None) -> torch.Tensor:
    rows = random_formulas(GRAMMAR, count, torch.Generator().manual_seed(seed), leaf_bias=0.35)
    return rows if k is None else rows[count_constants(rows, GRAMMAR) == k]


def rows_of(*texts: str, grammar: Grammar = KERNELS) -> torch.Tensor:
    return torch.tensor([grammar.encode(text.split()) for text in texts])


def start(*values: float) -> torch.Tensor:
    return torch.tensor([[values]], dtype=torch.float64)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_a_batch_evaluates_every_formula_as_numpy_does_alone(k):
    rows = sample(1500, k, k)
    x = torch.rand(2, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3 + 0.4
    theta = torch.rand(len(rows), 1, k, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.3
    programs = build(rows, GRAMMAR)
    values = programs.values(x, theta)[programs.terms[:, 0]][:, 0].numpy()
    env = {"r": x[0].numpy(), "s": x[1].numpy()}
    nudged, compared = {name: column * (1 + 1e-14) for name, column in env.items()}, 0
    for i, row in enumerate(rows.tolist()):
        alone = evaluate_numpy(from_prefix(GRAMMAR.decode(row)), env, theta[i, 0].tolist())
        moved = evaluate_numpy(from_prefix(GRAMMAR.decode(row)), nudged, theta[i, 0].tolist())
        fine = np.isclose(alone, moved, rtol=1e-9, equal_nan=True)  # not the cosine of a huge number
        assert np.allclose(values[i][fine], np.broadcast_to(alone, 9)[fine], rtol=1e-7, equal_nan=True)
        compared += int(fine.sum())
    assert compared > 5 * len(rows)


def test_derivatives_are_those_of_sympy():
    rows = sample(1500, 5, 2)[:130]
    x = torch.linspace(0.6, 2.9, 5, dtype=torch.float64).repeat(2, 1) * torch.tensor([[1.0], [0.7]])
    theta = torch.tensor([0.8, 1.3], dtype=torch.float64).expand(len(rows), 1, 2).contiguous()
    programs = build(rows, GRAMMAR)
    table = programs.values(x, theta)
    jacobian = programs.derivatives(table, torch.ones(len(rows), 1, 1, dtype=torch.float64))[:, :, 0]
    r, s = sympy.symbols("r s", real=True)
    c = sympy.symbols("c0 c1", real=True)
    compared = 0
    for i, row in enumerate(rows.tolist()):
        tree = evaluate(
            from_prefix(GRAMMAR.decode(row)), SympyMathematics(), {"r": r, "s": s}, c, sympy.Float
        )
        for which in (0, 1):
            function = sympy.lambdify((r, s, *c), sympy.diff(tree, c[which]), "numpy")
            with np.errstate(all="ignore"):
                right = np.broadcast_to(function(x[0].numpy(), x[1].numpy(), 0.8, 1.3), 5)
            fine = np.isfinite(right) & np.isfinite(jacobian[i, which].numpy()) & np.isreal(right)
            assert np.allclose(jacobian[i, which].numpy()[fine], right[fine].real, rtol=1e-8, atol=1e-10)
            compared += int(fine.sum())
    assert compared > 100


def test_the_linear_part_is_the_exact_least_squares_solution():
    x = torch.linspace(1.0, 6.0, 20, dtype=torch.float64)
    y = torch.sin(2 * x) + 0.1 * x
    rows = rows_of("add r add inv r exp neg r")
    result = fit(rows, KERNELS, Problem.of(x, y), torch.Generator().manual_seed(0))
    r = x.numpy()
    columns = np.stack([r, 1 / r, np.exp(-r), np.ones(20)], axis=1)
    coefficients, sse, *_ = np.linalg.lstsq(columns, y.numpy(), rcond=None)
    assert np.allclose(result.beta[0].numpy(), coefficients, rtol=1e-8)
    assert float(result.sse[0]) == pytest.approx(float(sse[0]), rel=1e-9)


def test_weights_count_as_they_do_in_a_weighted_fit():
    x = torch.linspace(1.0, 6.0, 12, dtype=torch.float64)
    y, w = torch.cos(x), torch.linspace(0.1, 2.0, 12, dtype=torch.float64)
    result = fit(rows_of("inv r"), KERNELS, Problem.of(x, y, w), torch.Generator().manual_seed(0))
    columns = np.stack([1 / x, np.ones(12)], axis=1) * w.sqrt().numpy()[:, None]
    coefficients = np.linalg.lstsq(columns, (y * w.sqrt()).numpy(), rcond=None)[0]
    assert np.allclose(result.beta[0, [0, -1]].numpy(), coefficients, rtol=1e-9)


LAWS = [
    ("mul exp mul c0 r cos mul c1 r", (-0.5, 2.2)),
    ("div cos add mul c0 r c1 square r", (1.7, 0.4)),
    ("div exp mul c0 r r", (-0.8,)),
    ("tanh mul c0 sub r c1", (1.1, 2.5)),
]


@pytest.mark.parametrize(("text", "truth"), LAWS)
def test_levenberg_marquardt_ends_where_scipy_does(text, truth):
    x = torch.linspace(1.0, 7.0, 25, dtype=torch.float64)
    skeleton = from_prefix(text.split())
    noise = 0.01 * torch.randn(25, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = 0.7 + 1.9 * torch.from_numpy(evaluate_numpy(skeleton, {"r": x.numpy()}, truth).copy()) + noise
    near = [1.1 * t for t in truth]

    def error(p):
        return y.numpy() - p[0] - p[1] * evaluate_numpy(skeleton, {"r": x.numpy()}, list(p[2:]))

    reference = least_squares(error, [0.7, 1.9, *near], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    programs = build(rows_of(text), KERNELS, max_terms=3)
    theta, beta, sse = levenberg_marquardt(programs, Problem.of(x, y), start(*near), 40)
    assert float(sse[0, 0]) == pytest.approx(2 * reference.cost, rel=1e-8)
    assert np.allclose([beta[0, -1, 0], beta[0, 0, 0], *theta[0, 0]], reference.x, rtol=1e-5)


def test_sums_over_pairs_are_fitted_as_scipy_fits_them():
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(2.0, 12.0, 14, dtype=torch.float64)
    mixing = torch.randint(0, 4, (40, 14), generator=generator).double()
    y = mixing @ (1.3 * torch.exp(-0.7 * x) * torch.cos(1.9 * x))
    problem = Problem.of(x, y, mixing=mixing, offset=False)
    result = fit(rows_of("mul exp mul c0 r cos mul c1 r"), KERNELS, problem, generator, starts=40)
    assert float(result.sse[0]) < 1e-18
    assert np.allclose(np.abs(result.theta[0].numpy()), [0.7, 1.9], rtol=1e-6)


def test_a_plain_formula_has_no_offset_and_costs_two_tokens_less():
    x = torch.linspace(1.0, 5.0, 10, dtype=torch.float64)
    problem = Problem.of(x, 3.0 / x + 1.0)
    rows = rows_of("inv r", "inv r")
    plain = torch.tensor([True, False])
    result = fit(rows, KERNELS, problem, torch.Generator().manual_seed(0), no_offset=plain)
    assert float(result.beta[0, -1]) == 0.0
    assert float(result.beta[1, -1]) == pytest.approx(1.0)
    slope = float((problem.y / x).sum() / (1 / x).square().sum())
    assert float(result.beta[0, 0]) == pytest.approx(slope)
    assert (complexities(rows, KERNELS, problem, plain)).tolist() == [3, 5]


def test_huber_fits_ignore_an_outlier_as_scipy_does():
    x = torch.linspace(1.0, 6.0, 30, dtype=torch.float64)
    y = 2.0 * torch.exp(-0.6 * x) + 0.5
    y[7] += 3.0
    problem = Problem.of(x, y, huber=0.05)
    result = fit(rows_of("exp mul c0 r"), KERNELS, problem, torch.Generator().manual_seed(0), starts=8)
    reference = least_squares(
        lambda p: y.numpy() - p[0] - p[1] * np.exp(p[2] * x.numpy()),
        [0.5, 2, -0.6],
        loss="huber",
        f_scale=0.05,
    )
    assert float(result.sse[0]) == pytest.approx(2 * reference.cost, rel=1e-3)
    assert float(result.theta[0, 0]) == pytest.approx(reference.x[2], abs=2e-3)


def test_fits_above_the_bound_get_no_long_run_and_others_do():
    x = torch.linspace(1.0, 7.0, 25, dtype=torch.float64)
    problem = Problem.of(x, 0.7 + torch.exp(-0.5 * x) * torch.cos(2.2 * x))
    rows = rows_of("mul exp mul c0 r cos mul c1 r", "exp mul c0 r", "cos mul c0 r")

    def run(iterations: tuple[int, int], bound: list[float] | None = None) -> Fit:
        limit = None if bound is None else torch.tensor(bound, dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        return fit(rows, KERNELS, problem, generator, starts=4, iterations=iterations, bound=limit)

    short, long, mixed = run((1, 0)), run((1, 40)), run((1, 40), [torch.inf, 0.0, torch.inf])
    assert (long.sse < short.sse).all()
    for got, expected in ((mixed.sse, (long.sse, short.sse)), (mixed.theta, (long.theta, short.theta))):
        assert torch.equal(got[[0, 2]], expected[0][[0, 2]])
        assert torch.equal(got[1], expected[1][1])


def robust_problem() -> tuple[torch.Tensor, Problem]:
    """A damped cosine with a little noise and three outliers: its points, and the problem."""
    x = torch.linspace(1.0, 6.0, 30, dtype=torch.float64)
    noise = 0.01 * torch.randn(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = 2.0 * torch.exp(-0.6 * x) * torch.cos(2.1 * x) + 0.5 + noise
    y[[7, 15, 24]] += torch.tensor([3.0, -4.0, 5.0])
    return x, Problem.of(x, y, huber=0.02)


def test_outliers_do_not_cost_a_formula_its_long_run():
    _, problem = robust_problem()
    rows = rows_of("mul exp mul c0 r cos mul c1 r")

    def run(bound: float) -> float:
        limit = torch.tensor([bound], dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        return float(fit(rows, KERNELS, problem, generator, starts=12, bound=limit).sse[0])

    free, few = run(torch.inf), run(0.0)
    plain = fit(rows, KERNELS, replace(problem, huber=0.0), torch.Generator().manual_seed(0), starts=12)
    bound = 1.2 * few
    assert bound < 0.1 * float(plain.sse[0])  # what the outliers leave of squares
    assert free < few  # those above the bound are not reweighted to the end
    assert run(bound) == free


def test_left_out_errors_of_a_robust_fit_are_those_of_a_loop_of_robust_fits():
    x = torch.linspace(1.0, 6.0, 12, dtype=torch.float64)
    y = 2.0 * torch.exp(-0.6 * x) + 0.5 + 0.01 * torch.cos(20 * x)
    y[7] += 3.0
    problem = Problem.of(x, y, huber=0.02)
    rows = rows_of("exp mul c0 r")
    whole = fit(rows, KERNELS, problem, torch.Generator().manual_seed(0))
    blind = cross_validate(rows, KERNELS, whole, problem, make_folds(problem))[0].numpy()
    xs, ys = x.numpy(), y.numpy()
    for i in range(12):
        keep = np.arange(12) != i
        found = least_squares(
            lambda p, k=keep: ys[k] - p[0] - p[1] * np.exp(p[2] * xs[k]),
            [0.5, 2, -0.6], loss="huber", f_scale=0.02, xtol=1e-14, ftol=1e-14,
        ).x  # fmt: skip
        left = ys[i] - found[0] - found[1] * np.exp(found[2] * xs[i])
        assert blind[i] == pytest.approx(left, abs=3e-3)


@pytest.mark.parametrize("residual", [[0.0, -0.3, 0.5, -0.7, 40.0], [0.1]])
def test_the_loss_is_that_of_scipy_for_tensors_and_arrays(residual):
    expected = 2 * huber(0.5, np.array(residual))
    assert loss_of(np.array(residual), 0.5) == pytest.approx(expected)
    assert loss_of(torch.tensor(residual), 0.5).numpy() == pytest.approx(expected, rel=1e-6)
    assert loss_of(np.array(residual), 0.0) == pytest.approx(np.square(residual))
    assert loss_of(np.array([np.inf]), 0.5) == np.inf


@pytest.mark.parametrize("loss", [1e-4, 0.3, 50.0])
def test_robust_data_take_the_nats_of_the_density_whose_logarithm_the_loss_is(loss):
    """By quadrature and a fine grid of scales; errors well inside ``huber`` take what Gaussian ones do."""

    def nats(scale: float) -> float:
        near = quad(lambda r: np.exp(-(r**2) / (2 * scale**2)), 0, 0.5, points=[min(0.5, 3 * scale)])[0]
        far = quad(lambda r: np.exp(-(r - 0.25) / (2 * scale**2)), 0.5, np.inf)[0]
        return 12 * (loss / (2 * scale**2) + np.log(2 * (near + far)))

    least = min(nats(scale) for scale in np.sqrt(loss * np.geomspace(0.4, 1.2, 400)))
    assert nats_of(loss, 12, 0.5) == pytest.approx(least - 6 * (1 + np.log(2 * np.pi)), abs=1e-3)
    assert nats_of(loss, 12, 1e3) == pytest.approx(nats_of(loss, 12, 0.0)) == pytest.approx(6 * np.log(loss))


def test_errors_far_beyond_huber_count_by_their_size_not_by_its_root():
    assert nats_of(2.0, 20, 0.01) - nats_of(1.0, 20, 0.01) == pytest.approx(20 * np.log(2), rel=1e-3)


def test_inherited_constants_are_the_first_start():
    x = torch.linspace(1.0, 12.0, 40, dtype=torch.float64)
    y = torch.cos(5.3 * x + 0.2)
    rows = rows_of("cos add mul c0 r c1")
    theta = torch.tensor([[5.3, 0.2]], dtype=torch.float64)
    result = fit(rows, KERNELS, Problem.of(x, y), torch.Generator().manual_seed(1), starts=1, theta=theta)
    assert float(result.sse[0]) < 1e-20


def test_finished_formulas_have_the_values_and_the_complexity_that_were_promised():
    tame = replace(
        KERNELS, operators=("add", "sub", "mul", "neg", "square", "exp", "tanh", "cos"), max_nesting=0
    )
    rows = random_formulas(tame, 400, torch.Generator().manual_seed(8), leaf_bias=0.35)
    rows = torch.tensor([KERNELS.encode(tame.decode(row)) for row in rows.tolist()])
    x = torch.linspace(1.0, 5.0, 12, dtype=torch.float64)
    problem = Problem.of(x, torch.cos(x))
    plain = torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.4
    result = fit(rows, KERNELS, problem, torch.Generator().manual_seed(0), starts=3, no_offset=plain)
    promised = complexities(rows, KERNELS, problem, plain)
    values = predict(rows, KERNELS, result, x.unsqueeze(0), problem)
    for i in torch.isfinite(result.sse).nonzero().squeeze(1).tolist():
        if not plain[i] and float(result.beta[i, -1]) == 0.0:
            continue
        expression, constants = finish(rows[i], KERNELS, problem, result.theta[i], result.beta[i])
        assert complexity(expression) == int(promised[i])
        alone = np.broadcast_to(evaluate_numpy(expression, {"r": x.numpy()}, constants), 12)
        assert np.allclose(values[i].numpy(), alone, rtol=1e-7, atol=1e-9)


def test_leave_one_out_is_that_of_a_plain_loop():
    x = torch.linspace(1.0, 6.0, 11, dtype=torch.float64)
    y = 1.0 + 2.0 * torch.exp(-0.7 * x) + 0.01 * torch.cos(20 * x)
    problem = Problem.of(x, y)
    rows = rows_of("exp mul c0 r")
    whole = fit(rows, KERNELS, problem, torch.Generator().manual_seed(0))
    blind = cross_validate(rows, KERNELS, whole, problem, make_folds(problem), iterations=60)[0].numpy()
    xs, ys = x.numpy(), y.numpy()
    for i in range(11):
        keep = np.arange(11) != i
        found = least_squares(
            lambda p, k=keep: ys[k] - p[0] - p[1] * np.exp(p[2] * xs[k]), [1, 2, -0.7], xtol=1e-14, ftol=1e-14
        ).x
        assert blind[i] == pytest.approx(ys[i] - found[0] - found[1] * np.exp(found[2] * xs[i]), abs=1e-6)


def test_residuals_are_data_minus_formula():
    x = torch.linspace(1.0, 3.0, 5, dtype=torch.float64)
    problem = Problem.of(x, torch.zeros(5, dtype=torch.float64))
    programs = build(rows_of("exp mul c0 r"), KERNELS, max_terms=3)
    beta = torch.tensor([[[2.0], [0.0], [0.0], [1.0]]], dtype=torch.float64)
    left = residuals(programs, problem, start(-0.5), beta)
    assert np.allclose(left[0, 0].numpy(), -(2 * np.exp(-0.5 * x.numpy()) + 1))


@pytest.mark.parametrize(
    ("x", "y", "weight", "message"),
    [
        ([1.0, 2.0, float("nan")], [1.0, 2.0, 3.0], None, "NaN"),
        ([1.0, 2.0, 3.0], [1.0, float("inf"), 3.0], None, "infinite"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], None, "3 rows of variables for 2 values"),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], None, "no variable varies"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], "not all zero"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, -1.0, 1.0], "not negative"),
    ],
)
def test_data_that_say_nothing_are_refused_with_the_reason(x, y, weight, message):
    given = None if weight is None else torch.tensor(weight)
    with pytest.raises(SelectionError, match=message):
        Problem.of(torch.tensor(x), torch.tensor(y), given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": [1.0]}, r"weights of shape \(1,\) for 10 values"),
        ({"weight": [1.0] * 7}, r"weights of shape \(7,\) for 10 values"),
        ({"weight": [[1.0] * 10]}, r"weights of shape \(1, 10\) for 10 values"),
        ({"weight": [float("nan"), *[1.0] * 9]}, "weights must be finite"),
        ({"weight": [1.0, *[0.0] * 9]}, "no variable varies"),
        ({"mixing": torch.ones(10, 9)}, r"mixing has the shape \(10, 9\)"),
        ({"mixing": torch.full((10, 10), torch.nan)}, "give finite numbers"),
        ({"mixing": torch.ones(10)}, "points are joined by an array of shape"),
        ({"groups": torch.full((10, 2), 10)}, "numbers of points, from 0 to 9"),
        ({"groups": torch.zeros(10, 2)}, "numbers of points"),
        ({"groups": torch.zeros(10, 2).long(), "mixing": torch.ones(10, 10)}, "not both"),
        ({"groups": torch.zeros(9, 2).long()}, "9 rows of variables for 10 values"),
        (
            {"groups": torch.arange(10).unsqueeze(1), "extreme": "mean"},
            "unknown extreme 'mean'; try min, max",
        ),
        ({"huber": -0.1}, "huber is -0.1"),
        ({"huber": float("nan")}, "huber is nan"),
    ],
)
def test_problems_that_do_not_fit_together_are_refused_with_the_reason(options, message):
    weight = options.pop("weight", None)
    given = None if weight is None else torch.tensor(weight)
    with pytest.raises(SelectionError, match=message):
        Problem.of(torch.arange(10.0), torch.arange(10.0), given, **options)


def test_no_rows_are_refused():
    with pytest.raises(SelectionError, match="no rows"):
        Problem.of(torch.zeros(1, 0), torch.zeros(0))


def test_points_that_differ_by_round_off_are_one_point():
    jitter = 1e-9 * torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.tensor([2.5000005, 3.1, 4.7, 6.3]).double().repeat(3) + jitter
    problem = Problem.of(x, torch.cos(x))
    assert distinct_points(problem.x).tolist() == [0, 1, 2, 3] * 3
    assert make_folds(problem).tolist() == [0, 1, 2, 3] * 3
    assert points_left(problem, make_folds(problem)) == 3


def test_points_are_alike_only_where_all_their_variables_are():
    x = torch.tensor([[1.0, 1.0, 2.0, 1.0 + 1e-9], [5.0, 6.0, 5.0, 5.0]]).double()
    assert distinct_points(x).tolist() == [0, 1, 2, 0]


def test_points_that_are_repeated_are_left_out_together_in_five_folds():
    x = torch.linspace(1.0, 9.0, 80, dtype=torch.float64).repeat(2)
    folds = make_folds(Problem.of(x, torch.cos(x)))
    assert folds.max() == 4
    assert torch.equal(folds[:80], folds[80:])
    assert points_left(Problem.of(x, torch.cos(x)), folds) == 64


def test_rows_of_no_weight_change_nothing_that_is_said_of_a_formula():
    x = torch.linspace(1.0, 6.0, 10, dtype=torch.float64)
    y = torch.exp(-0.5 * x) + 0.01 * torch.cos(9 * x)
    far = torch.linspace(0.1, 30.0, 90, dtype=torch.float64)
    some = Problem.of(x, y)
    weight = torch.cat([torch.ones(10), torch.zeros(90)])
    more = Problem.of(torch.cat([x, far]), torch.cat([y, 100.0 + far]), weight)
    rows = rows_of("exp mul c0 r")
    fitted = fit(rows, KERNELS, some, torch.Generator().manual_seed(0))
    [one], [other] = (score_front(rows, KERNELS, fitted, p, make_folds(p)) for p in (some, more))
    assert one.bic == pytest.approx(10 * np.log(one.mse) + 3 * np.log(10))
    for name in ("mse", "mae", "mae_cv", "mae_cv_interior", "bic", "loss"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    assert points_left(more, make_folds(more)) == 9


def test_a_robust_front_says_its_loss_and_is_ordered_by_it():
    _, problem = robust_problem()
    rows = rows_of("mul exp mul c0 r cos mul c1 r", "cos mul c0 r")
    fitted = fit(rows, KERNELS, problem, torch.Generator().manual_seed(0), starts=12)
    front = score_front(rows, KERNELS, fitted, problem, make_folds(problem))
    assert [s.loss for s in front] == pytest.approx(
        sorted(fitted.sse.tolist(), reverse=True) / np.array(30.0)
    )
    for scored in front:
        assert scored.loss < scored.mse
        assert scored.bic == criterion(scored.loss, 30, len(scored.constants), problem.huber)


def test_fewer_rows_than_constants_do_not_break_a_fit():
    problem = Problem.of(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    rows = rows_of("mul exp mul c0 r cos add mul c1 r c2")
    result = fit(rows, KERNELS, problem, torch.Generator().manual_seed(0))
    assert isinstance(result, Fit)
    assert float(result.sse[0]) < 1e-10


def test_a_fit_whose_time_is_over_fits_nothing():
    problem = Problem.of(torch.linspace(1.0, 3.0, 9), torch.linspace(1.0, 3.0, 9).exp())
    fitted = fit(
        rows_of("exp mul c r", "square r"), KERNELS, problem, torch.Generator().manual_seed(0), until=0.0
    )
    assert torch.isinf(fitted.sse).all()
    assert fitted.cut_off.all()


@pytest.mark.parametrize("huber", [0.0, 0.1])
def test_a_fit_says_which_formulas_the_clock_cut_off(monkeypatch, huber):
    r = torch.linspace(1.0, 3.0, 9)
    problem = Problem.of(r, torch.sin(2 * r) + 0.1 * torch.cos(9 * r), huber=huber)
    rows, generator = rows_of("square r", "exp mul c r", "sin mul c r"), torch.Generator().manual_seed(0)
    assert not fit(rows, KERNELS, problem, generator).cut_off.any()
    clock = SimpleNamespace(monotonic=iter([0.0, *[0.0] * (2 if huber else 1), 9.0, 9.0, 9.0]).__next__)
    monkeypatch.setattr("defectdb.engine.fitting.multistart.time", clock)
    fitted = fit(rows, KERNELS, problem, generator, until=5.0)
    assert fitted.cut_off.tolist() == [False, True, True]
    assert torch.isfinite(fitted.sse[0])
