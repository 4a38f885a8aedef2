"""What is said of formulas whose constants moved or that are composed of others is taken anew, or not said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.uncertainty import description_length
from defectdb.expressions.expression import complexity, from_prefix
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import Job
from defectdb.learn.material.formulas import _composed, _summed
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.pairs.kernel_search import merge_islands
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask, LatticeTask, PairTask, TableTask
from defectdb.learn.pairs.measured import data_of, with_constants
from defectdb.learn.records import constant_errors, formula_records
from defectdb.schema.records import EVERY_DZ

R = np.linspace(2.5, 9.0, 12)
Y = 1.4 * np.exp(-0.5 * R) + 0.003 * np.cos(7 * R)
TRUE = (1.4, -0.5)
JOB = Job(LearnConfig(), "formation_energy", "MoS2", "cpu", (), LearnConfig().grammar())
DECAY = "mul c0 exp mul c1 r"


def scored(text: str, constants: tuple[float, ...], **known: float) -> Scored:
    """A formula with numbers that belong to another."""
    tree = from_prefix(text.split())
    stale = {
        "mse": 7.0,
        "mae": 7.0,
        "mae_cv": 7.0,
        "mae_cv_interior": 7.0,
        "bic": 7.0,
        "description_length": 7.0,
    }
    return Scored(tree, constants, complexity(tree), skeleton=(1, 2), **(stale | known))


def task_of(**options: object) -> KernelTask:
    given: dict[str, Any] = {"x": R[None], "y": Y, "weight": np.ones_like(Y), **options}
    kind: Any = TableTask if "values" in given else LatticeTask if "mixing" in given else PairTask
    if kind is TableTask:
        given = {"mixing": np.eye(len(R)), "frequency": np.ones(len(R)), "spare": 0.0, **given}
    return kind(label="A_X-B_X", config=LearnConfig(), device="cpu", **given)  # type: ignore[no-any-return]


def kernel_of(*front: Scored, task: KernelTask | None = None, chosen: int = 0) -> Kernel:
    return Kernel(task or task_of(), list(front), chosen, [], 1.0, 1)


def values_of(constants: tuple[float, ...]) -> np.ndarray:
    return constants[0] * np.exp(constants[1] * R)


def test_numbers_follow_constants_that_move() -> None:
    other = scored("c0", (0.1,))
    before = kernel_of(other, scored(DECAY, (1.0, -1.0)), chosen=1)
    kernel = with_constants(before, TRUE)
    moved, error = kernel.front[1], Y - values_of(TRUE)
    assert kernel.front[0] is other
    assert moved.constants == TRUE
    assert moved.mse == moved.loss == pytest.approx(np.mean(error**2))
    assert moved.mae == pytest.approx(np.mean(np.abs(error)))
    assert moved.bic == pytest.approx(12 * math.log(moved.mse) + 2 * math.log(12))
    assert moved.description_length == description_length(moved, data_of(before.task))
    assert math.isnan(moved.mae_cv)
    assert math.isnan(moved.mae_cv_interior)
    assert with_constants(kernel, TRUE) is kernel


def test_weights_count_and_a_metrics_error_is_the_distance_from_the_values() -> None:
    mixing = np.triu(np.ones((12, 12)))
    often = np.linspace(1.0, 3.0, 12)
    task = task_of(y=mixing @ Y, mixing=mixing, weight=np.append(np.ones(11), 0.0), values=Y, frequency=often)
    moved = with_constants(kernel_of(scored(DECAY, (1.0, -1.0)), task=task), TRUE).front[0]
    error = Y - values_of(TRUE)
    assert moved.mse == pytest.approx(np.mean((mixing @ error)[:11] ** 2))
    assert moved.mae == pytest.approx(np.sum(often * np.abs(error)) / often.sum())
    assert moved.bic == pytest.approx(11 * math.log(moved.mse) + 2 * math.log(11))


def part_of(text: str, constants: tuple[float, ...], order: int, x: dict[str, np.ndarray]) -> Part:
    label = "-".join(["A_X", "B_X", "B_X"][:order])
    return Part(label, order, 0.0, EVERY_DZ, from_prefix(text.split()), constants, x, None, np.arange(12))


def test_a_sum_of_functions_has_its_own_numbers() -> None:
    task = task_of(values=Y, frequency=np.ones(12))
    first = kernel_of(scored("mul c0 r", (0.1,)), task=task)
    second = kernel_of(scored("c0", (0.2,)), task=task)
    part = part_of(f"add {DECAY} c2", (*TRUE, 0.01), 2, {"r": R})
    summed = _summed([first, second], part)
    found, error = summed.front[summed.chosen], Y - values_of(TRUE) - 0.01
    assert len(summed.front) == 2
    assert found.complexity == 8
    assert found.mse == pytest.approx(np.mean(error**2))
    assert found.bic == pytest.approx(12 * math.log(found.mse) + 3 * math.log(12))
    assert found.description_length == description_length(found, data_of(task))
    assert found.skeleton == ()
    assert math.isnan(found.mae_cv)


def test_a_product_of_functions_has_its_own_numbers() -> None:
    x = {"r12": R, "r13": R[::-1].copy()}
    part = part_of("mul exp mul c0 r12 exp mul c1 r13", (-0.5, -0.3), 3, x)
    wanted = np.exp(-0.5 * x["r12"] - 0.3 * x["r13"]) + 0.01 * np.cos(R)
    whole = _composed([kernel_of(scored(DECAY, TRUE))], part, wanted)
    [found] = whole.front
    assert found.mse == pytest.approx(np.mean((0.01 * np.cos(R)) ** 2))
    assert found.bic == pytest.approx(12 * math.log(found.mse) + 2 * math.log(12))
    assert found.description_length == description_length(found, data_of(whole.task))
    assert found.skeleton == ()


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_stored_as_null(unknown: float) -> None:
    numbers = {"mae_cv": unknown, "bic": unknown, "description_length": unknown}
    [record] = formula_records(kernel_of(scored(DECAY, TRUE, **numbers)), 1, JOB)
    assert (record.mae_cv, record.bic, record.description_length) == (None, None, None)
    [known] = formula_records(kernel_of(scored(DECAY, TRUE)), 1, JOB)
    assert (known.mae_cv, known.bic, known.description_length) == (7.0, 7.0, 7.0)


def test_standard_errors_are_those_of_scipy_and_rows_of_no_weight_do_not_count() -> None:
    constants, expected = curve_fit(lambda r, a, b: a * np.exp(b * r), R, Y, p0=TRUE)
    best = scored(DECAY, tuple(constants))
    more = task_of(
        x=np.append(R, [10.0, 11.0])[None],
        y=np.append(Y, [5.0, 6.0]),
        weight=np.append(np.ones(12), [0.0, 0.0]),
    )
    for task in (task_of(), more):
        assert constant_errors(best, task) == pytest.approx(np.sqrt(np.diag(expected)), rel=1e-3)
        assert formula_records(kernel_of(best, task=task), 1, JOB)[0].n_train == 12
    assert constant_errors(scored("r", ()), more) is None


def test_islands_of_robust_fits_are_merged_by_their_loss() -> None:
    short = scored("mul c0 r", (0.1,), mse=0.5, loss=0.2)
    long = scored(DECAY, TRUE, mse=0.9, loss=0.1)
    task = task_of(values=Y, spare=10.0)
    assert merge_islands([kernel_of(short, task=task), kernel_of(long, task=task)]).front == [short, long]


@pytest.mark.parametrize(("share", "found_by"), [(0.9, 4), (0.7, 1)])
def test_of_one_length_a_family_that_most_searches_found_goes_first_unless_another_is_far_better(
    share: float, found_by: int
) -> None:
    task = task_of(islands=5)
    lone = scored("mul c0 tanh tanh tanh r", (0.1,), mse=(0.1 * share) ** 2)
    steady = [scored("mul c0 exp mul c1 r", (0.1 + 0.01 * k, -0.5), mse=0.1**2) for k in range(4)]
    assert lone.complexity == steady[0].complexity
    merged = merge_islands([kernel_of(one, task=task) for one in (lone, *steady)])
    assert merged.front == [lone if found_by == 1 else steady[0]]
    assert merged.found_by == (found_by,)


def test_functions_of_a_model_from_all_structures_are_merged_by_their_error_alone() -> None:
    task = task_of(values=Y, spare=0.0, islands=2)
    better = scored("mul c0 tanh tanh tanh r", (0.1,), mse=0.9)
    shared = scored("mul c0 exp mul c1 r", (0.1, -0.5), mse=1.0)
    shorter = scored("mul c0 r", (0.1,), mse=2.0)
    kernels = [kernel_of(shorter, better, task=task), kernel_of(shorter, shared, task=task)]
    assert merge_islands(kernels).front == [shorter, better]
    assert merge_islands([kernels[1], kernels[0]]).front == [shorter, better]
