"""Checks of the regressor's options."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from defectdb.engine.regressor_input import AGGREGATES
from defectdb.errors import UsageError

_SMALLEST = {"max_tokens": 1, "max_terms": 1, "population": 1, "islands": 1}
ENGINES = ("segvae", "equation-learner")
_FROM_ZERO = ("generations", "exhaustive_limit", "seed")


def not_fitted(text: str) -> UsageError:
    """The error of a regressor that was not fitted; scikit-learn's NotFittedError as well where that is loaded."""
    loaded = sys.modules.get("sklearn.exceptions")
    if loaded is None:
        return UsageError(text)
    error: UsageError = type("NotFittedError", (UsageError, loaded.NotFittedError), {})(text)
    return error


def check_options(regressor: Any) -> None:
    """Raise UsageError for options that no search can follow."""
    for name in (*_SMALLEST, *_FROM_ZERO):
        value, lowest = getattr(regressor, name), _SMALLEST.get(name, 0)
        if not isinstance(value, int | np.integer) or value < lowest:
            raise UsageError(f"{name} must be a whole number of at least {lowest}, not {value!r}")
    for name in ("time_limit", "huber"):
        value = getattr(regressor, name)
        if not isinstance(value, int | float | np.number) or not value >= 0.0:
            raise UsageError(f"{name} must be a number of at least 0, not {value!r}")
    if any(not isinstance(n, int | np.integer) or n < 1 for n in regressor.numbers):
        raise UsageError(f"numbers must be whole and positive, not {tuple(regressor.numbers)}")
    if regressor.engine not in ENGINES:
        raise UsageError(f"unknown engine {regressor.engine!r}; try {', '.join(ENGINES)}")
    if regressor.aggregate not in AGGREGATES:
        raise UsageError(f"unknown aggregate {regressor.aggregate!r}; try {', '.join(AGGREGATES)}")
    if regressor.islands > 1:
        if regressor.state is not None:
            raise UsageError("one state cannot hold several islands; use islands=1")
        if regressor.predicate is not None:
            raise UsageError("a predicate cannot travel to other processes; use islands=1")
