"""The columns of a dense model's linear fit: one-defect terms, composition, pairs, triangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats, Integers
from defectdb.expressions.expression import Expression
from defectdb.learn.dense.clusters import triangle_functions, triangle_values
from defectdb.learn.dense.composition import Library, energy_library
from defectdb.learn.dense.structures import DenseData, PairClasses, Triangles

SHELLS = (4.0, 6.2)
"""Pairs of one label share a prior within these distances, between them and beyond, angstrom."""


@dataclass(frozen=True)
class Shape:
    """How far terms reach, and how the defects between them screen them.

    Attributes:
        pairs: pairs from here on count nothing, angstrom
        triangles: triangles of which two edges are this long count nothing, angstrom; 0 for no triangles
        screening: pairs and triangles are worth exp(-screening * n / sites) of what they are worth alone
    """

    pairs: float
    triangles: float = 0.0
    screening: float = 0.0


@dataclass(frozen=True)
class TriangleTerm:
    """One function of the triangles of one label."""

    label: str
    tree: Expression


@dataclass(frozen=True)
class Design:
    """Columns of the linear fit, each row divided by what the error counts per.

    Attributes:
        x: all columns [structure, column]
        groups: columns of one group share a prior, those of group 0 are free [column]
        y: the target [structure]
        per: the rows are divided by this [structure]: the number of defects
        n_free: columns of one-defect terms and host offset, which stand first
        library: functions of the composition, whose columns follow
        pairs: pair classes, whose columns follow
        triangles: functions of triangles, whose columns stand last
    """

    x: Floats
    groups: Integers
    y: Floats
    per: Floats
    n_free: int
    library: Library
    pairs: tuple[PairClasses, ...]
    triangles: tuple[TriangleTerm, ...]

    @property
    def starts(self) -> Integers:
        """First column of every pair block, and behind them that of the triangles [block + 1]."""
        sizes = [self.n_free + len(self.library.trees), *(block.counts.shape[1] for block in self.pairs)]
        return np.cumsum(sizes)


def one_defect_columns(data: DenseData) -> Floats:
    """Numbers of defects, and of an energy how often the error of the pristine energy counts [structure, column]."""
    return np.column_stack([data.numbers, data.n_defects - 1])


def library_of(data: DenseData) -> Library:
    """The functions of the composition that may be used."""
    return energy_library(data.kinds)


def screened(data: DenseData, shape: Shape) -> Floats:
    """What is left of an interaction among all defects of its structure [structure]."""
    left: Floats = np.exp(-shape.screening * data.n_defects / data.n_sites)
    return left


def within(triangles: Triangles, reach: float) -> Triangles:
    """The triangles of which two edges are shorter than ``reach``, angstrom."""
    near = np.sort(triangles.x, axis=0)[1] < reach
    return Triangles(triangles.label, triangles.x[:, near], triangles.rows[near])


def triangle_columns(data: DenseData, terms: Sequence[TriangleTerm], reach: float) -> Floats:
    """The functions summed over every structure's triangles, not screened [structure, function]."""
    known = {t.label: within(t, reach) for t in data.triangles}
    columns = [triangle_values(known[term.label], term.tree, len(data.y)) for term in terms]
    return np.column_stack(columns) if columns else np.zeros((len(data.y), 0))


def make_design(data: DenseData, shape: Shape) -> Design:
    """The columns with free tables for pairs."""
    free, library = one_defect_columns(data), library_of(data)
    pairs = tuple(b for b in (block.within(shape.pairs) for block in data.pairs) if len(b.r))
    labels = [] if not shape.triangles else [t.label for t in data.triangles]
    terms = tuple(TriangleTerm(label, tree) for label in labels for tree in triangle_functions(label))
    left = screened(data, shape)[:, None]
    columns = [free, library.values(data.variables), *(b.counts * left for b in pairs)]
    columns.append(triangle_columns(data, terms, shape.triangles) * left)
    groups = [np.zeros(free.shape[1], dtype=np.int64), library.groups]
    last = int(library.groups.max(initial=0)) + 1
    for block in pairs:
        groups.append(last + np.digitize(block.r, SHELLS))
        last += len(SHELLS) + 1
    groups.append(np.array([last + labels.index(term.label) for term in terms], dtype=np.int64))
    per = data.n_defects
    return Design(
        np.concatenate(columns, axis=1) / per[:, None], np.concatenate(groups), data.y / per, per, free.shape[1],
        library, pairs, terms,
    )  # fmt: skip
