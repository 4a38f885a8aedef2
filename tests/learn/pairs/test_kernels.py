"""One kernel's task: how many distances it has, what a constant is worth, and kernels that should vanish."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from defectdb.errors import SelectionError
from defectdb.expressions.expression import Constant
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import LatticeTask, PairTask
from defectdb.learn.pairs.tasks import demand_vanishing, n_distances
from defectdb.learn.pairs.workers import learn_kernels

QUICK = LearnConfig(generations=0, population=64, exhaustive_size=3, max_tokens=5, workers=1)


def task_of(r: Any, y: Any, config: LearnConfig = QUICK, **other: Any) -> PairTask:
    x, y = np.array(r, dtype=float)[None], np.array(y, dtype=float)
    kind = LatticeTask if "mixing" in other else PairTask
    return kind(
        label="A_X-B_X",
        x=x,
        y=y,
        weight=np.ones_like(y),
        config=config,
        device="cpu",
        offset=not config.decay,
        **other,
    )


def test_a_constant_from_too_few_distances_claims_no_error_where_it_was_left_out() -> None:
    kernel = learn_kernel(task_of([3.0, 3.0, 4.0, 5.0], [0.1, 0.1, 0.3, 0.2]))
    [scored] = kernel.front
    assert scored.expression == Constant(0)
    assert scored.mae == pytest.approx(0.075)
    assert np.isnan(scored.mae_cv)
    assert np.isnan(scored.mae_cv_interior)


def test_images_of_two_rows_are_two_distances_and_give_no_curve() -> None:
    """Seven image distances in two sums: nine formulas of ten pass through both."""
    distances = np.array([3.0, 4.0, 8.0, 9.0, 10.0, 11.0, 12.0])
    mixing = np.array([[1.0, 0, 1, 0, 2, 0, 1], [0, 1.0, 0, 2, 0, 1, 1]])
    task = task_of(distances, [0.4, 0.1], mixing=mixing)
    assert n_distances(task) == 2
    assert [s.expression for s in learn_kernel(task).front] == [Constant(0)]
    assert n_distances(task_of(distances, distances)) == 7


FAR = np.array([2.5, 3.5, 4.5, 6.0, 7.5, 9.0, 11.0, 13.0])


def test_values_far_from_zero_cannot_be_asked_to_vanish() -> None:
    config = QUICK.model_copy(update={"decay": True})
    with pytest.raises(
        SelectionError, match=r"nowhere near zero: no formula of these vanishes at the cutoff of 30"
    ):
        demand_vanishing(task_of(FAR, -0.53 + 0.03 * np.cos(FAR), config))
    demand_vanishing(task_of(FAR, -0.53 + 0.03 * np.cos(FAR)))  # not asked for
    demand_vanishing(task_of(FAR, 0.5 / FAR, config))
    demand_vanishing(task_of(FAR[:2], [0.5, 0.5], config))  # a constant: zero


def test_no_constant_stands_in_for_a_kernel_that_should_vanish() -> None:
    config = QUICK.model_copy(update={"decay": True})
    task = task_of(FAR, 1.35 + 0.5 * np.cos(2.0 * FAR), config)
    demand_vanishing(task)  # what swings so much might
    with pytest.raises(SelectionError, match=r"no formula of these vanishes .* leave out --decay"):
        learn_kernel(task)
    few = learn_kernel(task_of(FAR[:2], [0.5, 0.5], config))
    assert few.front[0].constants == (0.0,)


def test_searches_in_this_process_tell_which_kernel_and_island_they_are() -> None:
    heard: list[tuple[str, int, int]] = []
    tasks = [task_of(FAR, 0.5 / FAR, islands=2)]
    list(learn_kernels(tasks, lambda task, g: heard.append((task.name, task.island, g.generation))))
    assert heard == [("A_X-B_X", 0, 0), ("A_X-B_X", 1, 0)]
