"""The model front against every combination of formulas, and the choices made from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import toy_database as toy

from defectdb.db import open_database
from defectdb.db.models.model_fronts import activate_front_model, newest_front
from defectdb.errors import UsageError
from defectdb.learn.config import LearnConfig
from defectdb.learn.from_pairs import learn_pairs
from defectdb.learn.model_front import (
    Choices,
    ModelPoint,
    independent_front,
    knee,
    model_front,
    most_accurate,
    shortest,
)

QUICK = LearnConfig(generations=0, population=64, exhaustive_size=4, workers=1)

KERNEL = st.lists(
    st.tuples(
        st.integers(1, 12), st.lists(st.integers(-640, 640).map(lambda x: x / 64), min_size=3, max_size=3)
    ),
    min_size=1,
    max_size=5,
)
KERNELS = st.lists(KERNEL, min_size=1, max_size=4)
Rows = list[tuple[int, list[float]]]


def choices(rows: Rows) -> Choices:
    return Choices(np.array([t for t, _ in rows]), np.array([d for _, d in rows], dtype=float))


def mean_error(picked: Iterable[tuple[int, list[float]]]) -> float:
    return float(np.abs(np.sum([d for _, d in picked], axis=0)).mean())


def mean_squares(picked: Iterable[tuple[int, list[float]]]) -> float:
    return sum(float((np.array(d) ** 2).mean()) for _, d in picked)


@given(KERNELS)
def test_of_independent_errors_the_best_combination_of_every_length_is_found(kernels: list[Rows]) -> None:
    squares = [np.array([(np.array(d) ** 2).mean() for _, d in rows]) for rows in kernels]
    front = independent_front([np.array([t for t, _ in rows]) for rows in kernels], squares)
    every = [(sum(t for t, _ in p), mean_squares(p)) for p in itertools.product(*kernels)]
    lengths = []
    for chosen in front:
        picked = [rows[i] for rows, i in zip(kernels, chosen, strict=True)]
        lengths.append(sum(t for t, _ in picked))
        assert mean_squares(picked) == pytest.approx(min(e for t, e in every if t <= lengths[-1]))
    assert lengths == sorted(set(lengths))


@given(KERNELS)
def test_the_front_knows_its_models_and_is_never_worse_than_that_of_independent_errors(
    kernels: list[Rows],
) -> None:
    points = model_front([choices(rows) for rows in kernels])
    for point in points:
        picked = [rows[i] for rows, i in zip(kernels, point.chosen, strict=True)]
        assert point.tokens == sum(t for t, _ in picked)
        assert point.error == pytest.approx(mean_error(picked), abs=1e-12)
    assert [p.tokens for p in points] == sorted({p.tokens for p in points})
    assert [p.error for p in points] == sorted({p.error for p in points}, reverse=True)
    squares = [np.array([(np.array(d) ** 2).mean() for _, d in rows]) for rows in kernels]
    for chosen in independent_front([np.array([t for t, _ in rows]) for rows in kernels], squares):
        picked = [rows[i] for rows, i in zip(kernels, chosen, strict=True)]
        size = sum(t for t, _ in picked)
        assert min(p.error for p in points if p.tokens <= size) <= mean_error(picked) + 1e-12


def test_kernels_that_make_up_for_one_another_are_found() -> None:
    first = choices([(1, [3.0, -3.0]), (5, [1.0, -1.0])])
    second = choices([(1, [2.0, 2.0]), (5, [-1.0, 1.0])])
    assert model_front([first, second])[-1] == ModelPoint(10, 0.0, (1, 1))


def test_a_formula_that_may_not_be_used_is_never_chosen() -> None:
    kernel = choices([(1, [math.inf, math.inf]), (3, [1.0, 1.0])])
    assert model_front([kernel]) == [ModelPoint(3, 1.0, (1,))]


POINTS = [ModelPoint(5, 0.010, (0,)), ModelPoint(9, 0.004, (1,)), ModelPoint(20, 0.001, (2,))]


def test_a_budget_of_tokens_gives_the_most_accurate_model_that_short() -> None:
    assert most_accurate(POINTS, 19).tokens == 9
    with pytest.raises(UsageError, match=r"no model is as short as 4 tokens.*--tokens 5"):
        most_accurate(POINTS, 4)


def test_an_accuracy_gives_the_shortest_model_that_reaches_it() -> None:
    assert shortest(POINTS, 0.004).tokens == 9
    with pytest.raises(UsageError, match=r"no model reaches 0.5 meV: the most accurate one, of 20 tokens"):
        shortest(POINTS, 0.0005)


def test_the_knee_is_where_a_token_no_longer_takes_a_hundredth_of_the_error() -> None:
    assert knee(POINTS).tokens == 20
    assert knee([*POINTS, ModelPoint(40, 0.00099, (3,))]).tokens == 20
    assert knee([ModelPoint(5, 0.010, (0,)), ModelPoint(155, 0.006, (1,))]).tokens == 5


def test_one_kernel_that_nothing_fits_does_not_hide_the_others() -> None:
    hopeless = choices([(1, [0.0, 1.0, 0.0, 0.0]), (9, [0.0, 0.99, 0.0, 0.0])])
    other = choices([(1, [0.2, 0.0, -0.2, 0.2]), (8, [0.01, 0.0, 0.0, -0.01])])
    assert knee(model_front([hopeless, other])).chosen == (0, 1)


def test_learning_all_pairs_uses_the_knee_and_stores_the_front(tmp_path: Path) -> None:
    with open_database(tmp_path / "toy.duckdb", create=True) as db:
        toy.fill(db, n=120)
        learned = learn_pairs(db, QUICK)
        stored = newest_front(db, "MoS2", "formation_energy")
        assert stored["tokens"].to_list() == [point.tokens for point in learned.front]
        [active] = stored.filter(pl.col("active")).rows(named=True)
        used = sum(kernel.best.complexity for kernel in learned.kernels)
        assert (active["tokens"], active["run_id"]) == (used, learned.run_id)
        assert sorted(active["formula_ids"]) == sorted(learned.formula_ids)

        shortest_one = stored["tokens"][0]
        with db.transaction():
            model_id, tokens = activate_front_model(db, "MoS2", "formation_energy", shortest_one)
        assert tokens == shortest_one
        terms = db.frame(
            'SELECT count(*) AS n FROM model_terms WHERE model_id = ? GROUP BY "order"', [model_id]
        )
        before = db.frame(
            'SELECT count(*) AS n FROM model_terms WHERE model_id = ? GROUP BY "order"', [learned.model_id]
        )
        assert sorted(terms["n"]) == sorted(before["n"])
        assert newest_front(db, "MoS2", "formation_energy")["active"].to_list().index(True) == 0
        with pytest.raises(UsageError, match="no model is as short as 1 tokens"):
            activate_front_model(db, "MoS2", "formation_energy", 1)


def test_an_accuracy_out_of_reach_is_an_error_and_what_was_found_stays_a_candidate(tmp_path: Path) -> None:
    with open_database(tmp_path / "toy.duckdb", create=True) as db:
        toy.fill(db, n=120)
        with pytest.raises(UsageError, match=r"no model reaches .* stored as candidates"):
            learn_pairs(db, QUICK.model_copy(update={"accuracy": 1e-30, "exhaustive_size": 2}))
        assert db.value("SELECT count(*) FROM models WHERE status = 'active'") == 0
        assert db.value("SELECT count(*) FROM models WHERE status = 'candidate'") == 1
        assert db.value("SELECT count(*) FROM model_fronts") > 0
