"""The deep symbolic regression: formulas from arrays, without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defectdb.engine.regressor import SymbolicRegressor

__all__ = ["SymbolicRegressor"]


def __getattr__(name: str) -> Any:
    """The regressor, loaded with torch when it is asked for (PEP 562)."""
    if name == "SymbolicRegressor":
        from defectdb.engine.regressor import SymbolicRegressor

        return SymbolicRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
