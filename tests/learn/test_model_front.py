"""The model front against every combination of formulas, and the choices made from it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectdb.errors import UsageError
from defectdb.learn.model_front import Choices, ModelPoint, model_front, most_accurate, shortest

KERNEL = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 1000).map(lambda x: x / 64)), min_size=1, max_size=5
)


def choices(rows: list[tuple[int, float]]) -> Choices:
    return Choices(np.array([t for t, _ in rows]), np.array([e for _, e in rows], dtype=float))


@given(st.lists(KERNEL, min_size=1, max_size=4))
def test_the_front_holds_the_best_combination_of_every_length(kernels: list[list[tuple[int, float]]]) -> None:
    points = model_front([choices(rows) for rows in kernels])
    every = [
        (sum(t for t, _ in picked), sum(e for _, e in picked)) for picked in itertools.product(*kernels)
    ]
    best = {size: min(e for t, e in every if t <= size) for size, _ in every}
    for point in points:
        picked = [rows[i] for rows, i in zip(kernels, point.chosen, strict=True)]
        assert point.tokens == sum(t for t, _ in picked)
        assert point.error == sum(e for _, e in picked)
        assert point.error == best[point.tokens]
    assert [p.tokens for p in points] == sorted({p.tokens for p in points})
    assert [p.error for p in points] == sorted({p.error for p in points}, reverse=True)
    assert points[-1].error == min(best.values())


POINTS = [ModelPoint(5, 0.010, (0,)), ModelPoint(9, 0.004, (1,)), ModelPoint(20, 0.001, (2,))]


def test_a_budget_of_tokens_gives_the_most_accurate_model_that_short() -> None:
    assert most_accurate(POINTS, 19).tokens == 9
    with pytest.raises(UsageError, match="no model is as short as 4 tokens.*--tokens 5"):
        most_accurate(POINTS, 4)


def test_an_accuracy_gives_the_shortest_model_that_reaches_it() -> None:
    assert shortest(POINTS, 0.004).tokens == 9
    with pytest.raises(UsageError, match=r"no model reaches 0.5 meV: the most accurate one, of 20 tokens"):
        shortest(POINTS, 0.0005)
