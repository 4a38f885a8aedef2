"""Shorten a finished front by sympy's algebra, in a process that is stopped when it takes too long.

The process runs ``schema.algebra``. It is started once for a front, and anew for the rest of it when a formula
takes too long: that one stays as it was. Nothing replaces a formula unless its values are the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from defectdb.engine.finishing.rounding import rescored, safe
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored, pareto_front
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.poles import has_pole
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, complexity, from_prefix, to_prefix, walk
from defectdb.expressions.operators import OPERATORS

Formula = tuple[Expression, tuple[float, ...]]

COMMAND = (sys.executable, "-P", "-m", "defectdb.expressions.algebra")
"""The process that is asked; ``-P``: no module of the working folder is taken for one of the library's."""

SECONDS = 2.0
"""Processor time for one formula; one that takes longer stays as it is."""

TOTAL_SECONDS = 10.0
"""Time for all formulas of a front."""

SHORTEST = 6
"""Formulas of fewer tokens than this have nothing to lose."""

_WAIT_FACTOR = 3.0  # times a formula's processor time: as long as that it may take on a busy machine
_START_SECONDS = 1.5  # seconds: with less than this left the process would hardly begin
_RELATIVE_ERROR = 1e-9  # largest relative difference of equal values
_CANCELLATION_ERROR = 1e-13  # the same, as a share of the largest value, where terms cancel
_COMMON_OPERATORS = ("add", "sub", "mul", "div", "neg")  # what any finished formula may hold


def shortened(
    front: Sequence[Scored], problem: Problem, grammar: Grammar, domain: Domain | None, until: float
) -> list[Scored]:
    """The front with every formula as short as algebra makes it, and without those that others now surpass.

    ``until`` on the monotonic clock everything stays as it is then: nothing is longer, whenever it ends.
    """
    until = min(until, time.monotonic() + TOTAL_SECONDS)
    long = [i for i, scored in enumerate(front) if scored.complexity >= SHORTEST]
    if not long or until - time.monotonic() < _START_SECONDS:
        return list(front)
    data, found = Data.of(problem, grammar), list(front)
    points = _points(data, grammar, domain)
    with Algebra(until) as algebra:
        for thorough in (False, True):
            for i in long:
                for form in algebra.forms(found[i], _operators(found[i].expression, grammar), thorough):
                    if _replaces(form, found[i], points, grammar, domain):
                        found[i] = rescored(found[i], *form, data)
                        break
    return pareto_front(found) if found != list(front) else list(front)


class Algebra:
    """A process that shortens formulas by sympy's algebra; a context manager that ends it.

    ``until``: when it is ended at the latest, in seconds of the monotonic clock.
    ``seconds``: processor time for one formula.
    ``command``: the program and its arguments.
    ``process``: the running process; None before the first formula and after its end.
    """

    def __init__(self, until: float, seconds: float = SECONDS, command: Sequence[str] = COMMAND) -> None:
        self.until, self.seconds, self.command = until, seconds, command
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def forms(self, scored: Scored, operators: Sequence[str], thorough: bool) -> list[Formula]:
        """Formulas that algebra says are equal and shorter, simplified, the shortest first; none when cut off."""
        job = {
            "prefix": to_prefix(scored.expression), "constants": list(scored.constants),
            "operators": list(operators), "thorough": thorough, "seconds": self.seconds,
        }  # fmt: skip
        answer = self._ask(job)
        forms = [simplify(from_prefix(prefix), constants) for prefix, constants in answer or ()]
        return sorted(forms, key=lambda f: complexity(f[0]))

    def _ask(self, job: dict[str, Any]) -> Any:
        """The answer to one line; None where the process ended instead."""
        if self.process is None and not self._start():
            return None
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._end()
            return None
        return self._read(_WAIT_FACTOR * self.seconds)

    def _start(self) -> bool:
        """Start the process and wait until it is ready; False where there is no time or no process to be had."""
        if self.until - time.monotonic() < _START_SECONDS:
            return False
        fixed = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of sympy's sets decides what it finds
        try:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env=fixed,
            )  # fmt: skip
            ready = self._read(TOTAL_SECONDS) is not None
        except OSError:  # no memory or no interpreter: formulas stay as they are
            ready = False
        if not ready:
            self.until = 0.0  # nor would it begin the next time
        return ready

    def _read(self, seconds: float) -> Any:
        """The next line's data; None, and no process, where it ended or had to be killed."""
        assert self.process is not None
        assert self.process.stdout is not None
        guard = threading.Timer(max(0.0, min(seconds, self.until - time.monotonic())), self.process.kill)
        guard.start()
        line = self.process.stdout.readline()
        guard.cancel()
        if not line.endswith("\n"):
            self._end()
            return None
        return json.loads(line)

    def _end(self) -> None:
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.communicate()


def _operators(expression: Expression, grammar: Grammar) -> list[str]:
    """Operators that a formula may be written with: the grammar's, sums and products, and its own."""
    own = {node.operator for node in walk(expression) if isinstance(node, Call)}
    allowed = (set(grammar.index) | set(_COMMON_OPERATORS)) - set(grammar.forbidden) | own
    return [name for name in OPERATORS if name in allowed]


def _points(data: Data, grammar: Grammar, domain: Domain | None) -> dict[str, Floats]:
    """Where values must agree: the data's points, those half-way between neighbours, and the domain's grid."""
    between = {name: (x + np.roll(x, 1)) / 2 for name, x in data.x.items()}
    grid = np.zeros((len(data.x), 0)) if domain is None else domain.grid.cpu().numpy()
    return {
        name: np.concatenate([data.x[name], between[name], grid[i]])
        for i, name in enumerate(grammar.variables)
    }


def _replaces(
    form: Formula, scored: Scored, points: dict[str, Floats], grammar: Grammar, domain: Domain | None
) -> bool:
    """Whether a form is shorter, keeps what the user requires, and has the same values without a new pole."""
    new, old = form[0], scored.expression
    required = set(grammar.required) & set(to_prefix(old))
    if complexity(new) >= complexity(old) or not required <= set(to_prefix(new)):
        return False
    poles = has_pole(*form, points) and not has_pole(old, scored.constants, points)
    same = same_values(form, (old, scored.constants), points)
    return same and not poles and safe(*form, grammar, domain)


def same_values(one: Formula, other: Formula, points: dict[str, Floats]) -> bool:
    """Whether two formulas have the same values, and none at the same points, to 1e-9."""
    a, b = (evaluate_numpy(expression, points, constants) for expression, constants in (one, other))
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not finite.any():
        return False
    a, b = a[finite], b[finite]
    bound = _RELATIVE_ERROR * np.abs(b) + _CANCELLATION_ERROR * float(np.abs(b).max())
    return bool((np.abs(a - b) <= bound).all())
