"""Simplify a fitted formula without changing its values, by rules on its tree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from defectdb.expressions.evaluation import NumpyMathematics
from defectdb.expressions.expression import (
    Call,
    Constant,
    Expression,
    Number,
    evaluate,
    from_prefix,
    to_prefix,
    walk,
)

_MAX_PASSES = 12
_MAX_EXPONENT = 200.0
_MAX_TURNS = 1e4  # angles of more turns than this lose digits when turns are taken off
_PLAIN_POWERS = {1.0: "", 2.0: "square", 3.0: "cube", 0.5: "sqrt", -1.0: "inv"}
_EVEN_FUNCTIONS = ("square", "cos", "abs")
_ODD_FUNCTIONS = ("cube", "sin", "tanh", "inv")


def simplify(expression: Expression, constants: Sequence[float]) -> tuple[Expression, tuple[float, ...]]:
    """The same function with fewer tokens: constants folded into one another, signs and inverses resolved.

    Equal wherever both are defined; the constants are renumbered in prefix order.
    """
    values = list(constants)
    for _ in range(_MAX_PASSES):
        simpler = _rewritten(expression, values)
        if simpler == expression:
            break
        expression = simpler
    return renumbered(expression, values)


def renumbered(expression: Expression, values: Sequence[float]) -> tuple[Expression, tuple[float, ...]]:
    """The formula with its constants numbered in prefix order, every occurrence with a number and value of its own."""
    order = [node.index for node in walk(expression) if isinstance(node, Constant)]
    numbers = iter(range(len(order)))
    names = [
        f"c{next(numbers)}" if isinstance(node, Constant) else text
        for node, text in zip(walk(expression), to_prefix(expression), strict=True)
    ]
    return from_prefix(names), tuple(values[i] for i in order)


def _rewritten(node: Expression, values: list[float]) -> Expression:
    """One pass from the leaves up; new constants are appended to ``values``."""
    if not isinstance(node, Call):
        return node
    args = tuple(_rewritten(arg, values) for arg in node.args)
    node = replace(node, args=args)
    known = [_value(arg, values) for arg in args]
    if all(v is not None for v in known):
        if all(isinstance(arg, Number) for arg in args) and node.operator not in ("neg", "mul", "add", "sub"):
            return node  # 1/3 and sqrt(2) say more than 0.333 and 1.414
        return _folded(node, values)
    return _unary(node, values) if len(args) == 1 else _binary(node, known, values)


def _value(node: Expression, values: Sequence[float]) -> float | None:
    match node:
        case Constant(index):
            return values[index]
        case Number(value):
            return value
    return None


def _constant(value: float, values: list[float]) -> Constant:
    values.append(value)
    return Constant(len(values) - 1)


def _folded(node: Call, values: list[float]) -> Expression:
    """The value of an operator on constants, unless it is not finite."""
    with np.errstate(all="ignore"):
        value = float(evaluate(node, NumpyMathematics(), {}, [np.float64(v) for v in values], np.float64))
    if not np.isfinite(value):
        return node
    if all(isinstance(arg, Number) for arg in node.args) and value.is_integer():
        return Number(value)
    return _constant(value, values)


def _is(node: Expression, *operators: str) -> bool:
    return isinstance(node, Call) and node.operator in operators


def _inner(node: Expression, i: int = 0) -> Expression:
    assert isinstance(node, Call)
    return node.args[i]


def _unary(node: Call, values: list[float]) -> Expression:  # noqa: PLR0911
    op, x = node.operator, node.args[0]
    if op in ("neg", "inv") and _is(x, op):
        return _inner(x)
    if _is(x, "neg") and op in _EVEN_FUNCTIONS:
        return Call(op, x.args) if isinstance(x, Call) else node
    if _is(x, "neg") and op in _ODD_FUNCTIONS:
        return Call("neg", (Call(op, (_inner(x),)),))
    if op in _EVEN_FUNCTIONS and _is(x, "sub") and _value(_inner(x), values) is not None:
        return Call(op, (Call("sub", (_inner(x, 1), _inner(x, 0))),))  # the variable first
    if op in _EVEN_FUNCTIONS and _is(x, "mul", "div") and (_value(_inner(x), values) or 0.0) < 0:
        return Call(op, (_times(x, -1.0, values),))
    if op in ("cos", "sin") and (nearer := _within_a_period(x, values)) is not None:
        return Call(op, (nearer,))
    if op == "neg" and _is(x, "sub"):
        return Call("sub", (_inner(x, 1), _inner(x, 0)))
    if op == "neg" and _is(x, "mul", "div") and (c := _value(_inner(x), values)) is not None:
        return Call(x.operator, (_constant(-c, values), _inner(x, 1))) if isinstance(x, Call) else node
    if op == "inv" and _is(x, "div"):
        return Call("div", (_inner(x, 1), _inner(x, 0)))
    if (op, getattr(x, "operator", "")) in (("exp", "log"), ("log", "exp"), ("square", "sqrt")):
        return _inner(x)
    return node


def _times(node: Expression, factor: float, values: list[float]) -> Expression:
    """A product or quotient that begins with a number or constant, with that times ``factor``."""
    assert isinstance(node, Call)
    first = node.args[0]
    number = isinstance(first, Number)
    value = factor * (_value(first, values) or 0.0)
    return replace(node, args=(Number(value) if number else _constant(value, values), *node.args[1:]))


def _within_a_period(node: Expression, values: list[float]) -> Expression | None:
    """An angle c + x, c - x or k (c + x) with a fitted c between -half and half a period; None if it is so already."""
    inner, factor = node, 1.0
    if _is(node, "mul") and (k := _value(_inner(node), values)):
        inner, factor = _inner(node, 1), k
    if not _is(inner, "add", "sub") or not isinstance(_inner(inner), Constant):
        return None
    phase, period = _value(_inner(inner), values) or 0.0, 2 * math.pi / abs(factor)
    if abs(phase) <= 0.5 * period * (1 + 1e-9) or abs(phase) > _MAX_TURNS * period:
        return None
    assert isinstance(inner, Call)
    nearer = replace(inner, args=(_constant(math.remainder(phase, period), values), inner.args[1]))
    return nearer if inner is node else Call("mul", (_inner(node), nearer))


def _binary(node: Call, known: Sequence[float | None], values: list[float]) -> Expression:
    if node.operator in ("add", "sub"):
        return _sum(node, known, values)
    if node.operator == "pow" and isinstance(node.args[1], Number) and node.args[1].value in _PLAIN_POWERS:
        name = _PLAIN_POWERS[node.args[1].value]
        return Call(name, node.args[:1]) if name else node.args[0]
    if node.operator == "damped" and _is(node.args[1], "neg"):  # its cosine is even
        return Call("damped", (node.args[0], _inner(node.args[1])))
    return _product(node, known, values) if node.operator in ("mul", "div") else node


def _sum(node: Call, known: Sequence[float | None], values: list[float]) -> Expression:  # noqa: PLR0911
    op, (a, b) = node.operator, node.args
    if known[0] == 0.0:
        return b if op == "add" else Call("neg", (b,))
    if known[1] == 0.0:
        return a
    if _is(b, "neg"):
        return Call("sub" if op == "add" else "add", (a, _inner(b)))
    if _is(a, "neg") and op == "add":
        return Call("sub", (b, _inner(a)))
    if op == "sub" and a == b:
        return Number(0.0)
    if known[1] is not None and not isinstance(b, Number):  # x - c, x + c: the constant first
        sign = 1.0 if op == "add" else -1.0
        return Call("add", (_constant(sign * known[1], values), a))
    if isinstance(a, Constant) and _is(b, "add", "sub") and (c := _value(_inner(b), values)) is not None:
        assert isinstance(b, Call)
        sign = 1.0 if op == "add" else -1.0
        minus = (b.operator == "sub") != (op == "sub")
        first = _constant(values[a.index] + sign * c, values)
        return Call("sub" if minus else "add", (first, b.args[1]))
    return node


def _product(node: Call, known: Sequence[float | None], values: list[float]) -> Expression:  # noqa: PLR0911
    op, (a, b) = node.operator, node.args
    if (known[0] == 1.0 and op == "mul") or (op == "mul" and known[0] is None and known[1] == 1.0):
        return b if known[0] == 1.0 else a
    if known[1] == 1.0:
        return a
    if known[0] == -1.0 and op == "mul":
        return Call("neg", (b,))
    if known[0] == 0.0:
        return Number(0.0)
    if known[0] == 1.0 and isinstance(a, Number):
        return Call("inv", (b,))
    if known[1] is not None and isinstance(b, Constant):  # x / c, x * c: the constant first
        factor = known[1] if op == "mul" else (1.0 / known[1] if known[1] else 0.0)
        return Call("mul", (_constant(factor, values), a)) if factor else node
    if isinstance(a, Constant):
        return _scaled(op, values[a.index], b, values)
    if _is(a, "neg") or _is(b, "neg"):
        sides = tuple(_inner(x) if _is(x, "neg") else x for x in (a, b))
        inner = Call(op, sides)
        return inner if _is(a, "neg") and _is(b, "neg") else Call("neg", (inner,))
    if _is(b, "inv"):
        return Call("div" if op == "mul" else "mul", (a, _inner(b)))
    return node


def _scaled(op: str, factor: float, x: Expression, values: list[float]) -> Expression:
    """``factor * x`` or ``factor / x`` with what the factor can take over from ``x`` taken over."""
    if not isinstance(x, Call):
        return Call(op, (_constant(factor, values), x))
    if x.operator == "neg":
        return Call(op, (_constant(-factor, values), x.args[0]))
    if x.operator == "inv":
        return Call("div" if op == "mul" else "mul", (_constant(factor, values), x.args[0]))
    power = {"square": 2, "cube": 3}.get(x.operator, 1)
    product = x.args[0] if power > 1 else x
    if isinstance(product, Call) and product.operator in ("mul", "div"):
        scale, rest = _value(product.args[0], values), product.args[1]
        if scale:
            both = factor * scale**power if op == "mul" else factor / scale**power
            kept = "mul" if op == product.operator else "div"
            return Call(kept, (_constant(both, values), Call(x.operator, (rest,)) if power > 1 else rest))
    if x.operator == "exp":
        return _scaled_exponential(op, factor, x, values)
    return Call(op, (_constant(factor, values), x))


def _scaled_exponential(op: str, factor: float, x: Call, values: list[float]) -> Expression:
    """``factor * exp(c + y)`` with the constant moved out of the exponential."""
    total = x.args[0]
    if isinstance(total, Call) and total.operator in ("add", "sub"):
        c = _value(total.args[0], values)
        if c is not None and abs(c) < _MAX_EXPONENT:
            rest = total.args[1] if total.operator == "add" else Call("neg", (total.args[1],))
            both = factor * math.exp(c if op == "mul" else -c)
            return Call(op, (_constant(both, values), Call("exp", (rest,))))
    return Call(op, (_constant(factor, values), x))
