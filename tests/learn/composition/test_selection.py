"""The choice of a law's functions on made-up rows with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from defectdb.learn.composition.selection import choose, least_absolute, left_out, path

N, CANDIDATES = 240, 30


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values of 30 functions, a target that two of them make with noise, tokens and folds."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(N, CANDIDATES))
    y = 0.7 + 0.5 * x[:, 3] - 0.2 * x[:, 17] + 0.05 * rng.laplace(size=N)
    return x, y, np.full(CANDIDATES, 5.0), np.arange(N) % 5


def test_the_functions_that_make_the_target_are_found_and_no_others(rows: tuple[np.ndarray, ...]) -> None:
    x, y, tokens, fold = rows
    law = choose(x, y, tokens, fold, [np.arange(CANDIDATES)])
    assert law.chosen == (3, 17)
    assert law.offset == pytest.approx(0.7, abs=0.01)
    assert law.coefficients == pytest.approx([0.5, -0.2], abs=0.02)


def test_left_out_errors_are_those_of_the_noise_and_not_smaller(rows: tuple[np.ndarray, ...]) -> None:
    x, y, tokens, fold = rows
    noise = np.abs(y - (0.7 + 0.5 * x[:, 3] - 0.2 * x[:, 17])).mean()
    blind = np.abs(left_out(x, y, tokens, fold, [np.arange(CANDIDATES)])).mean()
    assert 0.98 * noise < blind < 1.1 * noise


def test_nothing_is_chosen_for_a_target_of_noise_alone() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(N, CANDIDATES)), rng.normal(size=N)
    law = choose(x, y, np.full(CANDIDATES, 5.0), np.arange(N) % 5, [np.arange(CANDIDATES)])
    assert len(law.chosen) <= 1


def test_a_later_offer_is_taken_only_where_it_pays(rows: tuple[np.ndarray, ...]) -> None:
    x, y, tokens, fold = rows
    short, whole = np.array([3, 17]), np.arange(CANDIDATES)
    assert set(choose(x, y, tokens, fold, [short, whole]).chosen) == {3, 17}
    lacking = np.array([0, 3])
    assert set(choose(x, y, tokens, fold, [lacking, whole]).chosen) == {3, 17}


def test_the_fit_is_that_of_least_absolute_errors(rows: tuple[np.ndarray, ...]) -> None:
    x, y, _, _ = rows
    columns = np.column_stack([np.ones(N), x[:, [3, 17]]])
    found, _ = least_absolute(columns, y)
    k = columns.shape[1]  # coefficients, and errors split into parts above and below
    cost = np.concatenate([np.zeros(2 * k), np.ones(2 * N)])
    equal = np.hstack([columns, -columns, np.eye(N), -np.eye(N)])
    exact = linprog(cost, A_eq=equal, b_eq=y, bounds=(0, None))
    assert np.abs(y - columns @ found).sum() == pytest.approx(exact.fun, rel=2e-3)


def test_of_two_functions_that_gain_the_same_the_shorter_is_taken(rows: tuple[np.ndarray, ...]) -> None:
    x, y, _, _ = rows
    twice = np.column_stack([x[:, 3] + 1e-3 * x[:, 5], x[:, 3]])
    assert path(twice, y, np.array([9.0, 3.0]), 1)[-1].chosen == (1,)
    assert path(twice, y, np.array([3.0, 9.0]), 1)[-1].chosen == (0,)
