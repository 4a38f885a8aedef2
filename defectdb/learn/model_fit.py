"""All constants of all formulas refined together through the sum over pairs and triples; cross-validation of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from defectdb.learn.parts import Part
from defectdb.learn.shape_fit import FLOOR, robust_weights
from defectdb.learn.structures import N_FOLDS, ModelData

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
    damping = 1e-3
    for _ in range(rounds):
        jacobian = np.concatenate([p.jacobian(n) for p in parts], axis=1)[train]
        jacobian[:, ~np.isfinite(jacobian).all(axis=0)] = 0.0  # constants at the edge of the defined stay
        weighted = jacobian * robust_weights(residual)[train, None]
        gram, right = jacobian.T @ weighted, weighted.T @ residual[train]
        scale = np.diag(gram) + 1e-12 * np.trace(gram) + 1e-30
        improved = False
        for _ in range(6):
            step = np.linalg.lstsq(gram + damping * np.diag(scale), right, rcond=1e-14)[0].astype(np.float64)
            moved = _moved(parts, step)
            trial, left = error(moved)
            if trial < best:
                improved = best - trial > 1e-5 * best
                parts, best, residual, damping = moved, trial, left, damping * 0.3
                break
            damping *= 6
        if not improved:
            break
    return parts


def _moved(parts: Sequence[Part], step: Floats) -> list[Part]:
    """The parts with their constants moved, each only where it stays in its domain."""
    moved, at = [], 0
    for part in parts:
        k = len(part.constants)
        constants = tuple(float(c) for c in np.asarray(part.constants) + step[at : at + k])
        new = replace(part, constants=constants)
        moved.append(new if new.safe() else part)
        at += k
    return moved


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
