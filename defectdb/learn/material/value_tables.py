"""A shape's tables: values of all its functions at their distance classes, fitted to structures by absolute errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from defectdb.expressions.arrays import Flags, Floats, Integers
from defectdb.learn.material.structures import N_FOLDS, Block, Triples
from defectdb.learn.material.terms import Corner, Shape, Tables, corners_of, edge_blocks, product_design

FLOOR = 1e-3
"""Absolute errors below this (eV) count as squared ones: near the noise of the data."""

SHRINK = 1.0
"""Weight of the factors' squares (eV of error per eV): keeps those that few triples show near zero."""

PAYS = 0.995
"""A term stays where it lowers the cross-validated error at least to this share."""


def fit_tables(
    blocks: Sequence[Block],
    corners: Sequence[Corner],
    y: Floats,
    train: Flags,
    start: Tables | None = None,
    rounds: int = 40,
) -> Tables:
    """Table values of least absolute error [eV] on the structures ``train``, by damped Gauss-Newton steps.

    Without ``start`` the factors begin small and irregular: all zero is a saddle.
    """
    counts = np.concatenate([b.counts for b in blocks], axis=1)
    n_pairs = counts.shape[1]
    edges = np.cumsum([n_pairs, *(c.n_values for c in corners)])
    if start is None:
        theta = np.random.default_rng(0).normal(0, 0.05, int(edges[-1]))
        theta[:n_pairs] = _linear(counts, y, train)
    else:
        theta = _pack(start, blocks, corners)
    free = np.concatenate([np.full(len(b.r), not b.edges) for b in blocks])
    penalty = np.where(np.pad(free, (0, len(theta) - n_pairs)), 0.0, SHRINK)

    def state(values: Floats) -> tuple[float, Floats, Floats]:
        residual, jacobian = y - counts @ values[:n_pairs], [counts]
        for corner, factors in zip(corners, _unpack(values, corners, edges), strict=True):
            total, by_first, by_second = product_design(corner, factors, len(y))
            residual = residual - total
            jacobian += [by_first] if corner.shared else [by_first, by_second]
        size = np.abs(residual[train])
        loss = np.where(size > FLOOR, size, (size**2 / FLOOR + FLOOR) / 2).sum()
        return float(loss + 0.5 * (penalty * values**2).sum()), residual, np.concatenate(jacobian, axis=1)

    best, residual, jacobian = state(theta)
    damping = 1e-2 if corners else 1e-6
    for _ in range(rounds):
        weighted = jacobian[train] * robust_weights(residual)[train, None]
        gram = weighted.T @ jacobian[train] + np.diag(penalty)
        gradient = weighted.T @ residual[train] - penalty * theta
        scale = np.diag(np.diag(gram) + 1e-7 * np.trace(gram) / len(gram))
        gain = 0.0
        for _ in range(6):
            trial = theta + np.linalg.solve(gram + damping * scale, gradient)
            value, left, slopes = state(trial)
            if value < best:
                gain = best - value
                theta, best, residual, jacobian, damping = trial, value, left, slopes, damping * 0.3
                break
            damping *= 4
        if gain < 1e-5 * best:
            break
    cuts = np.cumsum([0, *(len(b.r) for b in blocks)])
    return Tables([theta[a:b] for a, b in pairwise(cuts)], _unpack(theta, corners, edges), residual)


def _linear(counts: Floats, y: Floats, train: Flags, rounds: int = 30) -> Floats:
    """Pair values of least absolute error, by reweighted least squares."""
    weights = train.astype(float)
    solution = np.zeros(counts.shape[1])
    for _ in range(rounds):
        weighted = counts * weights[:, None]
        gram = counts.T @ weighted
        ridge = 1e-7 * np.trace(gram) / len(gram)
        solution = np.linalg.solve(gram + ridge * np.eye(len(gram)), weighted.T @ y)
        weights = robust_weights(y - counts @ solution) * train
    return solution


def robust_weights(residual: Floats, floor: float = FLOOR) -> Floats:
    """Weights under which squared errors sum to absolute ones, [structure]; blunt below ``floor`` eV."""
    return 1.0 / np.maximum(np.abs(residual), floor)


def _pack(tables: Tables, blocks: Sequence[Block], corners: Sequence[Corner]) -> Floats:
    """All values in one row: new blocks begin at zero, the factors of new corners small and irregular."""
    parts = [*tables.pairs, *(np.zeros(len(b.r)) for b in blocks[len(tables.pairs) :])]
    for corner, (first, second) in zip(corners, tables.factors, strict=False):
        parts += [first] if corner.shared else [first, second]
    new = sum(c.n_values for c in corners[len(tables.factors) :])
    return np.concatenate([*parts, np.random.default_rng(len(corners)).normal(0, 0.05, new)])


def _unpack(theta: Floats, corners: Sequence[Corner], edges: Integers) -> list[tuple[Floats, Floats]]:
    out = []
    for corner, at in zip(corners, edges, strict=False):
        first = theta[at : at + len(corner.first)]
        second = first if corner.shared else theta[at + len(corner.first) : at + corner.n_values]
        out.append((first, second))
    return out


def blind_error(
    blocks: Sequence[Block], corners: Sequence[Corner], y: Floats, fold: Integers, train: Flags, start: Tables
) -> float:
    """Mean absolute error of tables on structures that they were not fitted to, by folds within ``train``, eV."""
    total = 0.0
    for k in range(N_FOLDS):
        held = train & (fold == k)
        if held.any():
            total += float(
                np.abs(fit_tables(blocks, corners, y, train & ~held, start, 8).residual[held]).sum()
            )
    return total / float(train.sum())


def paying_shape(
    blocks: Sequence[Block], triples: Sequence[Triples], y: Floats, fold: Integers, train: Flags
) -> Shape:
    """The pairs' blocks and what else pays for its values in cross-validation, tried one after another."""
    tables = fit_tables(blocks, [], y, train)
    shape = Shape(list(blocks), [], tables)
    error = blind_error(blocks, [], y, fold, train, tables)
    tried: list[tuple[list[Block], list[Corner]]] = []
    corners = [c for t in triples for c in corners_of(t) if len(t.rows) > c.n_values]
    tried += [([], [c]) for c in corners]
    tried += [(e, []) for t in triples for e in edge_blocks(t, len(y))]
    tried += [([], [replace(c, rank=2)]) for c in corners]
    for more_blocks, more_corners in tried:
        wider, products = [*shape.blocks, *more_blocks], [*shape.corners, *more_corners]
        trial = fit_tables(wider, products, y, train, shape.tables, 25)
        if _mean(trial, train) > PAYS * _mean(shape.tables, train):
            continue  # what does not pay in training does not pay blind
        blind = blind_error(wider, products, y, fold, train, trial)
        if blind < PAYS * error:
            shape, error = Shape(wider, products, trial), blind
    return shape


def _mean(tables: Tables, train: Flags) -> float:
    return float(np.abs(tables.residual[train]).mean())
