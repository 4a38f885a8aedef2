"""Every operator once: arity, complexity, what it computes in any engine, and how it is written in SQL, C and LaTeX.

An operator's meaning is one function of a ``Mathematics`` (sqrt, exp, log ... of some engine) and its operands,
so numpy, torch, polars and sympy evaluate the same definition; SQL, C and Python texts are templates beside it.
Outside its domain an operator gives NaN in every engine: log of a number that is not positive, the root of a
negative number, sin and cos of infinity, a fractional power of a negative number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol


class Mathematics(Protocol):
    """The functions that an engine (numpy, torch, polars, sympy) offers to the operators."""

    def sqrt(self, x: Any) -> Any: ...
    def exp(self, x: Any) -> Any: ...
    def log(self, x: Any) -> Any: ...
    def sin(self, x: Any) -> Any: ...
    def cos(self, x: Any) -> Any: ...
    def tanh(self, x: Any) -> Any: ...
    def abs(self, x: Any) -> Any: ...
    def pow(self, x: Any, y: Any) -> Any: ...


class Family(StrEnum):
    """Operators that should not be nested within one another beyond a limit."""

    ALGEBRAIC = "algebraic"
    TRIGONOMETRIC = "trigonometric"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    ``apply(m, *operands)`` computes it with the functions of ``m``. ``sql``, ``c``, ``python`` and ``infix``
    are templates over already parenthesised operands ``{0}``, ``{1}``.
    """

    name: str
    arity: int
    apply: Callable[..., Any]
    sql: str
    c: str
    infix: str
    family: Family = Family.ALGEBRAIC
    commutative: bool = False
    complexity: int = 1

    def __post_init__(self) -> None:
        if self.arity not in (1, 2):
            raise ValueError(f"operator {self.name!r}: arity must be 1 or 2, not {self.arity}")


_NAN = "CAST('nan' AS DOUBLE)"


def _operators() -> list[Operator]:
    trig, expo = Family.TRIGONOMETRIC, Family.EXPONENTIAL
    finite = "(CASE WHEN isfinite({0}) THEN FN({0}) ELSE " + _NAN + " END)"
    return [
        Operator("add", 2, lambda m, x, y: x + y, "({0} + {1})", "({0} + {1})", "({0} + {1})", commutative=True),
        Operator("sub", 2, lambda m, x, y: x - y, "({0} - {1})", "({0} - {1})", "({0} - {1})"),
        Operator("mul", 2, lambda m, x, y: x * y, "({0} * {1})", "({0} * {1})", "({0} * {1})", commutative=True),
        Operator("div", 2, lambda m, x, y: x / y, "({0} / {1})", "({0} / {1})", "({0} / {1})"),
        Operator("pow", 2, lambda m, x, y: m.pow(x, y), "pow({0}, {1})", "pow({0}, {1})", "({0}) ** ({1})"),
        Operator("neg", 1, lambda m, x: -x, "(-{0})", "(-{0})", "(-{0})"),
        Operator("inv", 1, lambda m, x: 1.0 / x, "(CAST(1 AS DOUBLE) / {0})", "(1.0 / {0})", "(1 / {0})"),
        Operator("square", 1, lambda m, x: x * x, "pow({0}, CAST(2 AS DOUBLE))", "pow({0}, 2)", "({0}) ** 2"),
        Operator("cube", 1, lambda m, x: x * x * x, "pow({0}, CAST(3 AS DOUBLE))", "pow({0}, 3)", "({0}) ** 3"),
        Operator(
            "sqrt", 1, lambda m, x: m.sqrt(x),
            "(CASE WHEN {0} >= CAST(0 AS DOUBLE) THEN sqrt({0}) ELSE " + _NAN + " END)", "sqrt({0})", "sqrt({0})",
        ),
        Operator("exp", 1, lambda m, x: m.exp(x), "exp({0})", "exp({0})", "exp({0})", expo),
        Operator(
            "log", 1, lambda m, x: m.log(x),
            "(CASE WHEN {0} > CAST(0 AS DOUBLE) THEN ln({0}) ELSE " + _NAN + " END)",
            "({0} > 0 ? log({0}) : NAN)", "log({0})", expo,
        ),
        Operator("sin", 1, lambda m, x: m.sin(x), finite.replace("FN", "sin"), "sin({0})", "sin({0})", trig),
        Operator("cos", 1, lambda m, x: m.cos(x), finite.replace("FN", "cos"), "cos({0})", "cos({0})", trig),
        Operator("tanh", 1, lambda m, x: m.tanh(x), "tanh({0})", "tanh({0})", "tanh({0})", expo),
        Operator("abs", 1, lambda m, x: m.abs(x), "abs({0})", "fabs({0})", "abs({0})"),
    ]  # fmt: skip


OPERATORS: Mapping[str, Operator] = MappingProxyType({op.name: op for op in _operators()})
