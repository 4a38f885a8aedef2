"""The scikit-learn style regressor: exact laws, several variables, honest refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from defectdb.engine import SymbolicRegressor
from defectdb.errors import SelectionError, UsageError
from defectdb.expressions.expression import variables

X = np.linspace(0.5, 3.0, 20)


def quick(**options) -> SymbolicRegressor:
    settings = {
        "generations": 2,
        "population": 300,
        "max_tokens": 15,
        "operators": ("add", "mul", "exp", "cos"),
    }
    return SymbolicRegressor(**{**settings, **options})


def test_a_polynomial_is_found_exactly():
    model = quick().fit(X, X**3 + X**2 + X)
    assert model.best_.mse < 1e-20
    assert model.best_.constants == ()
    assert np.allclose(model.predict([4.0, 5.0]), [84.0, 155.0])
    assert model.score(X, X**3 + X**2 + X) == pytest.approx(1.0)
    x = model.sympy().free_symbols.pop()
    assert (model.sympy().expand() - (x**3 + x**2 + x)).expand() == 0
    assert "x" in model.latex()
    assert "x" in model.infix()


def test_two_variables_are_told_apart():
    x = np.random.default_rng(0).uniform(0.5, 2.0, (30, 2))
    model = quick(variables=("a", "b")).fit(x, 2 * np.cos(x[:, 0]) * x[:, 1])
    assert model.best_.mse < 1e-18
    assert variables(model.best_.expression) == ("a", "b")


def test_weights_silence_a_row():
    y = 3 * np.exp(X) + 1
    y[4] = 100.0
    weight = np.ones(20)
    weight[4] = 0.0
    model = quick().fit(X, y, sample_weight=weight)
    assert model.predict(X[:3]) == pytest.approx(y[:3])


def test_a_robust_fit_shrugs_off_an_outlier():
    y = 3 * np.exp(X) + 1
    y[4] += 30.0
    model = quick(huber=0.01, generations=0).fit(X, y)
    assert model.best_.loss < model.best_.mse
    assert np.median(np.abs(model.predict(X) - y)) < 0.01
    inside = np.delete(np.arange(20), 4)
    assert model.predict(X)[inside] == pytest.approx(3 * np.exp(X[inside]) + 1, abs=0.02)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], r"sample_weight must be 20 values, one for every row, not \(1,\)"),
        (np.ones(7), r"must be 20 values, one for every row, not \(7,\)"),
        (np.ones((20, 2)), "one for every row"),
        (np.zeros(20), "not all zero"),
        ([-1.0, *[1.0] * 19], "not negative"),
        ([np.nan, *[1.0] * 19], "finite"),
        ([1.0, 1.0, *[0.0] * 18], r"2 rows \(of some weight\) are too few"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weight, message):
    with pytest.raises(SelectionError, match=message):
        quick().fit(X, np.exp(X), sample_weight=weight)


def test_rows_of_no_weight_do_not_change_what_is_found():
    y = 0.4 + 2 * np.exp(-X) + 0.05 * np.random.default_rng(1).standard_normal(20)
    alone = quick(generations=0).fit(X, y)
    x = np.concatenate([X, np.linspace(0.6, 2.9, 90)])
    more = quick(generations=0).fit(
        x, np.concatenate([y, np.full(90, 7.0)]), sample_weight=np.repeat([1.0, 0.0], [20, 90])
    )
    assert more.best_.expression == alone.best_.expression
    assert more.best_.bic == pytest.approx(alone.best_.bic, rel=1e-6)


def test_constants_are_fewer_than_rows_not_than_their_points():
    groups = np.repeat(np.arange(5), 4)
    y = np.array([3.0, 1.0, 4.0, 1.5, 9.0])
    model = quick(generations=0, operators=("add", "mul", "exp", "cos")).fit(X, y, groups=groups)
    assert model._grammar(X[:, None], 5).max_constants == 2
    assert all(s.skeleton.count(model._grammar(X[:, None], 5).index["c"]) <= 2 for s in model.front_)


@pytest.mark.parametrize("aggregate", ["sum", "min"])
def test_a_group_without_points_has_no_value(aggregate):
    model = quick(generations=0, aggregate=aggregate, numbers=(1,), operators=("add", "exp"))
    model.fit([1.0, 2.0, 3.0, 4.0], np.exp([1.0, 2.0, 3.0, 4.0]), groups=[0, 1, 2, 3])
    assert model.predict([1.0, 2.0, 3.0], groups=[0, 1, 1]).shape == (2,)
    with pytest.raises(SelectionError, match="every group from 0 to 2 needs a row of X"):
        model.predict([1.0, 2.0, 3.0, 4.0], groups=[0, 0, 2, 2])


def test_a_variable_without_range_is_left_out_with_a_warning():
    x = np.stack([X, np.full(20, 2.0)], axis=1)
    with pytest.warns(UserWarning, match="x2 has one value only"):
        model = quick(generations=0).fit(x, np.cos(X))
    assert "x2" not in {name for s in model.front_ for name in variables(s.expression)}


def test_a_constant_target_gives_a_constant_with_a_warning():
    with pytest.warns(UserWarning, match="the target is constant"):
        model = quick().fit(X, np.full(20, 1.5))
    assert model.predict([0.0, 9.0]).tolist() == [1.5, 1.5]


def test_equal_points_with_different_values_are_noise_not_an_error():
    x = np.concatenate([X, X])
    model = quick(generations=0).fit(x, np.concatenate([np.cos(X) - 0.005, np.cos(X) + 0.005]))
    assert model.best_.mse == pytest.approx(0.005**2, rel=0.2)


def test_few_rows_give_few_constants():
    model = quick(generations=1).fit([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 5.0])
    assert model.front_
    assert all(np.isfinite(s.mse) for s in model.front_)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([1.0, 2.0, np.nan, 4.0], [1.0, 2.0, 3.0, 4.0], SelectionError, "NaN"),
        ([1.0, 2.0], [1.0, 2.0], SelectionError, "too few"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], SelectionError, "y must be 3 values, one for every row"),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], SelectionError, "no variable varies"),
        (np.zeros((4, 101)), [1.0, 2.0, 3.0, 4.0], SelectionError, "1 to 100 variables"),
    ],
)
def test_data_that_say_nothing_are_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        quick().fit(x, y)


def test_parameters_are_read_and_set_by_name():
    model = quick(seed=3)
    assert model.get_params()["seed"] == 3
    assert model.set_params(seed=4).seed == 4
    with pytest.raises(UsageError, match="unknown parameters depth"):
        model.set_params(depth=3)


def test_a_regressor_without_fit_says_so():
    with pytest.raises(UsageError, match="call fit first"):
        quick().predict(X)


def test_names_must_match_the_columns():
    with pytest.raises(UsageError, match="1 variable names for 2 columns"):
        quick(variables=("a",)).fit(np.ones((5, 2)), np.arange(5.0))


def test_the_constants_come_with_their_covariance():
    noise = 0.01 * np.random.default_rng(0).standard_normal(20)
    model = quick(generations=0).fit(X, 0.37 + 2.63 * np.exp(-X) + noise)
    found = model.covariance()
    size = len(model.best_.constants)
    assert found.shape == (size, size)
    assert np.allclose(found, found.T)
    assert (np.diag(found) > 0).all()


def test_the_average_of_the_front_has_a_spread():
    noise = 0.05 * np.random.default_rng(0).standard_normal(20)
    model = quick(generations=0).fit(X, 2 * np.exp(-X) + noise)
    mean, spread = model.averaged([0.5, 2.0])
    assert mean.shape == spread.shape == (2,)
    assert np.allclose(mean, 2 * np.exp([-0.5, -2.0]), atol=0.2)
    assert (spread >= 0).all()


def test_a_law_bent_by_noise_is_found_in_round_numbers():
    x = np.linspace(-1, 1, 30)
    noise = 0.1 * np.random.default_rng(1).standard_normal(30)
    model = quick(generations=0).fit(x, 2 * np.cos(x) + x + noise)
    assert not model.best_.constants
    assert np.allclose(model.predict([-2.0, 2.0]), 2 * np.cos([-2.0, 2.0]) + [-2.0, 2.0])


def test_stability_is_the_share_of_islands_that_hold_a_formula():
    model = quick(generations=0, islands=2).fit(X, np.cos(X))
    assert len(model.stability_) == len(model.front_)
    assert all(share in (0.5, 1.0) for share in model.stability_)


@pytest.fixture(scope="module")
def frame_model() -> SymbolicRegressor:
    """2 cos(a) b, learned from a data frame."""
    a, b = np.linspace(0.5, 2.0, 20), np.cos(np.arange(20.0)) + 2.0
    return quick(generations=0).fit(pl.DataFrame({"a": a, "b": b}), 2 * np.cos(a) * b)


def test_columns_of_a_data_frame_are_taken_by_name(frame_model):
    frame = pl.DataFrame({"b": [3.0], "other": [7.0], "a": [1.0]})
    assert frame_model.predict(frame) == pytest.approx([6 * np.cos(1.0)])
    assert frame_model.predict([[1.0, 3.0]]) == pytest.approx([6 * np.cos(1.0)])


def test_a_missing_column_is_an_error(frame_model):
    with pytest.raises(SelectionError, match="the columns 'a', 'c' lack 'b'"):
        frame_model.predict(pl.DataFrame({"a": [1.0], "c": [3.0]}))


@pytest.mark.parametrize("name", ["Band gap", "R", "c1", "exp", "é"])
def test_a_column_name_that_no_variable_can_have_is_refused(name):
    with pytest.raises(SelectionError, match=rf"no variable can be called '{name}'.*give variables="):
        quick().fit(pl.DataFrame({name: X}), X)


def test_variables_name_columns_that_have_other_names():
    frame = pl.DataFrame({"Band gap": X, "Other column": 1.0 + X**2})
    model = quick(generations=0, variables=("gap", "other")).fit(frame, 3 * np.exp(X))
    assert model.predict(frame.select("Other column", "Band gap")) == pytest.approx(3 * np.exp(X))
    with pytest.raises(SelectionError, match="lack 'Band gap'"):
        model.predict(frame.select("Other column"))


@pytest.mark.parametrize("module", ["defectdb", "defectdb.engine"])
def test_the_regressor_needs_no_database(module):
    code = (
        f"import sys; from {module} import SymbolicRegressor; "
        "print(*{'duckdb', 'polars', 'pydantic', 'pymatgen', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_without_time_there_is_still_a_formula():
    model = quick(time_limit=0.0).fit(X, np.round(1 / X, 3))
    assert np.isfinite(model.best_.mse)
