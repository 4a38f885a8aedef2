"""Known laws, tables and formulas on the same rows: known answers, honest left-out errors, limits."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.optimize import curve_fit
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.engine.seeds.physical_laws import LAWS
from defectdb.errors import UnknownNameError, UsageError
from defectdb.expressions.asymptotics import tails
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_prefix, to_ast
from defectdb.learn import LearnConfig
from defectdb.learn.judging.compare import DISCOVERED, Comparison, as_frame, compare, curves
from defectdb.learn.judging.errors import Fitted, criteria
from defectdb.learn.judging.fitted_laws import fit_laws, refit
from defectdb.learn.judging.lookups import look_up_table, nearest_neighbour
from defectdb.learn.pairs.kernel_task import PairTask
from defectdb.learn.pairs.skeleton import skeleton_of

R = np.array([2.4, 3.2, 4.0, 5.1, 5.5, 6.4, 7.1, 8.2, 9.3, 10.4, 11.3, 12.7])


def task(y: np.ndarray, r: np.ndarray = R) -> PairTask:
    return PairTask(
        label="A_X-B_X", x=r[None], y=y, weight=np.ones_like(y), config=LearnConfig(), device="cpu"
    )


def law(fits: list[Fitted], name: str) -> Fitted:
    return next(f for f in fits if f.law == name)


TRUTHS = {
    "inverse distance": 0.3 / R, "elastic 1/r^2": 0.02 - 1.2 / R**2, "dipolar 1/r^3": 2.0 / R**3,
    "power law": 0.7 * R**-1.4, "exponential": 0.05 + 1.1 * np.exp(-0.45 * R), "Gaussian": -0.8 * np.exp(-0.05 * R**2),
    "Yukawa": 1.3 * np.exp(-0.3 * R) / R, "Morse": 0.2 * (1 - np.exp(-0.6 * (R - 4.0))) ** 2 - 0.2,
    "Lennard-Jones": 30.0 / R**12 - 9.0 / R**6, "RKKY (2D)": np.cos(1.3 * R) / R**2,
    "Friedel (2D)": 0.9 * np.cos(1.3 * R + 0.8) / R**2, "damped oscillation": np.exp(-0.3 * R) * np.cos(1.1 * R + 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", [law.name for law in LAWS])
def test_every_law_finds_its_own_data_and_predicts_every_distance_left_out(name: str) -> None:
    y = TRUTHS[name]
    found = law(fit_laws(task(y)), name)
    assert found.expression is not None
    np.testing.assert_allclose(evaluate_numpy(found.expression, {"r": R}, found.constants), y, atol=1e-7)
    assert found.safe
    assert found.errors.train < 1e-8
    assert found.errors.interior < 1e-6


def test_leave_one_out_is_what_refits_without_each_distance_give() -> None:
    rng = np.random.default_rng(1)
    y = 0.05 + 1.1 * np.exp(-0.45 * R) + rng.normal(0, 0.003, len(R))
    ours = law(fit_laws(task(y)), "exponential")

    def model(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a + b * np.exp(-c * x)

    out = []
    for i in range(len(R)):
        kept = np.arange(len(R)) != i
        best, _ = curve_fit(model, R[kept], y[kept], p0=(0.05, 1.1, 0.45), xtol=1e-14, ftol=1e-14)
        out.append(abs(y[i] - model(R[i], *best)))
    assert ours.n_constants == 3
    assert ours.errors.interior == pytest.approx(np.mean(out[1:-1]), rel=1e-4)
    assert ours.errors.ends == pytest.approx(np.mean([out[0], out[-1]]), rel=1e-4)
    assert ours.errors.cv == pytest.approx(np.mean(out), rel=1e-4)


def test_equal_distances_are_left_out_together() -> None:
    r = np.concatenate([R, R + 1e-8])
    y = np.concatenate([1 / R + 0.01, 1 / R - 0.01])
    assert nearest_neighbour(task(y, r)).errors.interior > 0.02  # its twin would be 0.02 away
    assert law(fit_laws(task(y, r)), "inverse distance").errors.interior == pytest.approx(0.01, rel=0.2)


def test_tables_interpolate_inside_and_continue_at_the_ends() -> None:
    r = np.array([1.0, 2.0, 4.0, 5.0])
    y = np.array([10.0, 3.0, 2.0, 7.0])
    table, neighbour = look_up_table(task(y, r)), nearest_neighbour(task(y, r))
    inner = [abs(3.0 - (10 + (2 - 10) / 3)), abs(2.0 - (3 + (7 - 3) * 2 / 3))]
    assert table.errors.interior == pytest.approx(np.mean(inner))
    assert table.errors.ends == pytest.approx(np.mean([abs(10 - 3), abs(7 - 2)]))
    assert neighbour.errors.interior == pytest.approx(np.mean([abs(3 - 10), abs(2 - 7)]))
    assert (table.errors.train, table.n_constants) == (0.0, 4)
    assert math.isnan(table.aicc)


def test_criteria_are_those_of_the_textbook() -> None:
    residual = np.array([0.1, -0.2, 0.05, 0.3, -0.1, 0.2])
    aicc, bic = criteria(residual, 2)
    fit = 6 * math.log(np.mean(residual**2))
    assert aicc == pytest.approx(fit + 4 + 12 / 3)
    assert bic == pytest.approx(fit + 2 * math.log(6))
    assert math.isnan(criteria(residual, 5)[0])


def test_a_law_with_as_many_constants_as_points_proves_nothing() -> None:
    r, y = R[:5], np.array([0.3, -0.2, 0.15, -0.1, 0.2])
    found = {f.law: f for f in fit_laws(task(y, r))}
    assert math.isinf(found["damped oscillation"].errors.interior)
    assert math.isfinite(found["inverse distance"].errors.interior)


def test_oscillations_faster_than_the_points_lie_are_marked() -> None:
    rng = np.random.default_rng(0)
    found = law(fit_laws(task(rng.normal(0, 1, len(R)))), "damped oscillation")
    assert not found.safe


@pytest.mark.parametrize(
    ("formula", "names", "theta", "plain", "terms"),
    [
        ("add c0 mul c1 exp mul c2 r", "exp mul c0 r", (-0.5,), False, 1),
        ("sub mul 0.5 cos mul 2.5 r div c1 square r", "add cos mul div 10 4 r inv square r", (), True, 2),
        ("mul c0 mul cos add c2 r inv r", "mul cos add c0 r inv r", (-0.5,), True, 1),
        ("neg exp mul 0.3 r", "exp mul c0 r", (0.3,), True, 1),
        ("c0", "", (), False, 0),
    ],
)
def test_formulas_are_taken_apart_for_another_fit(
    formula: str, names: str, theta: tuple[float, ...], plain: bool, terms: int
) -> None:
    found = skeleton_of(from_prefix(formula.split()), (0.1, 2.0, -0.5))
    assert " ".join(found.names) == names
    assert (found.theta, found.no_offset, found.n_terms) == (theta, plain, terms)


def test_refitting_a_disturbed_formula_returns_to_the_truth() -> None:
    y = 0.02 + 0.9 * np.cos(1.3 * R + 0.8) / R**2
    tree = from_prefix(["add", "c0", "div", "mul", "c1", "cos", "add", "c2", "mul", "c3", "r", "square", "r"])
    found = refit(task(y), DISCOVERED, tree, (0.0, 1.1, 0.7, 1.32))
    assert found.errors.train < 1e-9
    assert found.n_constants == 4


def test_a_constant_is_refitted_as_the_mean() -> None:
    y = np.linspace(0.0, 1.1, len(R))
    found = refit(task(y), DISCOVERED, from_prefix(["c0"]), (3.0,))
    assert found.constants == pytest.approx((0.55,))
    assert found.errors.cv > found.errors.train


def test_limits_at_infinity_are_those_of_calculus_and_slow_ones_are_given_up() -> None:
    formulas = [
        ("add c0 div cos mul c1 r square r", (0.3, 2.1)),
        ("exp mul c0 r", (-0.5,)),
        ("mul c0 r", (0.25,)),
        ("cos mul c0 r", (1.2,)),
        ("log r", ()),
        ("square sub 1 exp mul c0 sub r c1", (-0.6, 3.5)),
    ]
    found = tails([(from_prefix(text.split()), constants) for text, constants in formulas])
    assert [t.value for t in found[:3]] == [0.3, 0.0, math.inf]
    assert [t.slope for t in found[:3]] == [0.0, 0.0, 0.25]
    assert math.isnan(found[3].value)
    assert (found[4].value, found[4].slope) == (math.inf, 0.0)
    assert (found[5].value, found[5].slope) == (1.0, 0.0)
    tokens = "add mul c0 div cos mul c1 square r exp r tanh add c2 mul c3 r"
    hard = from_prefix(tokens.split())
    last = (from_prefix(["inv", "r"]), ())
    unknown, easy = tails([(hard, (-6.264, -0.1464, -5.66, 0.5455)), last], seconds=0.5)
    assert unknown.value is None
    assert easy.value == 0.0


# ---------------------------------------------------------------- a database


@pytest.fixture(scope="module")
def toy_db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The toy with its own kernels and a free constant in use; a wrong one for Vac_Mo-W_Mo."""
    path = tmp_path_factory.mktemp("compare") / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db, n=700)
        toy.publish_energy_model(db)
        right = to_ast(from_prefix(["add", "c0", "mul", "c1", "exp", "div", "neg", "r", "2"]))
        wrong = to_ast(from_prefix(["add", "c0", "div", "c1", "r"]))
        with db.transaction():
            db.execute(
                "UPDATE formulas SET constants = [0.0, constants[1]], "
                "ast = CASE pair_label WHEN 'Vac_Mo-W_Mo' THEN $wrong ELSE $right END",
                {"right": right, "wrong": wrong},
            )
        yield db


@pytest.fixture(scope="module")
def layers(toy_db: Database) -> list[Comparison]:
    """Both kernels of two S vacancies."""
    return compare(toy_db, "Vac_S-Vac_S")


def test_the_formula_in_use_stands_beside_the_laws_of_each_layer(layers: list[Comparison]) -> None:
    assert [one.task.dz_min for one in layers] == [0.0, pytest.approx(1.56)]
    names = {DISCOVERED, "look-up table", "nearest neighbour", *(law.name for law in LAWS)}
    for one in layers:
        assert one.winner is one.discovered
        assert one.discovered.errors.interior < 1e-7
        assert {f.law for f in one.fits} == names
        grid, values = curves(one)
        assert grid[0] == one.task.r.min()
        assert set(values) == {f.law for f in one.fits if f.expression is not None}


def test_the_frame_has_a_row_for_every_law_and_window(layers: list[Comparison]) -> None:
    frame = as_frame(layers)
    assert frame.height == 2 * (len(LAWS) + 3)
    assert frame.filter("wins")["law"].to_list() == [DISCOVERED, DISCOVERED]
    exponential = frame.filter(law="exponential", dz_min=0.0).row(0, named=True)
    assert exponential["mae_train"] < 1e-6
    assert exponential["slope_at_infinity"] == 0.0
    table = frame.filter(law="look-up table", dz_min=0.0).row(0, named=True)
    assert table["formula"] is table["aicc"] is table["value_at_infinity"] is None


def test_a_wrong_formula_in_use_is_beaten_and_only_the_window_asked_for_is_compared(toy_db: Database) -> None:
    [found] = compare(toy_db, "W_Mo-Vac_Mo", dz=0.0)
    assert found.winner is not found.discovered
    assert found.discovered.errors.interior > 100 * law(found.fits, "exponential").errors.interior


def test_what_cannot_be_compared_is_named(toy_db: Database) -> None:
    with pytest.raises(UsageError, match="no active formula of homo_lumo_gap"):
        compare(toy_db, "Vac_S-Vac_S", "homo_lumo_gap")
    with pytest.raises(UnknownNameError, match="unknown pair label"):
        compare(toy_db, "Vac_S-Se_S")
    with pytest.raises(UnknownNameError, match="unknown target"):
        compare(toy_db, "Vac_S-Vac_S", "band_gap")
