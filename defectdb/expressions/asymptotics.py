"""Limits at infinity of a formula of the distance: its value and slope, by sympy.

A limit of a nested formula can take sympy for ever, and nothing in Python can stop it: the limits are taken in
a process of their own, which is ended when a formula's time is up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from defectdb.expressions.evaluation import to_sympy
from defectdb.expressions.expression import Expression

SECONDS = 4.0
"""Time for the two limits of one formula."""
_START = 60.0  # for the process to begin, on a busy machine

Formula = tuple[Expression, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Tail:
    """A formula at infinite distance.

    ``value`` (eV): its limit.
    ``slope`` (eV per angstrom): limit of its derivative.

    Both are NaN where the formula oscillates without a limit, infinite where it grows, None where sympy found nothing
    in time.
    """

    value: float | None
    slope: float | None


def tails(formulas: Sequence[Formula], seconds: float = SECONDS) -> list[Tail]:
    """The tail of every formula of ``r``, in order."""
    found: list[Tail] = []
    while len(found) < len(formulas):
        found += _until_stuck(formulas[len(found) :], seconds)
    return found


def _until_stuck(formulas: Sequence[Formula], seconds: float) -> list[Tail]:
    """Tails up to and including the first formula that takes too long: that one is unknown."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(list(formulas), sender), daemon=True)
    worker.start()
    sender.close()
    found: list[Tail] = []
    try:
        if receiver.poll(_START):
            receiver.recv()
        for _ in formulas:
            if not receiver.poll(seconds):
                return [*found, Tail(None, None)]
            found.append(Tail(*receiver.recv()))
    except EOFError:  # the process died, of memory or a deep recursion
        return [*found, Tail(None, None)]
    finally:
        worker.terminate()
        worker.join()
        receiver.close()
    return found


def _work(formulas: list[Formula], sender: Connection) -> None:
    import sympy  # noqa: F401  (takes most of a second, which is not the first formula's)

    sender.send("ready")
    for expression, constants in formulas:
        sender.send(tail_of(expression, constants))


def tail_of(expression: Expression, constants: Sequence[float]) -> tuple[float | None, float | None]:
    """Limits of value and slope for r to infinity, however long they take."""
    import sympy

    r = sympy.Symbol("r", positive=True)
    tree = to_sympy(expression, constants, digits=6)
    exact = tree.xreplace({number: sympy.Rational(str(number)) for number in tree.atoms(sympy.Float)})
    return _limit(exact, r), _limit(sympy.diff(exact, r), r)


def _limit(tree: Any, r: Any) -> float | None:
    import sympy

    try:
        limit = sympy.limit(tree, r, sympy.oo)
    except (NotImplementedError, ValueError, TypeError, AttributeError, RecursionError):
        return None  # what sympy raises where its algorithm does not cover a function
    if isinstance(limit, sympy.AccumBounds):
        return math.nan
    return float(limit) if limit.is_number and limit.is_extended_real else None
