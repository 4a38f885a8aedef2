"""The skeleton of a finished formula, to be fitted again: without coefficients and offset, with its constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

from defectdb.expressions.expression import Call, Constant, Expression, Number, to_prefix, walk


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A formula without its coefficients and its offset.

    ``names`` [position]: prefix names of the summands; every constant is named ``c0``.
    ``theta`` [constant]: values of the constants inside the summands, in order.
    ``no_offset``: whether the formula has no offset.
    ``n_terms``: summands.
    """

    names: tuple[str, ...]
    theta: tuple[float, ...]
    no_offset: bool
    n_terms: int

    @property
    def n_constants(self) -> int:
        """Everything that a fit adjusts: inner constants, a coefficient for every summand, the offset."""
        return len(self.theta) + self.n_terms + (not self.no_offset)


def skeleton_of(expression: Expression, constants: tuple[float, ...]) -> Skeleton:
    """The skeleton of a finished formula; of a bare constant it has no names.

    Inner literal numbers stay as they are, as quotients of integers; one that is no quarter becomes a constant.
    """
    terms, flat = [], 0
    for summand in _summands(expression):
        bare = _bare(summand)
        if bare is None:
            flat += 1
        else:
            terms.append(_literal(bare))
    if not terms:
        return Skeleton((), (), False, 0)
    whole = terms[0]
    for term in terms[1:]:
        whole = Call("add", (whole, term))
    theta, names = [], []
    for node, name in zip(walk(whole), to_prefix(whole), strict=True):
        value = _free(node, constants)
        names.append(name if value is None else "c0")
        theta += [] if value is None else [value]
    return Skeleton(tuple(names), tuple(theta), not flat, len(terms))


def _free(node: Expression, constants: tuple[float, ...]) -> float | None:
    """The value of what a fit adjusts, None for everything else."""
    if isinstance(node, Constant):
        return constants[node.index]
    return node.value if isinstance(node, Number) and not node.value.is_integer() else None


def _literal(node: Expression) -> Expression:
    """Quarters as quotients of integers: the only numbers that a grammar writes are integers."""
    match node:
        case Number(value) if not value.is_integer() and (4 * value).is_integer():
            return Call("div", (Number(4 * value), Number(4.0)))
        case Call(operator, args):
            return Call(operator, tuple(_literal(arg) for arg in args))
    return node


def _summands(node: Expression) -> list[Expression]:
    match node:
        case Call("add" | "sub", (a, b)):
            return [*_summands(a), *_summands(b)]
        case Call("neg", (inner,)):
            return _summands(inner)
    return [node]


def _bare(node: Expression) -> Expression | None:
    """A product without its numerical factors, whose part the coefficient takes; None where nothing is left."""
    match node:
        case Constant() | Number():
            return None
        case Call("neg", (inner,)):
            return _bare(inner)
        case Call("mul" | "div" as operator, (a, b)):
            left, right = _bare(a), _bare(b)
            if left and right:
                return Call(operator, (left, right))
            return left if right is None else right if operator == "mul" else Call("inv", (right,))
    return node


_GRAMMAR_NUMBERS = ("1", "2", "3")  # numbers of the search's grammar; others are constants to fit


def skeleton_names(expression: Expression) -> tuple[str, ...]:
    """Prefix tokens of the skeleton as the search's grammar writes them; empty for a constant.

    ``add c0 div c1 exp r`` becomes ``inv exp r``: the coefficients are found anew by every fit.
    """
    unknown = (math.nan,) * (
        1 + max((n.index for n in walk(expression) if isinstance(n, Constant)), default=-1)
    )
    names = skeleton_of(expression, unknown).names
    return tuple("c0" if _is_number(name) and name not in _GRAMMAR_NUMBERS else name for name in names)


def _is_number(token: str) -> bool:
    return token.lstrip("-")[:1].isdigit()
