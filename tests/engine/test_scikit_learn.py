"""The regressor among scikit-learn's own: its checks of estimators, grids, clones and files."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from defectdb import SymbolicRegressor
from defectdb.errors import SelectionError, UsageError

SHORTEST = {
    "generations": 0, "population": 20, "max_tokens": 3, "max_terms": 1, "operators": ("add", "mul"), "numbers": (1,),
    "exhaustive_limit": 10, "time_limit": 0.05,
}  # fmt: skip
EXPECTED = {"check_fit1d": "a vector is a matrix of one column: distances are given as they are"}


with warnings.catch_warnings():  # it cannot inherit from BaseEstimator: scikit-learn need not be installed
    warnings.filterwarnings("ignore", message="Estimator SymbolicRegressor does not inherit")
    with_checks = parametrize_with_checks(
        [SymbolicRegressor(**SHORTEST)], expected_failed_checks=lambda _: EXPECTED, xfail_strict=True
    )


@with_checks
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_s_checks_pass(estimator, check):
    check(estimator)


X = np.linspace(0.5, 3.0, 24)[:, None]
Y = 2 * np.exp(-X[:, 0]) + 1


def quick(**options):
    return SymbolicRegressor(**{
        "generations": 0, "population": 50, "max_tokens": 9, "operators": ("mul", "neg", "exp"), "time_limit": 5.0,
        "exhaustive_limit": 500, **options,
    })  # fmt: skip


def test_a_grid_search_finds_the_operator_that_the_data_need():
    grid = GridSearchCV(quick(), {"operators": [("add", "mul"), ("mul", "neg", "exp")]}, cv=3)
    grid.fit(X[::-1], Y[::-1])
    assert grid.best_params_ == {"operators": ("mul", "neg", "exp")}
    assert grid.best_score_ > 0.999
    assert grid.predict(X[:2]) == pytest.approx(Y[:2])


def test_a_clone_has_the_settings_and_not_the_fit():
    fitted = quick(seed=3).fit(X, Y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError, match="call fit first") as caught:
        copy.predict(X)
    assert isinstance(caught.value, UsageError)


def test_a_fitted_regressor_survives_a_file(tmp_path):
    fitted = quick().fit(X, Y)
    joblib.dump(fitted, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    assert loaded.infix() == fitted.infix()
    assert loaded.equations_ == fitted.equations_
    assert np.array_equal(loaded.predict(X), fitted.predict(X))
    assert np.allclose(loaded.covariance(), fitted.covariance(), equal_nan=True)


def test_it_works_in_a_pipeline_and_in_cross_validation():
    model = make_pipeline(StandardScaler(), quick())
    scores = cross_val_score(model, X, Y, cv=3)
    assert scores.shape == (3,)
    assert model.fit(X, Y).score(X, Y) > 0.99


def test_many_variables_are_searched_too():
    x = np.random.default_rng(0).uniform(0.5, 2.0, (60, 12))
    fitted = quick(operators=("add", "mul"), max_tokens=5).fit(x, 3 * x[:, 7] * x[:, 2])
    assert fitted.score(x, 3 * x[:, 7] * x[:, 2]) == pytest.approx(1.0)


def test_entries_that_are_no_numbers_are_said():
    with pytest.raises(SelectionError, match="X must hold numbers"):
        quick().fit([["a"], ["b"], ["c"]], [1.0, 2.0, 3.0])
