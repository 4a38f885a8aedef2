"""The shape of a material model: pair kernels, functions of a triple's edge, and products of two at a corner.

The energy of a triple is written as u(r_ab) v(r_ac), one function of each of the two edges that meet at a defect: the
lowest rank of the tensor-product basis of the atomic cluster expansion (Drautz, Phys. Rev. B 99, 014104, 2019). Both
factors are functions of one distance, so each is searched as a pair kernel is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.material.structures import Block, Triples
from defectdb.learn.select import dz_windows
from defectdb.schema.records import EVERY_DZ

CORNERS = (("r12", "r13"), ("r12", "r23"), ("r13", "r23"))
"""The edges that meet at the first, second and third defect of a triple."""

EDGES = {"r12": (0, 1), "r13": (0, 2), "r23": (1, 2)}
ONE_LAYER = 0.3
"""An edge whose |dz| spreads less than this (angstrom) is a function of its distance alone."""

Place = tuple[int, int]
"""Where a function of one distance stands in a shape."""


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
        """A factor's name: the label, the edge and which of the corner's products it belongs to."""
        which = ("-" if self.sign < 0 else "+") if self.shared else ""
        return f"{self.label} {edge} {which}{self.rank}"

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
        middle = [round(float(dz[part].mean()), 4) for part in inside]
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


@dataclass(frozen=True)
class Shape:
    """What a model is made of: pair kernels and functions of a triple's edge, products at corners, fitted tables.

    Every function has a place: a block's number and 0; behind the blocks a corner's number and 0 or 1.
    """

    blocks: list[Block]
    corners: list[Corner]
    tables: Tables

    def places(self) -> list[Place]:
        """All functions; a factor that both edges of a corner share stands once."""
        n = len(self.blocks)
        found = [(at, 0) for at in range(n)]
        for at, corner in enumerate(self.corners, start=n):
            found += [(at, 0)] if corner.shared else [(at, 0), (at, 1)]
        return found

    def function(self, place: Place) -> tuple[str, tuple[float, float], Floats, Floats]:
        """Name, |dz| window, distances [class] and table values [class] of a function."""
        at, side = place
        if at < len(self.blocks):
            block = self.blocks[at]
            return block.name, (block.dz_min, block.dz_max), block.r, self.tables.pairs[at]
        corner, factors = self.corners[at - len(self.blocks)], self.tables.factors[at - len(self.blocks)]
        r = (corner.first, corner.second)[side]
        return corner.name(corner.edges[side]), (0.0, EVERY_DZ), r, factors[side]

    def room(self, place: Place) -> tuple[int, int]:
        """How often a term holds a function, or another one as long, and how many tokens it has beside these."""
        at = place[0]
        if at >= len(self.blocks):
            return 2, 1 if self.corners[at - len(self.blocks)].sign > 0 else 2  # u * v, -(u * v)
        block = self.blocks[at]
        copies = max(1, len(block.edges))
        if block.heights is None:
            return copies, copies - 1
        weight = 6 if block.heights[1] else 4  # (dz - a) / b * w
        return copies, weight * copies + copies - 1
