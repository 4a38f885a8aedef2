"""Linear fits by evidence on made-up data with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.learn.dense.evidence import fit_evidence, needed_columns


def made_up(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two free columns, three that act and twenty that do not; the groups are 0, 1 and 2."""
    x = np.random.default_rng(seed).normal(size=(n, 25))
    return x, x[:, :5] @ np.array([2.0, -1.0, 0.5, 0.3, -0.4]), np.array([0] * 2 + [1] * 3 + [2] * 20)


def test_without_noise_the_fit_is_that_of_least_squares() -> None:
    x, y, groups = made_up(0)
    found = fit_evidence(x, y, groups).coefficients
    np.testing.assert_allclose(found, np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-4)


def test_a_group_that_does_nothing_is_pressed_to_zero() -> None:
    x, y, groups = made_up(1)
    noisy = y + np.random.default_rng(2).normal(0, 0.3, len(y))
    plain = np.linalg.lstsq(x, noisy, rcond=None)[0]
    found = fit_evidence(x, noisy, groups).coefficients
    assert np.abs(found[5:]).mean() < 0.4 * np.abs(plain[5:]).mean()
    np.testing.assert_allclose(found[:5], [2.0, -1.0, 0.5, 0.3, -0.4], atol=0.1)


def test_outliers_hardly_move_it() -> None:
    x, y, groups = made_up(3)
    spoiled = y.copy()
    spoiled[::20] += 30.0
    np.testing.assert_allclose(
        fit_evidence(x, spoiled, groups).coefficients[:5], [2, -1, 0.5, 0.3, -0.4], atol=0.2
    )


def test_columns_without_effect_go_and_those_with_one_stay() -> None:
    x, y, groups = made_up(4)
    fit = fit_evidence(x, y + np.random.default_rng(5).normal(0, 0.05, len(y)), groups)
    alive, found = needed_columns(fit, list(range(2, 25)), cost=10.0)
    assert np.flatnonzero(alive).tolist() == [0, 1, 2, 3, 4]
    assert found[:5] == pytest.approx([2.0, -1.0, 0.5, 0.3, -0.4], abs=0.02)


def test_a_column_of_zeros_gets_no_coefficient() -> None:
    x, y, groups = made_up(6)
    x[:, 7] = 0.0
    assert fit_evidence(x, y, groups).coefficients[7] == 0.0
