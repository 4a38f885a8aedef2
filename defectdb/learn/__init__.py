"""Pair subsets selected by SQL to formulas: the deep symbolic regression and what it publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defectdb.learn.config import LearnConfig
from defectdb.learn.job import Learned, Progress
from defectdb.learn.learn_model import learn_model
from defectdb.learn.learn_pairs import learn_pairs

if TYPE_CHECKING:
    from defectdb.engine.regressor import SymbolicRegressor

__all__ = ["LearnConfig", "Learned", "Progress", "SymbolicRegressor", "learn_model", "learn_pairs"]


def __getattr__(name: str) -> Any:
    """The regressor, loaded when it is asked for."""
    if name == "SymbolicRegressor":
        from defectdb.engine.regressor import SymbolicRegressor

        return SymbolicRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
