"""Choose one formula for every kernel of a model: the most accurate model of every total length.

What a model errs in a structure is the sum of what its kernels err at the structure's pairs. Were these independent,
squared errors would add up, and the best model of every length is found exactly, by dynamic programming over the
kernels' fronts. From these models on formulas are exchanged one at a time with the whole error in view: the mean
absolute one over structures, in which kernels may make up for one another and outliers of one do not hide all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, product

import numpy as np

from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats, Integers

PAYS = 0.01
"""Share of the error that one more token must take away to be worth reading."""

_PRICES = (0.5 * PAYS, PAYS, 2 * PAYS)
"""Prices of a token at which formulas are exchanged."""

_MOST_STARTS = 40
"""Models that exchanges begin from."""


@dataclass(frozen=True)
class Choices:
    """The formulas that one kernel may use.

    Attributes:
        tokens: length of every formula [formula]
        deviations: how far every structure is off where the formula stands for the kernel [formula, structure], eV;
            infinite for a formula that may not be used
    """

    tokens: Integers
    deviations: Floats


@dataclass(frozen=True)
class ModelPoint:
    """One model of the front.

    Attributes:
        tokens: total length of its formulas
        error: mean absolute error of a structure that the formulas' errors in training make, eV
        chosen: index of the formula of every kernel
    """

    tokens: int
    error: float
    chosen: tuple[int, ...]


def model_front(kernels: Sequence[Choices]) -> list[ModelPoint]:
    """The models of lower error than all that are as short or shorter, shortest first."""
    if not kernels:
        return []
    starts = independent_front([k.tokens for k in kernels], [(k.deviations**2).mean(1) for k in kernels])
    found = set(starts)
    for start, price in product(starts[:: 1 + len(starts) // _MOST_STARTS], _PRICES):
        found.add(_exchanged(kernels, start, price))
    points = sorted(
        (_point(kernels, chosen) for chosen in found), key=lambda p: (p.tokens, p.error, p.chosen)
    )
    front: list[ModelPoint] = []
    for point in points:
        if not front or point.error < front[-1].error:
            front.append(point)
    return front


def _point(kernels: Sequence[Choices], chosen: tuple[int, ...]) -> ModelPoint:
    total = np.sum([k.deviations[i] for k, i in zip(kernels, chosen, strict=True)], axis=0)
    tokens = sum(int(k.tokens[i]) for k, i in zip(kernels, chosen, strict=True))
    return ModelPoint(tokens, float(np.abs(total).mean()), chosen)


def independent_front(tokens: Sequence[Integers], squares: Sequence[Floats]) -> list[tuple[int, ...]]:
    """Indices of the formulas of the models of lower summed ``squares`` than all as short or shorter, shortest first.

    ``tokens`` and ``squares`` [formula] for every kernel. Exact: a knapsack with one item of every class, by dynamic
    programming over the total length (Dudzinski & Walukiewicz, Eur. J. Oper. Res. 28, 3, 1987).
    """
    longest = sum(int(t.max()) for t in tokens)
    lowest = np.full(longest + 1, np.inf)
    lowest[0] = 0.0
    steps: list[Integers] = []
    for sizes, errors in zip(tokens, squares, strict=True):
        after = np.full((len(sizes), longest + 1), np.inf)
        for i, (size, error) in enumerate(zip(sizes, errors, strict=True)):
            after[i, size:] = lowest[: longest + 1 - size] + error
        steps.append(after.argmin(0))
        lowest = after.min(0)
    front, best = [], math.inf
    for length in np.flatnonzero(np.isfinite(lowest)):
        if lowest[length] < best:
            best = float(lowest[length])
            front.append(_chosen(tokens, steps, int(length)))
    return front


def _chosen(tokens: Sequence[Integers], steps: Sequence[Integers], length: int) -> tuple[int, ...]:
    """The formula of every kernel in the best model of exactly this length."""
    found = []
    for sizes, step in zip(reversed(tokens), reversed(steps), strict=True):
        found.append(int(step[length]))
        length -= int(sizes[found[-1]])
    return tuple(reversed(found))


def _exchanged(kernels: Sequence[Choices], start: tuple[int, ...], price: float) -> tuple[int, ...]:
    """The model that exchanges of one formula lead to: each lowers log(error) + ``price`` x tokens the most it can."""
    chosen = list(start)
    total = np.sum([k.deviations[i] for k, i in zip(kernels, chosen, strict=True)], axis=0)
    unchanged = 0
    for at, kernel in cycle(enumerate(kernels)):
        rest = total - kernel.deviations[chosen[at]]
        error = np.abs(rest + kernel.deviations).mean(1)
        cost = np.log(np.maximum(error, 1e-300)) + price * kernel.tokens
        best = int(cost.argmin())
        unchanged += 1
        if cost[best] < cost[chosen[at]] - 1e-12:
            chosen[at], unchanged = best, 0
        total = rest + kernel.deviations[chosen[at]]
        if unchanged == len(kernels):
            break
    return tuple(chosen)


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
    """The model beyond which tokens do not pay: of least log(error) + ``PAYS`` x tokens."""
    floor = max(1e-6 * points[0].error, 1e-12)  # round-off: exact models are equally good
    return min(points, key=lambda point: math.log(max(point.error, floor)) + PAYS * point.tokens)


def choose(points: Sequence[ModelPoint], accuracy: float | None, tokens: int | None) -> ModelPoint:
    """The shortest model of that accuracy (eV), else the most accurate of that length, else the knee.

    Raises UsageError where no model is that accurate or that short.
    """
    if accuracy is not None:
        return shortest(points, accuracy)
    return knee(points) if tokens is None else most_accurate(points, tokens)
