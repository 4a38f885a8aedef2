"""Learn formulas from stored structures and publish them; what needs torch is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defectdb.engine.regressor import SymbolicRegressor
    from defectdb.learn.config import LearnConfig
    from defectdb.learn.from_pairs import learn_pairs
    from defectdb.learn.from_structures import learn_model
    from defectdb.learn.outcome import Learned, Progress

__all__ = ["LearnConfig", "Learned", "Progress", "SymbolicRegressor", "learn_model", "learn_pairs"]

_OWNERS = {
    "LearnConfig": "defectdb.learn.config",
    "Learned": "defectdb.learn.outcome",
    "Progress": "defectdb.learn.outcome",
    "SymbolicRegressor": "defectdb.engine.regressor",
    "learn_model": "defectdb.learn.from_structures",
    "learn_pairs": "defectdb.learn.from_pairs",
}


def __getattr__(name: str) -> Any:
    """A public name, its module loaded on first use."""
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OWNERS[name]), name)
