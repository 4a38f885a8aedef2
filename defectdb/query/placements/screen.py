"""Predicted values of placements on host sites, from tables of the pairs' values.

A candidate is a row of site numbers. Each pair kernel is evaluated once for every pair of sites of the
supercell; after that a candidate costs one look-up per pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.read import PREDICTED, known
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import variables
from defectdb.query.kernels import Kernel, Part, parts
from defectdb.query.missing_terms import no_term_for
from defectdb.query.placements.enumeration import replaced_element
from defectdb.query.placements.supercells import Ints, Supercell, distances, image_distances
from defectdb.schema.labels import COMPOSITION, count_variable, join_labels
from defectdb.schema.records import TRIPLE_VARIABLES


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """The active model of one target on one supercell, for placements of certain defects.

    ``cell``: the supercell.
    ``labels``: labels of the defects, sorted.
    ``target``, ``aggregator``: what is predicted, and whether pairs are summed (sum) or one decides (min, max).
    ``singles``: what the single defects and the host offset give together, eV.
    ``values`` [pair of defects][site, site]: values of the pair kernels, eV.
    ``outside`` [pair of defects][site, site]: where a kernel extrapolates.
    ``triples``: three-body terms, each with the numbers of its three defects.
    ``geometry``: distances and |dz| [site, site] that three-body terms need, angstrom.
    ``compositions``: formulas in the numbers of defects, which are added at last.
    ``own`` [defect], ``kernels`` [pair of defects][site, site]: values of all terms, eV, where ``compositions`` ask for
    the smallest or largest of them.
    """

    cell: Supercell
    labels: tuple[str, ...]
    target: str
    aggregator: str
    singles: float
    values: tuple[Floats, ...]
    outside: tuple[NDArray[np.bool_], ...]
    triples: tuple[tuple[tuple[int, int, int], Kernel], ...]
    geometry: tuple[Floats, Floats]
    compositions: tuple[Part, ...]
    own: tuple[float, ...] = ()
    kernels: tuple[Floats, ...] = ()

    def __call__(self, sites: Ints) -> tuple[Floats, NDArray[np.bool_]]:
        """Predictions for rows of site numbers [placement, defect].

        Returns the values [placement] in eV and whether a distance lies outside the range of its formula.
        """
        n, size = len(self.labels), len(self.cell.elements)
        join = {"sum": np.add, "min": np.minimum, "max": np.maximum}[self.aggregator]
        values = np.full(len(sites), self.singles) if n == 1 else np.empty(0)
        outside = np.zeros(len(sites), dtype=bool)
        columns = [np.ascontiguousarray(column) for column in sites.T]
        for number, (i, j) in enumerate(combinations(range(n), 2)):
            at = columns[i] * size + columns[j]
            pair = self.values[number].take(at)
            values = pair if number == 0 else join(values, pair, out=values)
            if self.outside[number].any():
                outside |= self.outside[number].take(at)
        if n > 1 and self.aggregator == "sum":
            values += self.singles
        for members, term in self.triples:
            labels = [self.labels[member] for member in members]
            extra, beyond = _triple_values(self.geometry, sites[:, members], labels, term)
            values += extra
            outside |= beyond
        if self.compositions:
            values = values + self._composed(values, self._extremes(columns))
            outside |= any(not part.r_min <= n <= part.r_max for part in self.compositions)
        return (values / n if self.target.endswith("_per_site") else values), outside

    def _extremes(self, columns: Sequence[Ints]) -> dict[str, Floats]:
        """The smallest and the largest value of all terms [placement], eV; none where no formula asks for them."""
        if not self.own:
            return {}
        size = len(self.cell.elements)
        every = [np.full(len(columns[0]), value) for value in self.own]
        for number, (i, j) in enumerate(combinations(range(len(self.labels)), 2)):
            every.append(self.kernels[number].take(columns[i] * size + columns[j]))
        return {"least": np.min(every, axis=0), "most": np.max(every, axis=0)}

    def _composed(self, values: Floats, extremes: Mapping[str, Floats]) -> Floats:
        """What the composition adds [placement] to the values of all other terms, eV."""
        env: dict[str, Any] = {count_variable(label): float(n) for label, n in Counter(self.labels).items()}
        env |= {
            "n": float(len(self.labels)),
            "sites": float(len(self.cell.elements)),
            "v": values,
            "interaction": values - self.singles,
            **extremes,
        }
        total = np.zeros(len(values))
        for part in self.compositions:
            needed = {name: env.get(name, 0.0) for name in variables(part.expression)}
            total += evaluate_numpy(part.expression, needed, part.constants)
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Terms of one model.

    ``material``, ``target``: of the model.
    ``frame``: rows of model_terms (n is the order, constant the value) with their formulas.
    """

    material: str
    target: str
    frame: pl.DataFrame

    def of(self, order: int, label: str) -> pl.DataFrame:
        """The rows of one order and label."""
        return self.frame.filter((pl.col("n") == order) & (pl.col("label") == label))

    def kernel(self, order: int, label: str) -> Kernel:
        """The formulas of one order and label."""
        rows = self.of(order, label).drop_nulls("formula_id").to_dicts()
        return Kernel(self.material, label, self.target, parts(rows))

    def singles(self) -> dict[str, float]:
        """One-defect values by label, eV."""
        return dict(self.frame.filter(n=1).select("label", "constant").iter_rows())


def screen(db: Database, cell: Supercell, material: str, labels: Sequence[str], target: str) -> Screen:
    """Tabulate the active model of a target for placements of these defects.

    Raises UnknownNameError, and UsageError where there is no active model or it lacks a term.
    """
    known("target", target, PREDICTED)
    labels = sorted(labels)
    learned = target.removesuffix("_per_site")
    model = _model(db, material, learned)
    frame = db.frame(
        'SELECT t."order" AS n, t.label, t.value AS constant, f.* EXCLUDE (target) FROM model_terms AS t '
        "LEFT JOIN formulas AS f USING (formula_id) WHERE t.model_id = ? ORDER BY n, t.label, dz_min",
        [model["model_id"]],
    )
    terms = Terms(material, learned, frame)
    _demand_terms(terms, labels)
    cutoff = db.value("SELECT max(cutoff) FROM datasets") or 30.0
    tables = {pair: _pair_table(cell, terms, pair, cutoff) for pair in sorted(set(combinations(labels, 2)))}
    compositions = terms.kernel(0, COMPOSITION).parts
    asked = {name for part in compositions for name in variables(part.expression)} & {"least", "most"}
    kernels = tuple(tables[pair][0].copy() for pair in combinations(labels, 2)) if asked else ()
    singles = _singles(terms, labels)
    if model["aggregator"] == "sum":
        singles += sum(_own_images(cell, terms, label, cutoff) for label in labels)
    if model["aggregator"].startswith("shift"):
        singles = _shifted(terms, labels, tables, min if model["aggregator"] == "shift_min" else max)
    pairs = [tables[pair] for pair in combinations(labels, 2)]
    triples, every = tuple(_three_body(terms, labels)), np.arange(len(cell.elements))
    return Screen(
        cell=cell,
        labels=tuple(labels),
        target=target,
        aggregator=model["aggregator"] if model["aggregator"] in ("min", "max") else "sum",
        singles=singles,
        values=tuple(values for values, _ in pairs),
        outside=tuple(outside for _, outside in pairs),
        triples=triples,
        geometry=distances(cell, every, every) if triples else (np.empty((0, 0)), np.empty((0, 0))),
        compositions=compositions,
        own=tuple(terms.singles()[label] for label in labels) if asked else (),
        kernels=kernels,
    )


def _model(db: Database, material: str, target: str) -> dict[str, Any]:
    rows = db.frame(
        "SELECT * FROM models WHERE material_id = ? AND target = ? AND status = 'active'", [material, target]
    ).to_dicts()
    if not rows:
        raise UsageError(
            f"no active model of {target} for {material}; `defectdb learn --all-pairs --target {target}` makes one"
        )
    return rows[0]


def _demand_terms(terms: Terms, labels: Sequence[str]) -> None:
    needed = {(1, label) for label in labels} | {(2, join_labels(pair)) for pair in combinations(labels, 2)}
    missing = needed - set(terms.frame.select("n", "label").iter_rows())
    if missing:
        raise UsageError(f"the model has {no_term_for(sorted(label for _, label in missing))}")


def _singles(terms: Terms, labels: Sequence[str]) -> float:
    own = terms.singles()
    offset = float(terms.frame.filter(n=0)["constant"].sum())
    return sum(own[label] for label in labels) + (len(labels) - 1) * offset


def _shifted(
    terms: Terms,
    labels: Sequence[str],
    tables: dict[tuple[str, str], tuple[Floats, NDArray[np.bool_]]],
    choose: Callable[[Iterable[float]], float],
) -> float:
    """The one-defect value that decides; the tables become what pairs with that value move it by."""
    own = terms.singles()
    decider = choose(own[label] for label in labels)
    for pair, (values, _) in tables.items():
        base = choose(own[label] for label in pair)
        values[:] = values - base if base == decider else 0.0
    return decider


def _pair_table(
    cell: Supercell, terms: Terms, pair: tuple[str, str], cutoff: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Values [site, site] of a pair kernel and where it extrapolates; NaN between sites that do not fit."""
    label = join_labels(pair)
    own = terms.of(2, label)
    first, second = (cell.sites_of(replaced_element(part)) for part in pair)
    r, dz = distances(cell, first, second)
    size = len(cell.elements)
    values, outside = np.full((size, size), np.nan), np.zeros((size, size), dtype=bool)
    between = np.ix_(first, second)
    if own["formula_id"].null_count():
        values[between] = own["constant"][0]
        return values, outside
    found = terms.kernel(2, label)
    outside[between] = ~found.within(r, dz)
    summed = any(part.images == "sum" for part in found.parts)
    values[between] = _lattice_sum(cell, found, first, second, cutoff) if summed else found(r, dz)
    values[~np.isfinite(values)] = np.nan
    return values, outside


def _lattice_sum(cell: Supercell, found: Kernel, first: Ints, second: Ints, cutoff: float) -> Floats:
    rows = []
    for site in first:
        r, dz, near = image_distances(cell, int(site), second, cutoff)
        values = np.zeros_like(r)
        values[near] = found(r[near], dz[near])
        rows.append(values.sum(axis=1))
    return np.array(rows)


def _own_images(cell: Supercell, terms: Terms, label: str, cutoff: float) -> float:
    """What a defect's own periodic images add (eV) where its kernel is a lattice sum: half the sum of its pair."""
    found = terms.kernel(2, join_labels((label, label)))
    if not any(part.images == "sum" for part in found.parts):
        return 0.0
    site = cell.sites_of(replaced_element(label))[:1]
    r, dz, _ = image_distances(cell, int(site[0]), site, cutoff)
    images = (r > 0) & (r <= cutoff)
    return float(found(r[images], dz[images]).sum()) / 2


def _three_body(terms: Terms, labels: Sequence[str]) -> Iterator[tuple[tuple[int, int, int], Kernel]]:
    for members in combinations(range(len(labels)), 3):
        label = join_labels(labels[m] for m in members)
        if terms.of(3, label).height:
            yield members, terms.kernel(3, label)


def _triple_values(
    geometry: tuple[Floats, Floats], sites: Ints, labels: Sequence[str], term: Kernel
) -> tuple[Floats, NDArray[np.bool_]]:
    """Three-body terms [placement] in eV and where they extrapolate, ordered as in view ``triples``.

    ``geometry``: distances and |dz| between all sites, ``labels`` are sorted.
    """
    r, dz = (table.ravel() for table in geometry)
    a, b, c = (np.ascontiguousarray(column) for column in sites.T)
    at = [x * len(geometry[0]) + y for x, y in ((b, c), (a, c), (a, b))]  # the edge opposite to each vertex
    edges, heights = [r.take(x) for x in at], [dz.take(x) for x in at]
    for i, j in ((0, 1), (1, 2), (0, 1)):  # like defects stand with the longest opposite edge first
        if labels[i] == labels[j]:
            _exchange(edges, heights, i, j)
    values, beyond = np.zeros(len(sites)), np.zeros(len(sites), dtype=bool)
    env = dict(zip(TRIPLE_VARIABLES, [*edges[::-1], *heights[::-1]], strict=True))
    shortest, longest = np.minimum.reduce(edges), np.maximum.reduce(edges)
    middle = edges[0] + edges[1] + edges[2] - shortest - longest
    for part in term.parts:
        near = middle < part.cutoff  # a triangle of which two edges reach the cutoff is worth nothing
        values += np.where(near, evaluate_numpy(part.expression, env, part.constants), 0.0)
        beyond |= near & ((shortest < part.r_min) | (longest > part.r_max))
    return values, beyond


def _exchange(edges: list[Floats], heights: list[Floats], i: int, j: int) -> None:
    """Exchange vertices i and j where the opposite edge of j is the longer, or as long and steeper."""
    first, second = np.round(edges[i], 6), np.round(edges[j], 6)
    swap = (second > first) | ((second == first) & (heights[j] > heights[i]))
    for columns in (edges, heights):
        columns[i], columns[j] = (
            np.where(swap, columns[j], columns[i]),
            np.where(swap, columns[i], columns[j]),
        )
