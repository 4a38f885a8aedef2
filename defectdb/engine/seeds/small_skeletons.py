"""All distinct small skeletons, so that a search misses nothing simple.

Sizes are built from smaller ones with the algebra's obvious repetitions left out: operands of commutative
operators in one order, no bare constant where a free coefficient stands outside anyway, no operator undoing
another. Literal numbers are left to the fitted constants.
"""

from __future__ import annotations

from itertools import product

from defectdb.engine.grammar.grammar import Grammar
from defectdb.expressions.operators import OPERATORS, Family

Skeleton = tuple[str, ...]
_REPEATED_BELOW = {
    "neg": {"neg", "add", "sub", "mul", "div"}, "inv": {"inv", "div", "neg", "exp"},
    "exp": {"log"}, "log": {"exp", "square", "cube", "sqrt", "inv"}, "sqrt": {"square", "exp"},
    "square": {"sqrt", "neg", "exp", "abs", "square", "cube", "inv"},
    "cube": {"neg", "exp", "cube", "square", "inv"},
    "cos": {"neg"}, "sin": {"neg"}, "tanh": {"neg"}, "abs": {"neg", "abs", "square", "exp"},
}  # fmt: skip


_SCALED_ROOTS = {("mul", "c"), ("div", "c")}
_ABSORBED_BELOW = {
    "exp": {("add", "c")}, "sqrt": _SCALED_ROOTS, "inv": _SCALED_ROOTS, "log": _SCALED_ROOTS,
}  # fmt: skip
"""First two tokens below an operator whose constant could as well stand outside it."""


def _nesting(skeleton: Skeleton, family: Family) -> int:
    """Largest number of functions of one family inside one another."""
    stack: list[int] = []
    for token in reversed(skeleton):
        operator = OPERATORS.get(token)
        if operator is None:
            stack.append(0)
        else:
            deepest = max(stack.pop() for _ in range(operator.arity))
            stack.append(deepest + (family in operator.families))
    return stack[0]


def _may_hold(name: str, grammar: Grammar, *operands: Skeleton) -> bool:
    """Whether an operator may stand above these operands without functions nested too deeply."""
    families = OPERATORS[name].families
    return all(_nesting(operand, f) < grammar.max_nesting for f in families for operand in operands)


def _unary(grammar: Grammar, below: list[Skeleton]) -> list[Skeleton]:
    found = []
    for name in grammar.operators:
        operator = OPERATORS[name]
        if operator.arity != 1 or name in grammar.forbidden:
            continue
        for skeleton in below:
            if skeleton[0] in _REPEATED_BELOW.get(name, ()) or skeleton[:2] in _ABSORBED_BELOW.get(name, ()):
                continue
            if not _may_hold(name, grammar, skeleton):
                continue
            found.append((name, *skeleton))
    return found


def _binary(grammar: Grammar, sizes: list[list[Skeleton]], size: int) -> list[Skeleton]:
    found: list[Skeleton] = []
    allowed = [
        o for o in ("add", "sub", "mul", "div") if o in grammar.operators and o not in grammar.forbidden
    ]
    for left in range(1, size - 1):
        for a, b in product(sizes[left], sizes[size - 1 - left]):
            if "add" in allowed and a > b and a[0] != "neg" and b[0] != "neg":
                found.append(("add", *a, *b))
            if "sub" in allowed and a != b and a[0] != "neg" and b[0] != "neg":
                found.append(("sub", *a, *b))
            if "damped" in grammar.index and b[0] != "neg" and _may_hold("damped", grammar, a, b):
                found.append(("damped", *a, *b))
            if {a[0], b[0]} & {"neg", "inv"} or a[:2] in _SCALED_ROOTS or b[:2] in _SCALED_ROOTS:
                continue
            if "mul" in allowed and a > b:
                found.append(("mul", *a, *b))
            if "div" in allowed and a != b:
                found.append(("div", *a, *b))
    return found


def _with_constant(grammar: Grammar, below: list[Skeleton]) -> list[Skeleton]:
    """Sums, products and quotients of a fitted constant and a skeleton, and fitted powers."""
    found: list[Skeleton] = []
    allowed = set(grammar.index)
    for a in below:
        if "add" in allowed and a[:2] != ("add", "c"):
            found.append(("add", "c", *a))
        free = a[:2] not in _SCALED_ROOTS and a[0] != "neg"
        if free and "mul" in allowed and not (a[0] == "inv" and "div" in allowed):
            found.append(("mul", "c", *a))
        if free and "div" in allowed and a[0] != "inv":
            found.append(("div", "c", *a))
        if "pow" in allowed and a[0] not in _NO_POWER_OF:
            found.append(("pow", *a, "c"))
    return found


_NO_POWER_OF = ("neg", "inv", "square", "cube", "sqrt", "exp", "pow", "cos", "sin", "tanh")
"""Roots of which a fitted power is a fitted constant elsewhere, or no number where they are negative."""


def skeletons(grammar: Grammar, size: int, limit: int = 60_000) -> tuple[Skeleton, ...]:
    """Every skeleton of up to ``size`` tokens, smaller ones first; stops before a size that passes
    ``limit``.

    Roots that repeat the free coefficient or offset outside (a negation, a sum or product with a constant)
    are left out.
    """
    sizes: list[list[Skeleton]] = [[], [(name,) for name in grammar.variables if name in grammar.index]]
    total = list(sizes[1])
    for n in range(2, size + 1):
        level = [*_unary(grammar, sizes[n - 1]), *_binary(grammar, sizes, n)]
        if grammar.constants and n >= 3:
            level += _with_constant(grammar, sizes[n - 2])
        level = [s for s in level if s.count("c") <= grammar.max_constants]
        roots = [s for s in level if s[0] != "neg" and s[:2] not in (("add", "c"), *_SCALED_ROOTS)]
        if len(total) + len(roots) > limit:
            break
        sizes.append(level)
        total += roots
    return tuple(total)
