"""Immutable expression trees, with prefix tokens, JSON, canonical hash and evaluation.

A leaf is a variable (``r``), a fitted constant (``c0``: an index into the formula's constants) or a number
(``2``, ``0.5``); a call applies an operator of ``schema.operators``. Texts are only ever written from trees;
trees are only ever read from prefix tokens and JSON, both checked: nothing is evaluated as code.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defectdb.errors import ExpressionError
from defectdb.expressions.operators import OPERATORS, Mathematics

MAX_NODES = 512
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,15}")
_CONSTANT = re.compile(r"c([0-9]{1,3})")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Variable:
    """An input of the formula.

    ``name``: e.g. ``r``, the distance in angstrom.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A fitted constant of the formula.

    ``index``: its number, from 0.
    """

    index: int


@dataclass(frozen=True, slots=True)
class Number:
    """A literal number of the formula.

    ``value``: the number.
    """

    value: float


@dataclass(frozen=True, slots=True)
class Call:
    """An operator applied to its operands.

    ``operator``: its name in ``OPERATORS``.
    ``args``: the operands, as many as its arity says.
    """

    operator: str
    args: tuple[Expression, ...]

    def __post_init__(self) -> None:
        known = OPERATORS.get(self.operator)
        if known is None:
            raise ExpressionError(f"unknown operator {self.operator!r}; known: {', '.join(OPERATORS)}")
        if len(self.args) != known.arity:
            raise ExpressionError(
                f"operator {self.operator!r} takes {known.arity} operands, not {len(self.args)}"
            )


Expression = Variable | Constant | Number | Call


def walk(expression: Expression) -> Iterator[Expression]:
    """Every node in prefix order."""
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Call):
            stack.extend(reversed(node.args))


def variables(expression: Expression) -> tuple[str, ...]:
    """Names of the variables, sorted."""
    return tuple(sorted({node.name for node in walk(expression) if isinstance(node, Variable)}))


def n_constants(expression: Expression) -> int:
    """One more than the largest constant index, 0 without constants."""
    return max((node.index + 1 for node in walk(expression) if isinstance(node, Constant)), default=0)


def complexity(expression: Expression) -> int:
    """Sum of the operators' complexities, one for every leaf: the number of tokens, as things are."""
    return sum(
        OPERATORS[node.operator].complexity if isinstance(node, Call) else 1 for node in walk(expression)
    )


def substitute(expression: Expression, leaves: Mapping[str, Expression], shift: int = 0) -> Expression:
    """The tree with these variables replaced and every constant's index raised by ``shift``."""
    match expression:
        case Variable(name):
            return leaves.get(name, expression)
        case Constant(index):
            return Constant(index + shift)
        case Call(operator, args):
            return Call(operator, tuple(substitute(arg, leaves, shift) for arg in args))
    return expression


# ---------------------------------------------------------------- prefix tokens


def names_variable(text: str) -> bool:
    """Whether a variable may be called so: small letters, digits and _, no operator's name nor a constant's."""
    taken = text == "c" or text in OPERATORS or _CONSTANT.fullmatch(text) is not None
    return _VARIABLE.fullmatch(text) is not None and not taken


def number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _token(node: Expression) -> str:
    match node:
        case Variable(name):
            return name
        case Constant(index):
            return f"c{index}"
        case Number(value):
            return number_text(value)
        case Call(operator, _):
            return operator


def to_prefix(expression: Expression) -> list[str]:
    """Prefix (Polish) tokens: ``add mul c0 r c1``."""
    return [_token(node) for node in walk(expression)]


def _leaf(token: str) -> Expression:
    if found := _CONSTANT.fullmatch(token):
        return Constant(int(found.group(1)))
    if _NUMBER.fullmatch(token):
        return _checked_number(float(token))
    if _VARIABLE.fullmatch(token):
        return Variable(token)
    raise ExpressionError(
        f"{token!r} is neither an operator, a constant c0, c1 ..., a number nor a variable name"
    )


def _checked_number(value: float) -> Number:
    if not math.isfinite(value):
        raise ExpressionError(f"a literal number must be finite, not {value}")
    return Number(value)


def from_prefix(tokens: Sequence[str]) -> Expression:
    """The tree of prefix tokens. Raises ExpressionError on an incomplete, overlong or unknown sequence."""
    if not tokens or len(tokens) > MAX_NODES:
        raise ExpressionError(f"a formula has 1 to {MAX_NODES} tokens, not {len(tokens)}")
    stack: list[Expression] = []
    for token in reversed(tokens):
        if token in OPERATORS:
            arity = OPERATORS[token].arity
            if len(stack) < arity:
                raise ExpressionError(f"operator {token!r} lacks operands in: {' '.join(tokens)}")
            args = tuple(stack.pop() for _ in range(arity))
            stack.append(Call(token, args))
        else:
            stack.append(_leaf(token))
    if len(stack) != 1:
        raise ExpressionError(f"{len(stack) - 1} operands too many in: {' '.join(tokens)}")
    return stack[0]


# ---------------------------------------------------------------- JSON AST


def to_ast(expression: Expression) -> str:
    """Compact JSON: ``["mul",{"const":0},{"var":"r"}]``."""

    def nested(node: Expression) -> Any:
        match node:
            case Variable(name):
                return {"var": name}
            case Constant(index):
                return {"const": index}
            case Number(value):
                return {"num": int(value) if value.is_integer() else value}
            case Call(operator, args):
                return [operator, *(nested(arg) for arg in args)]

    return json.dumps(nested(expression), separators=(",", ":"))


def from_ast(text: str) -> Expression:
    """The tree of a JSON AST; depth, size, types and names are checked. Raises ExpressionError."""
    if len(text) > 64 * MAX_NODES:
        raise ExpressionError(
            f"a stored formula of {len(text)} characters is longer than any this version writes"
        )
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as cause:
        raise ExpressionError(f"a stored formula is not JSON: {text[:80]!r}") from cause
    budget = [MAX_NODES]

    def tree(item: Any) -> Expression:
        budget[0] -= 1
        if budget[0] < 0:
            raise ExpressionError(f"a stored formula has more than {MAX_NODES} nodes")
        match item:
            case [str(operator), *args]:
                return Call(operator, tuple(tree(arg) for arg in args))
            case {"var": str(name)} if len(item) == 1 and _VARIABLE.fullmatch(name):
                return Variable(name)
            case {"const": int(index)} if (
                len(item) == 1 and not isinstance(index, bool) and 0 <= index < MAX_NODES
            ):
                return Constant(index)
            case {"num": int() | float() as value} if len(item) == 1 and not isinstance(value, bool):
                return _checked_number(float(value))
        raise ExpressionError(f"no formula node: {str(item)[:80]}")

    return tree(data)


def expression_hash(expression: Expression) -> str:
    """SHA-256 of the JSON AST: equal trees, equal hash, in every process."""
    return hashlib.sha256(to_ast(expression).encode()).hexdigest()


# ---------------------------------------------------------------- evaluation and texts


def evaluate(
    expression: Expression,
    m: Mathematics,
    env: Mapping[str, Any],
    constants: Sequence[Any] = (),
    number: Callable[[float], Any] = float,
) -> Any:
    """The value of the expression with the engine ``m``.

    ``env`` maps variable names to the engine's values (arrays, tensors, columns, symbols); ``constants`` are
    the fitted constants; ``number`` turns a literal into the engine's value. Raises ExpressionError for a
    variable or constant that is not given.
    """
    stack: list[Any] = []
    for node in reversed(list(walk(expression))):
        match node:
            case Variable(name):
                if name not in env:
                    raise ExpressionError(
                        f"variable {name!r} is not given; given: {', '.join(sorted(env)) or 'none'}"
                    )
                stack.append(env[name])
            case Constant(index):
                if index >= len(constants):
                    raise ExpressionError(f"constant c{index} is not given: the formula has {len(constants)}")
                stack.append(constants[index])
            case Number(value):
                stack.append(number(value))
            case Call(operator, args):
                operands = [stack.pop() for _ in args]
                stack.append(OPERATORS[operator].apply(m, *operands))
    return stack[0]
