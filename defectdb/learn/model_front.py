"""Choose one formula for every kernel of a model: the most accurate model of every total length.

Kernels add up and err independently of one another: squared errors add up. What the formula in use for one kernel costs
does not depend on the others' formulas, so the best model of every length is found exactly, by dynamic programming over
the kernels' fronts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats, Integers

PAYS = 0.01
"""Share of the error that one more token must take away to be worth reading."""

MEAN_OF_NORMAL = math.sqrt(2 / math.pi)
"""Mean absolute value of normally distributed errors of unit variance."""


@dataclass(frozen=True)
class Choices:
    """The formulas that one kernel may use.

    Attributes:
        tokens: length of every formula [formula]
        errors: what every formula adds to the squared error of a structure [formula], eV^2
    """

    tokens: Integers
    errors: Floats


@dataclass(frozen=True)
class ModelPoint:
    """One model of the front.

    Attributes:
        tokens: total length of its formulas
        error: estimated mean absolute error of a structure that the formulas' training errors make, eV
        chosen: index of the formula of every kernel
        rest: the same error without the kernel that is worst in the most accurate model, eV; NaN where it is alone
    """

    tokens: int
    error: float
    chosen: tuple[int, ...]
    rest: float = math.nan


def model_front(kernels: Sequence[Choices]) -> list[ModelPoint]:
    """The models of lower error than all that are as short or shorter, shortest first.

    Every kernel uses one of its formulas; squared errors add up. Exact: a knapsack with one item of every class, by
    dynamic programming over the total length (Dudzinski & Walukiewicz, Eur. J. Oper. Res. 28, 3, 1987).
    """
    longest = sum(int(k.tokens.max()) for k in kernels)
    lowest = np.full(longest + 1, np.inf)
    lowest[0] = 0.0
    steps: list[Integers] = []
    for kernel in kernels:
        after = np.full((len(kernel.tokens), longest + 1), np.inf)
        for i, (size, error) in enumerate(zip(kernel.tokens, kernel.errors, strict=True)):
            after[i, size:] = lowest[: longest + 1 - size] + error
        steps.append(after.argmin(0))
        lowest = after.min(0)
    points: list[ModelPoint] = []
    for tokens in np.flatnonzero(np.isfinite(lowest)):
        error = MEAN_OF_NORMAL * math.sqrt(max(float(lowest[tokens]), 0.0))
        if not points or error < points[-1].error:
            points.append(ModelPoint(int(tokens), error, _chosen(kernels, steps, int(tokens))))
    return _with_rest(kernels, points)


def _with_rest(kernels: Sequence[Choices], points: Sequence[ModelPoint]) -> list[ModelPoint]:
    """The points with the error that is left without the worst kernel of the last one."""
    if len(kernels) < 2 or not points:
        return list(points)

    def squares(point: ModelPoint) -> list[float]:
        return [float(k.errors[i]) for k, i in zip(kernels, point.chosen, strict=True)]

    last = squares(points[-1])
    worst = last.index(max(last))
    return [
        replace(p, rest=MEAN_OF_NORMAL * math.sqrt(sum(e for i, e in enumerate(squares(p)) if i != worst)))
        for p in points
    ]


def _chosen(kernels: Sequence[Choices], steps: Sequence[Integers], tokens: int) -> tuple[int, ...]:
    """The formula of every kernel in the best model of exactly this length."""
    found = []
    for kernel, step in zip(reversed(kernels), reversed(steps), strict=True):
        found.append(int(step[tokens]))
        tokens -= int(kernel.tokens[found[-1]])
    return tuple(reversed(found))


def most_accurate(points: Sequence[ModelPoint], tokens: int) -> ModelPoint:
    """The most accurate model of at most this total length. Raises UsageError where even the shortest is longer."""
    fitting = [point for point in points if point.tokens <= tokens]
    if not fitting:
        raise UsageError(
            f"no model is as short as {tokens} tokens: the shortest formulas of all kernels have {points[0].tokens} "
            f"together; ask for --tokens {points[0].tokens} or more"
        )
    return fitting[-1]


def shortest(points: Sequence[ModelPoint], accuracy: float) -> ModelPoint:
    """The shortest model whose estimated error is at most ``accuracy`` (eV). Raises UsageError where none is."""
    fitting = [point for point in points if point.error <= accuracy]
    if not fitting:
        best = points[-1]
        raise UsageError(
            f"no model reaches {1000 * accuracy:g} meV: the most accurate one, of {best.tokens} tokens, is estimated "
            f"at {1000 * best.error:.3g} meV; ask for --accuracy {1000 * best.error * 1.01:.3g}meV or more, or learn "
            "with a greater --max-tokens"
        )
    return fitting[0]


def knee(points: Sequence[ModelPoint]) -> ModelPoint:
    """The model beyond which tokens do not pay: of least log(error) + ``PAYS`` x tokens.

    The error is the geometric mean of the whole one and of that without the worst kernel: errors add up in squares, and
    one kernel that no formula fits would hide what tokens do for all others.
    """
    floor = 1e-6 * points[0].error  # round-off: exact models are equally good

    def cost(point: ModelPoint) -> float:
        rest = point.error if math.isnan(point.rest) else point.rest
        logs = [math.log(max(error, floor, 1e-12)) for error in (point.error, rest)]
        return 0.5 * sum(logs) + PAYS * point.tokens

    return min(points, key=cost)


def choose(points: Sequence[ModelPoint], accuracy: float | None, tokens: int | None) -> ModelPoint:
    """The shortest model of that accuracy (eV), else the most accurate of that length, else the knee.

    Raises UsageError where no model is that accurate or that short.
    """
    if accuracy is not None:
        return shortest(points, accuracy)
    return knee(points) if tokens is None else most_accurate(points, tokens)
