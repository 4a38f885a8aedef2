"""Shorten a formula without changing its values, by sympy's algebra; run as a module, it serves another process.

Sympy can work on one formula for ever, and nothing in Python can stop it: ``python -m defectdb.expressions.algebra``
reads formulas from its input, one JSON object a line, answers each in a line, and ends when one takes too long
or the input does. Formulas travel as prefix tokens and numbers; no text is evaluated.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any

from defectdb.errors import ExpressionError
from defectdb.expressions.evaluation import SympyMathematics, sympy_number, sympy_variable
from defectdb.expressions.expression import (
    Expression,
    complexity,
    evaluate,
    from_prefix,
    to_prefix,
    variables,
)
from defectdb.expressions.sympy_trees import TreeWriter

Formula = tuple[Expression, tuple[float, ...]]
Sympy = Any
Rewriting = Callable[[Sympy], Sympy]
_MAX_FORMS = 6  # forms of one formula that are worth a look
_REFUSALS = (
    NotImplementedError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, KeyError,
)  # fmt: skip
"""What sympy raises, beside its PolynomialError, where an algorithm does not cover a function."""


def shorter_forms(
    expression: Expression, constants: Sequence[float], operators: Collection[str], *, thorough: bool = False
) -> list[Formula]:
    """Equal formulas of fewer tokens over the given operators, the shortest first, however long it takes.

    Equal as far as algebra goes: check the values, for a domain may have grown. Constants are numbered in no
    order. Quick are sums, powers and polynomials; ``thorough`` tries trigonometry and everything else instead.
    """
    names = [sympy_variable(name) for name in variables(expression)]
    if not names:
        return []
    tree, values = _symbolic(expression, constants)
    length = complexity(expression)
    found: dict[tuple[str, ...], Formula] = {}
    for form in dict.fromkeys(_forms(tree, names, thorough)):
        writer = TreeWriter(values, operators)
        try:
            written = writer.write(form)
        except (ExpressionError, *_REFUSALS):
            continue
        if complexity(written) < length:
            found.setdefault(tuple(to_prefix(written)), (written, tuple(writer.constants)))
    return sorted(found.values(), key=lambda f: (complexity(f[0]), to_prefix(f[0])))[:_MAX_FORMS]


def _symbolic(expression: Expression, constants: Sequence[float]) -> tuple[Sympy, dict[Sympy, float]]:
    """The formula with a positive symbol for every size of a constant, and the symbols' values.

    Symbols keep the algebra exact (polynomials over rounded numbers have no common factors); constants of one
    size share theirs, so that what cancels does.
    """
    import sympy

    distinct = dict.fromkeys(abs(value) for value in constants)
    sizes = {size: sympy.Symbol(f"c{i}", positive=True) for i, size in enumerate(distinct)}
    leaves = [sizes[abs(value)] * (1 if value > 0 else -1 if value < 0 else 0) for value in constants]
    names = {name: sympy_variable(name) for name in variables(expression)}
    tree = evaluate(expression, SympyMathematics(), names, leaves, number=sympy_number)
    exact = {number: sympy_number(float(number)) for number in tree.atoms(sympy.Float) if number.is_finite}
    return tree.xreplace(exact), {symbol: size for size, symbol in sizes.items()}


def _forms(tree: Sympy, names: Sequence[Sympy], thorough: bool) -> Iterator[Sympy]:
    """The tree as sympy rewrites it: in milliseconds, or ``thorough``, in tenths of a second or never."""
    import sympy

    for rewriting in _thorough(names) if thorough else _quick(names):
        try:
            yield rewriting(tree)
        except (*_REFUSALS, sympy.PolynomialError):
            continue


def _quick(names: Sequence[Sympy]) -> list[Rewriting]:
    import sympy

    def gathered(node: Sympy) -> Sympy:
        return _like_terms(node, names)

    def nested(node: Sympy) -> Sympy:
        return sympy.horner(node, wrt=names[0]) if node.is_polynomial(names[0]) else node

    return [
        lambda node: node, gathered, lambda node: gathered(sympy.expand(node)), sympy.factor_terms,
        sympy.powsimp, lambda node: sympy.powsimp(sympy.expand(node)), nested, sympy.together, sympy.factor,
        sympy.cancel,
    ]  # fmt: skip


def _thorough(names: Sequence[Sympy]) -> list[Rewriting]:
    import sympy

    trigonometric = cache(sympy.trigsimp)
    return [trigonometric, lambda node: _like_terms(trigonometric(node), names), sympy.simplify]


def _like_terms(node: Sympy, names: Sequence[Sympy]) -> Sympy:
    """The sum with like terms joined: those that differ in their constants alone."""
    import sympy

    sums: dict[Sympy, Sympy] = defaultdict(lambda: sympy.Integer(0))
    for term in sympy.Add.make_args(node):
        constant, rest = term.as_independent(*names, as_Add=False)
        sums[rest] += constant
    return sympy.Add(*(constant * rest for rest, constant in sums.items()))


def serve() -> None:
    """Answer formulas until the input ends; the answer is a list of [prefix tokens, constants]."""
    import sympy  # noqa: F401  (takes most of a second, which is not the first formula's)

    _answer("ready")
    for line in sys.stdin:
        job = json.loads(line)
        _end_after(job["seconds"])
        expression, constants = from_prefix(job["prefix"]), job["constants"]
        forms = shorter_forms(expression, constants, job["operators"], thorough=job["thorough"])
        _end_after(0.0)
        _answer([[to_prefix(form), list(numbers)] for form, numbers in forms])


def _answer(data: Any) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def _end_after(seconds: float) -> None:
    """Let the system end this process after so much processor time; 0: never.

    Processor time, so that a busy machine changes no result; by the system, since sympy may be inside one long
    multiplication. A system without such a timer leaves it to whoever waits for the answer.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    serve()
