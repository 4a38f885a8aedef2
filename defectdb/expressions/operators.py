"""The operators: arity, complexity, what each computes, and how SQL, C and Python write it.

An operator's meaning is one function of a ``Mathematics`` (sqrt, exp, log ... of some engine) and its
operands, so numpy, torch, polars and sympy evaluate the same definition; texts are templates beside it.
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

    TRIGONOMETRIC = "trigonometric"
    EXPONENTIAL = "exponential"


SUM, PRODUCT, SIGN, POWER, CALL = range(1, 6)  # how tightly a Python expression binds


@dataclass(frozen=True, slots=True)
class Infix:
    """How an operator is written in Python.

    ``template``: text over its operands ``{0}``, ``{1}``.
    ``binds``: how tightly it binds, from SUM to CALL.
    ``operands`` [operand]: how tightly each operand must bind to stand without parentheses.
    """

    template: str
    binds: int
    operands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the formula language.

    ``name``: its token.
    ``arity``: operands, 1 or 2.
    ``apply``: function that computes it, ``apply(m, *operands)`` with the functions of ``m``.
    ``sql``, ``c``: templates over operands ``{0}``, ``{1}`` in parentheses.
    ``infix``: how it is written in Python.
    ``families``: those that it counts for when functions are nested; none for algebra.
    ``commutative``: whether its operands may change sides.
    ``complexity``: tokens that it counts for.
    """

    name: str
    arity: int
    apply: Callable[..., Any]
    sql: str
    c: str
    infix: Infix
    families: tuple[Family, ...] = ()
    commutative: bool = False
    complexity: int = 1

    def __post_init__(self) -> None:
        if self.arity not in (1, 2):
            raise ValueError(f"operator {self.name!r}: arity must be 1 or 2, not {self.arity}")


_NAN = "CAST('nan' AS DOUBLE)"
_FINITE = "(CASE WHEN isfinite({0}) THEN FN({0}) ELSE " + _NAN + " END)"
_COS = _FINITE.replace("FN", "cos")
_ROOT = "(CASE WHEN {0} >= CAST(0 AS DOUBLE) THEN sqrt({0}) ELSE " + _NAN + " END)"
_LOG = "(CASE WHEN {0} > CAST(0 AS DOUBLE) THEN ln({0}) ELSE " + _NAN + " END)"


def _binary(
    name: str, sign: str, apply: Callable[..., Any], infix: Infix, *, commutative: bool = False
) -> Operator:
    text = f"({{0}} {sign} {{1}})"
    return Operator(name, 2, apply, text, text, infix, commutative=commutative)


def _function(
    name: str, apply: Callable[..., Any], sql: str = "", c: str = "", family: Family | None = None
) -> Operator:
    text = f"{name}({{0}})"
    families = () if family is None else (family,)
    return Operator(name, 1, apply, sql or text, c or text, Infix(text, CALL, (0,)), families)


def _power(name: str, exponent: int, apply: Callable[..., Any]) -> Operator:
    infix = Infix(f"{{0}}**{exponent}", POWER, (CALL,))
    return Operator(
        name, 1, apply, f"pow({{0}}, CAST({exponent} AS DOUBLE))", f"pow({{0}}, {exponent})", infix
    )


def _operators() -> list[Operator]:
    trig, expo = Family.TRIGONOMETRIC, Family.EXPONENTIAL
    return [
        _binary("add", "+", lambda _, x, y: x + y, Infix("{0} + {1}", SUM, (SUM, PRODUCT)), commutative=True),
        _binary("sub", "-", lambda _, x, y: x - y, Infix("{0} - {1}", SUM, (SUM, PRODUCT))),
        _binary(
            "mul", "*", lambda _, x, y: x * y, Infix("{0}*{1}", PRODUCT, (PRODUCT, POWER)), commutative=True
        ),
        _binary("div", "/", lambda _, x, y: x / y, Infix("{0}/{1}", PRODUCT, (PRODUCT, POWER))),
        Operator(
            "pow", 2, lambda m, x, y: m.pow(x, y),
            "pow({0}, {1})", "pow({0}, {1})", Infix("{0}**{1}", POWER, (CALL, SIGN)),
        ),
        Operator("neg", 1, lambda _, x: -x, "(-{0})", "(-{0})", Infix("-{0}", SIGN, (POWER,))),
        Operator(
            "inv", 1, lambda _, x: 1.0 / x,
            "(CAST(1 AS DOUBLE) / {0})", "(1.0 / {0})", Infix("1/{0}", PRODUCT, (POWER,)),
        ),
        _power("square", 2, lambda _, x: x * x),
        _power("cube", 3, lambda _, x: x * x * x),
        _function("sqrt", lambda m, x: m.sqrt(x), _ROOT),
        _function("exp", lambda m, x: m.exp(x), family=expo),
        _function("log", lambda m, x: m.log(x), _LOG, "({0} > 0 ? log({0}) : NAN)", expo),
        _function("sin", lambda m, x: m.sin(x), _FINITE.replace("FN", "sin"), family=trig),
        _function("cos", lambda m, x: m.cos(x), _COS, family=trig),
        _function("tanh", lambda m, x: m.tanh(x), family=expo),
        _function("abs", lambda m, x: m.abs(x), c="fabs({0})"),
        Operator(  # a damped oscillation: in nature one thing, in other operators five tokens
            "damped", 2, lambda m, x, y: m.exp(-x) * m.cos(y),
            f"(exp(-{{0}}) * {_COS.replace('{0}', '{1}')})", "(exp(-{0}) * cos({1}))",
            Infix("exp(-{0})*cos({1})", PRODUCT, (POWER, 0)), (expo, trig),
        ),
    ]  # fmt: skip


OPERATORS: Mapping[str, Operator] = MappingProxyType({op.name: op for op in _operators()})
