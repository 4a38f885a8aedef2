"""All constants of all formulas refined together through the sum over pairs and triples; cross-validation of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.material.structures import N_FOLDS, ModelData
from defectdb.learn.material.value_tables import FLOOR, robust_weights

SHARES = (1.0, 0.4, 0.15, 0.05)
"""Parts of a step that are tried before a formula that it takes out of its guards is held."""


def total_values(data: ModelData) -> Floats:
    """What kernels and three-body terms must add up to, [structure]: the pairs' own one-defect values put back."""
    return data.y + sum((b.counts.sum(1) * b.base for b in data.blocks), np.zeros_like(data.y))


def refine(parts: Sequence[Part], y: Floats, train: Flags, rounds: int = 25) -> list[Part]:
    """All constants of all formulas refined together against absolute errors, by damped Gauss-Newton steps.

    A formula that a step would take out of its domain stays where it is for that step while the others move. A
    formula that starts outside is not guarded.
    """
    n = len(y)
    parts = [part if part.safe() else replace(part, guards=()) for part in parts]

    def error(candidate: Sequence[Part]) -> tuple[float, Floats]:
        residual = y - sum((p.contribution(n) for p in candidate), np.zeros(n))
        loss = np.where(np.abs(residual) > FLOOR, np.abs(residual), (residual**2 / FLOOR + FLOOR) / 2)
        total = float(loss[train].sum())
        return (total if np.isfinite(total) else np.inf), residual

    best, residual = error(parts)
    damping = 1e-2
    for _ in range(rounds):
        jacobian = np.concatenate([p.jacobian(n) for p in parts], axis=1)[train]
        jacobian[:, ~np.isfinite(jacobian).all(axis=0)] = 0.0  # constants at the edge of the defined stay
        weighted = jacobian * robust_weights(residual)[train, None]
        gram, right = jacobian.T @ weighted, weighted.T @ residual[train]
        size = np.sqrt(np.diag(gram))
        size = np.where(size > 0, size, 1.0)
        gram, right = gram / np.outer(size, size), right / size  # every constant in units of its own effect
        gain = 0.0
        for _ in range(6):
            moved = _stepped(parts, gram + damping * np.eye(len(gram)), right, size)
            trial, left = error(moved)
            if trial < best:
                gain = best - trial
                parts, best, residual, damping = moved, trial, left, damping * 0.3
                break
            damping *= 6
        if gain <= 1e-5 * best:
            break
    return parts


def _stepped(parts: Sequence[Part], normal: Floats, right: Floats, size: Floats) -> list[Part]:
    """The parts after a step of the normal equations, or as much of it as keeps them in their guards.

    ``size`` [constant]: the units of the equations' unknowns. Those that leave with the smallest share of the step
    stay, and the others' is solved anew: it was the best one only together with theirs.
    """
    edges = np.cumsum([0, *(len(p.constants) for p in parts)])
    free = np.ones(len(right), dtype=bool)
    while True:
        step = np.zeros(len(right))
        at = np.flatnonzero(free)
        if len(at):
            step[at] = np.linalg.lstsq(normal[np.ix_(at, at)], right[at], rcond=1e-14)[0] / size[at]
        leaving: list[int] = []
        for share in SHARES:
            moved = [
                replace(
                    part, constants=tuple(float(c) for c in np.asarray(part.constants) + share * step[i:j])
                )
                for part, i, j in zip(parts, edges, edges[1:], strict=False)
            ]
            leaving = [k for k, part in enumerate(moved) if not part.safe()]
            if not leaving:
                return moved
        for k in leaving:
            free[edges[k] : edges[k + 1]] = False


def predict(parts: Sequence[Part], n: int) -> Floats:
    """The sum of all terms, [structure]."""
    return sum((p.contribution(n) for p in parts), np.zeros(n))


def cross_validate(parts: Sequence[Part], y: Floats, fold: NDArray[np.int64], train: Flags) -> Floats:
    """Out-of-fold residuals [structure]: all constants refined anew without each fold, the formulas' forms kept."""
    residual = np.zeros_like(y)
    for k in range(N_FOLDS):
        held = (fold == k) & train
        if held.any() and not held.all():
            refined = refine(parts, y, train & ~held, rounds=12)
            residual[held] = (y - predict(refined, len(y)))[held]
    return residual
