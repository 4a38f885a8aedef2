"""A front holds formulas of lower error than all simpler ones; small steps add up to one, or do not."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.engine.finishing.pareto import pareto_rows

SMALL_STEPS = [1.0, 0.9992, 0.9986, 0.5]  # each below 0.1 % but the last; the first three together above


def test_small_steps_add_up_to_one_against_the_last_formula_on_the_front():
    assert pareto_rows([1, 2, 3, 4], SMALL_STEPS) == [0, 2, 3]


def test_small_steps_do_not_add_up_against_every_simpler_formula():
    assert pareto_rows([1, 2, 3, 4], SMALL_STEPS, beat_all=True) == [0, 3]


def test_of_one_complexity_the_lowest_error_stands_on_the_front():
    assert pareto_rows([3, 1, 3, 3], [0.4, 1.0, 0.2, 0.3]) == [1, 2]


def test_the_simplest_formula_stands_on_the_front_whatever_its_error():
    assert pareto_rows([2, 5], [np.inf, np.inf]) == [0]
    assert pareto_rows([], []) == []


@pytest.mark.parametrize("seed", range(20))
def test_against_every_simpler_formula_the_bound_is_the_running_minimum(seed: int):
    error = np.random.default_rng(seed).choice([1.0, 0.9995, 0.999, 0.9985, 0.998, 0.5, 0.0], size=12)
    bound = np.concatenate([[np.inf], np.minimum.accumulate(error)[:-1]])
    expected = np.flatnonzero(error < 0.999 * bound).tolist()
    assert pareto_rows(range(12), error, beat_all=True) == expected
