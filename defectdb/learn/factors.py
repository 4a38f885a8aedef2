"""Tables of a material model: pair kernels at their distance classes and, at a triple's corners, products of two.

The energy of a triple is written as u(r_ab) v(r_ac), one function of each of the two edges that meet at a defect: the
lowest rank of the tensor-product basis of the atomic cluster expansion (Drautz, Phys. Rev. B 99, 014104, 2019). Both
factors are functions of one distance, so each is searched as a pair kernel is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from defectdb.learn.select import dz_windows
from defectdb.learn.structures import N_FOLDS, Block, Triples

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

FLOOR = 1e-3
"""Absolute errors below this (eV) count as squared ones: near the noise of the data."""

CORNERS = (("r12", "r13"), ("r12", "r23"), ("r13", "r23"))
"""The edges that meet at the first, second and third defect of a triple."""

EDGES = {"r12": (0, 1), "r13": (0, 2), "r23": (1, 2)}
ONE_LAYER = 0.3
"""An edge whose |dz| spreads less than this (angstrom) is a function of its distance alone."""

SHRINK = 1.0
"""Weight of the factors' squares (eV of error per eV): keeps those that few triples show near zero."""

PAYS = 0.995
"""A term stays where it lowers the cross-validated error at least to this share."""


@dataclass(frozen=True)
class Corner:
    """A product at one corner of a triple label: the classes of both edges and where every triple lies among them.

    ``first``, ``second`` [class] in angstrom, ``at_first``, ``at_second`` [triple] their indices, ``rows`` [triple]
    the structures. Edges of one pair label share one factor (``shared``): then the product is symmetric, and
    ``sign`` says whether it is added or taken off. ``rank`` counts the products of one corner.
    """

    label: str
    edges: tuple[str, str]
    first: Floats
    second: Floats
    at_first: Integers
    at_second: Integers
    rows: Integers
    shared: bool
    sign: float = 1.0
    rank: int = 1

    def name(self, edge: str) -> str:
        """A factor's name: the label, the edge and, behind the first product of a corner, which it is."""
        return f"{self.label} {edge}" + (f" #{self.rank}" if self.rank > 1 else "")

    @property
    def n_values(self) -> int:
        """How many factor values the corner has."""
        return len(self.first) + (0 if self.shared else len(self.second))


@dataclass(frozen=True)
class Tables:
    """Fitted values: ``pairs`` per block [class], ``factors`` per corner ([class], [class]).

    ``residual`` [structure], eV.
    """

    pairs: list[Floats]
    factors: list[tuple[Floats, Floats]]
    residual: Floats

    @property
    def flat(self) -> Floats:
        """All values in one row."""
        return np.concatenate([*self.pairs, *(np.concatenate(f) for f in self.factors)])


def corners_of(triples: Triples) -> list[Corner]:
    """The products that a triple label may have.

    A corner must look the same when like defects are exchanged, and both of its edges must lie in one |dz| layer.
    """
    labels = triples.label.split("-")
    found = []
    for at, edges in enumerate(CORNERS):
        i, j = (k for k in range(3) if k != at)
        if labels[at] in (labels[i], labels[j]):
            continue
        names = [tuple(sorted(labels[k] for k in EDGES[e])) for e in edges]
        dz = [triples.x[3 + list(EDGES).index(e)] for e in edges]
        if any(np.ptp(z) > ONE_LAYER for z in dz):
            continue
        a, b = (triples.x[list(EDGES).index(e)].round(4) for e in edges)
        shared = names[0] == names[1]
        first = np.unique(np.concatenate([a, b])) if shared else np.unique(a)
        second = first if shared else np.unique(b)
        plain = Corner(
            triples.label, edges, first, second, np.searchsorted(first, a), np.searchsorted(second, b),
            triples.rows, shared,
        )  # fmt: skip
        found += [plain, replace(plain, sign=-1.0)] if shared else [plain]
    return found


def edge_blocks(triples: Triples, n: int) -> list[list[Block]]:
    """Functions of one edge alone that a triple label may have: what its pairs are worth beside a third defect.

    Edges of one pair label share a function, so like defects may be exchanged. An edge in two layers has one
    function for each, an edge in more none. ``n`` structures.
    """
    labels = triples.label.split("-")
    groups: dict[tuple[str, ...], list[str]] = {}
    for edge, ends in EDGES.items():
        groups.setdefault(tuple(sorted(labels[k] for k in ends)), []).append(edge)
    found = []
    for edges in groups.values():
        at = [list(EDGES).index(edge) for edge in edges]
        r, dz = triples.x[at].round(4), triples.x[[3 + i for i in at]]
        windows = dz_windows(dz.ravel())
        if len(windows) > 2:
            continue
        inside = [(dz >= low) & (dz < high) for low, high in windows]
        middle = [float(dz[part].mean()) for part in inside]
        blocks = []
        for i, ((low, high), part) in enumerate(zip(windows, inside, strict=True)):
            classes = np.unique(r[part])
            counts = np.zeros((n, len(classes)))
            rows = np.broadcast_to(triples.rows, r.shape)[part]
            np.add.at(counts, (rows, np.searchsorted(classes, r[part])), 1.0)
            heights = None if len(windows) == 1 else (middle[i], middle[1 - i])
            blocks.append(Block(triples.label, low, high, classes, 0.0, counts, tuple(edges), heights))
        found.append(blocks)
    return found


def edge_values(block: Block, triples: Triples, values: Floats) -> Floats:
    """What a function of edges with these ``values`` [class] adds to every triple, [triple]."""
    total = np.zeros(len(triples.rows))
    for edge in block.edges:
        r, dz = (triples.x[k + list(EDGES).index(edge)] for k in (0, 3))
        at = np.searchsorted(block.r, r.round(4)).clip(max=len(block.r) - 1)
        total += np.where((dz >= block.dz_min) & (dz < block.dz_max), values[at], 0.0)
    return total


def product_design(corner: Corner, factors: tuple[Floats, Floats], n: int) -> tuple[Floats, Floats, Floats]:
    """The product's sum over triples [structure] and its derivatives by both factors' values [structure, class]."""
    u, v = corner.sign * factors[0][corner.at_first], factors[1][corner.at_second]
    total = np.bincount(corner.rows, u * v, minlength=n).astype(np.float64)
    by_first, by_second = np.zeros((n, len(corner.first))), np.zeros((n, len(corner.second)))
    np.add.at(by_first, (corner.rows, corner.at_first), corner.sign * v)
    np.add.at(by_second, (corner.rows, corner.at_second), u)
    if corner.shared:
        by_first = by_second = by_first + by_second
    return total, by_first, by_second


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


@dataclass(frozen=True)
class Shape:
    """What a model is made of: pair kernels and functions of a triple's edge, products at corners, fitted tables."""

    blocks: list[Block]
    corners: list[Corner]
    tables: Tables


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
