"""Write expressions as SQL, C or Python text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from defectdb.errors import ExpressionError
from defectdb.expressions.expression import (
    Call,
    Constant,
    Expression,
    Number,
    Variable,
    number_text,
    variables,
    walk,
)
from defectdb.expressions.operators import CALL, OPERATORS, PRODUCT, SIGN

MAX_TEXT = 100_000


def to_sql(
    expression: Expression, constants: Sequence[float] = (), columns: Mapping[str, str] | None = None
) -> str:
    """A DuckDB expression over the given column texts (default: the variables' quoted names).

    Numbers are cast to DOUBLE: bare literals are DECIMAL. Raises ExpressionError.
    """
    columns = columns or {}

    def leaf(node: Expression) -> str:
        if isinstance(node, Variable):
            return columns.get(node.name, f'"{node.name}"')
        return f"CAST('{_value(node, constants)!r}' AS DOUBLE)"

    return _fold(expression, leaf, lambda name: OPERATORS[name].sql)


def to_c(expression: Expression, constants: Sequence[float] = ()) -> str:
    """A C99 expression over doubles; needs ``<math.h>``. Raises ExpressionError."""

    def leaf(node: Expression) -> str:
        return node.name if isinstance(node, Variable) else f"({_value(node, constants)!r})"

    return _fold(expression, leaf, lambda name: OPERATORS[name].c)


def to_infix(expression: Expression, constants: Sequence[float] = (), digits: int | None = None) -> str:
    """Readable text that is also a Python expression (over ``exp``, ``log``, ``sin`` ...).

    Parentheses stand only where the order of operations needs them. ``digits`` rounds the fitted constants to
    that many significant digits; by default they are exact. Raises ExpressionError.
    """
    stack: list[tuple[str, int]] = []
    for node in reversed(list(walk(expression))):
        if isinstance(node, Call):
            stack.append(_joined(node.operator, [stack.pop() for _ in node.args]))
        elif isinstance(node, Variable):
            stack.append((node.name, CALL))
        else:
            value = _value(node, constants)
            exact = isinstance(node, Number) or digits is None
            text = number_text(value) if exact else f"{value:.{digits}g}"
            stack.append((text, SIGN if text.startswith("-") else CALL))
        _check_length(stack[-1][0])
    return stack[0][0]


def decimals_of(error: float, digits: int = 2) -> int:
    """Decimals that show so many significant digits of an error; negative for tens, hundreds ..."""
    return digits - 1 - math.floor(math.log10(error))


def with_error(value: float, error: float | None) -> str:
    """A value to the digits that its error leaves: ``2.037 +- 0.015``; four digits where the error is not known."""
    if error is None or not (math.isfinite(error) and error > 0 and math.isfinite(value)):
        return f"{value:.4g}"
    decimals = decimals_of(error)
    if error > abs(value) * 1e3 or decimals > 12:
        return f"{value:.4g} +- {error:.2g}"
    shown = max(decimals, 0)
    return f"{round(value, decimals):.{shown}f} +- {round(error, decimals):.{shown}f}"


def to_their_errors(constants: Sequence[float], errors: Sequence[float] | None) -> tuple[float, ...]:
    """The constants rounded to two digits of their standard errors, four significant ones where there is none."""
    known = errors if errors is not None and len(errors) == len(constants) else [math.nan] * len(constants)
    return tuple(
        round(value, decimals_of(error))
        if math.isfinite(error) and 0 < error < 0.5 * abs(value)
        else float(f"{value:.4g}")
        for value, error in zip(constants, known, strict=True)
    )


def to_python(expression: Expression, constants: Sequence[float] = (), name: str = "formula") -> str:
    """Source of a Python function of the formula's variables, with its import."""
    body = to_infix(expression, constants)
    called = sorted(set(re.findall(r"\b(sqrt|exp|log|sin|cos|tanh)\(", body)))
    imports = f"from math import {', '.join(called)}\n\n\n" if called else ""
    arguments = ", ".join(variables(expression))
    return f"{imports}def {name}({arguments}):\n    return {body}\n"


def to_c_function(expression: Expression, constants: Sequence[float] = (), name: str = "formula") -> str:
    """Source of a C99 function of the formula's variables, with its include."""
    arguments = ", ".join(f"double {variable}" for variable in variables(expression)) or "void"
    body = to_c(expression, constants)
    return f"#include <math.h>\n\ndouble {name}({arguments})\n{{\n    return {body};\n}}\n"


def _joined(operator: str, operands: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """Text of a call and how tightly it binds."""
    infix = OPERATORS[operator].infix
    if operator == "neg" and operands[0][1] == PRODUCT and not operands[0][0].startswith("-"):
        return f"-{operands[0][0]}", PRODUCT  # -a*b is (-a)*b: the same number
    if operator in ("add", "sub") and operands[1][1] >= PRODUCT and operands[1][0].startswith("-"):
        sign = "-" if operator == "add" else "+"
        left, right = operands[0][0], operands[1][0][1:]
        return f"{left} {sign} {right}", infix.binds
    texts = [
        text if binds >= needed else f"({text})"
        for (text, binds), needed in zip(operands, infix.operands, strict=True)
    ]
    return infix.template.format(*texts), infix.binds


def _fold(expression: Expression, leaf: Callable[[Expression], str], template: Callable[[str], str]) -> str:
    stack: list[str] = []
    for node in reversed(list(walk(expression))):
        if isinstance(node, Call):
            stack.append(template(node.operator).format(*(stack.pop() for _ in node.args)))
        else:
            stack.append(leaf(node))
        _check_length(stack[-1])
    return stack[0]


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT:  # guarded operators repeat their operand: hostile nesting doubles the text
        raise ExpressionError(f"a formula nested so deeply that its text passes {MAX_TEXT} characters")


def _value(node: Expression, constants: Sequence[float]) -> float:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Constant):
        if node.index >= len(constants):
            raise ExpressionError(f"constant c{node.index} is not given: the formula has {len(constants)}")
        return float(constants[node.index])
    raise TypeError(node)
