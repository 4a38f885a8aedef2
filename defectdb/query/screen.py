"""Candidate placements on host sites to predicted values, from tables of the pairs' values.

A candidate is a row of site numbers. Each pair kernel is evaluated once for every pair of sites of the
supercell; after that a candidate costs one look-up per pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.read import PREDICTED, known
from defectdb.errors import InputDataError, UsageError
from defectdb.query.enumeration import replaced_element, site_columns
from defectdb.query.kernels import Floats, Kernel, parts
from defectdb.query.sites import Ints, Supercell, distances, image_distances
from defectdb.schema.engines import evaluate_numpy
from defectdb.schema.labels import join_labels
from defectdb.schema.records import TRIPLE_VARIABLES

BLOCK = 1_000_000  # candidates held in memory at a time


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """The active model of one target on one supercell, for placements of the given labels (sorted).

    ``values`` [pair of defects][site, site] in eV; ``outside`` likewise, where a kernel extrapolates.
    """

    cell: Supercell
    labels: tuple[str, ...]
    target: str
    aggregator: str
    singles: float
    values: tuple[Floats, ...]
    outside: tuple[NDArray[np.bool_], ...]
    triples: tuple[tuple[tuple[int, int, int], Kernel], ...]

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
            values += _triple_values(self.cell, sites[:, members], [self.labels[m] for m in members], term)
        return (values / n if self.target.endswith("_per_site") else values), outside


def screen(db: Database, cell: Supercell, material: str, labels: Sequence[str], target: str) -> Screen:
    """Tabulate the active model of a target for placements of these defects.

    Raises UnknownNameError, and UsageError where there is no active model or it lacks a term.
    """
    known("target", target, PREDICTED)
    labels = sorted(labels)
    learned = target.removesuffix("_per_site")
    model = _model(db, material, learned)
    terms = db.frame(
        'SELECT t."order" AS n, t.label, t.value AS constant, f.* EXCLUDE (target) FROM model_terms AS t '
        "LEFT JOIN formulas AS f USING (formula_id) WHERE t.model_id = ? ORDER BY n, t.label, dz_min",
        [model["model_id"]],
    )
    _demand_terms(terms, labels)
    cutoff = db.value("SELECT max(cutoff) FROM datasets") or 30.0
    tables = {
        pair: _pair_table(cell, terms, learned, pair, cutoff) for pair in sorted(set(combinations(labels, 2)))
    }
    singles = _singles(terms, labels)
    if model["aggregator"].startswith("shift"):
        singles = _shifted(terms, labels, tables, min if model["aggregator"] == "shift_min" else max)
    pairs = [tables[pair] for pair in combinations(labels, 2)]
    return Screen(
        cell=cell,
        labels=tuple(labels),
        target=target,
        aggregator=model["aggregator"] if model["aggregator"] in ("min", "max") else "sum",
        singles=singles,
        values=tuple(values for values, _ in pairs),
        outside=tuple(outside for _, outside in pairs),
        triples=tuple(_three_body(terms, learned, labels)),
    )


def _model(db: Database, material: str, target: str) -> dict[str, Any]:
    rows = db.frame(
        "SELECT * FROM models WHERE material_id = ? AND target = ? AND status = 'active'", [material, target]
    ).to_dicts()
    if not rows:
        raise UsageError(
            f"no active model of {target} for {material}; `defectdb learn --all-pairs` makes one"
        )
    return rows[0]


def _demand_terms(terms: pl.DataFrame, labels: Sequence[str]) -> None:
    needed = {(1, label) for label in labels} | {(2, join_labels(pair)) for pair in combinations(labels, 2)}
    missing = needed - set(terms.select("n", "label").iter_rows())
    if missing:
        raise UsageError(f"the model has no term for {', '.join(sorted(label for _, label in missing))}")


def _singles(terms: pl.DataFrame, labels: Sequence[str]) -> float:
    own = dict(terms.filter(n=1).select("label", "constant").iter_rows())
    offset = terms.filter(n=0)["constant"].sum()
    return float(sum(own[label] for label in labels) + (len(labels) - 1) * offset)


def _shifted(
    terms: pl.DataFrame,
    labels: Sequence[str],
    tables: dict[tuple[str, str], tuple[Floats, NDArray[np.bool_]]],
    choose: Callable[[Iterable[float]], float],
) -> float:
    """The one-defect value that decides; the tables become what pairs with that value move it by."""
    own = dict(terms.filter(n=1).select("label", "constant").iter_rows())
    decider = choose(own[label] for label in labels)
    for pair, (values, _) in tables.items():
        base = choose(own[label] for label in pair)
        values[:] = values - base if base == decider else 0.0
    return decider


def _pair_table(
    cell: Supercell, terms: pl.DataFrame, target: str, pair: tuple[str, str], cutoff: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Values [site, site] of a pair kernel and where it extrapolates; NaN between sites that do not fit."""
    label = join_labels(pair)
    own = terms.filter((pl.col("n") == 2) & (pl.col("label") == label))
    first, second = (cell.sites_of(replaced_element(part)) for part in pair)
    r, dz = distances(cell, first, second)
    size = len(cell.elements)
    values, outside = np.full((size, size), np.nan), np.zeros((size, size), dtype=bool)
    place = np.ix_(first, second)
    if own["formula_id"].null_count():
        values[place] = own["constant"][0]
        return values, outside
    found = Kernel(label, target, parts(own.to_dicts()))
    outside[place] = ~found.within(r, dz)
    summed = any(part.images == "sum" for part in found.parts)
    values[place] = _lattice_sum(cell, found, first, second, cutoff) if summed else found(r, dz)
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


def _three_body(
    terms: pl.DataFrame, target: str, labels: Sequence[str]
) -> Iterator[tuple[tuple[int, int, int], Kernel]]:
    for members in combinations(range(len(labels)), 3):
        label = join_labels(labels[m] for m in members)
        own = terms.filter((pl.col("n") == 3) & (pl.col("label") == label))
        if own.height:
            yield members, Kernel(label, target, parts(own.drop_nulls("formula_id").to_dicts()))


def _triple_values(cell: Supercell, sites: Ints, labels: Sequence[str], term: Kernel) -> Floats:
    """Three-body terms [placement] in eV, the defects in the canonical order of view ``triples``."""
    every = np.arange(len(cell.elements))
    r, dz = distances(cell, every, every)
    a, b, c = sites.T
    # opposite edge of each vertex, and its |dz|: like defects stand with the longest opposite edge first
    edges = np.stack([r[b, c], r[a, c], r[a, b]], axis=1)
    heights = np.stack([dz[b, c], dz[a, c], dz[a, b]], axis=1)
    rank = np.broadcast_to(np.unique(labels, return_inverse=True)[1], edges.shape)
    order = np.lexsort((-heights, -np.round(edges, 6), rank), axis=1)
    edges = np.take_along_axis(edges, order, axis=1)
    heights = np.take_along_axis(heights, order, axis=1)
    env = dict(zip(TRIPLE_VARIABLES, [*edges[:, ::-1].T, *heights[:, ::-1].T], strict=True))
    return sum((evaluate_numpy(p.expression, env, p.constants) for p in term.parts), np.zeros(len(sites)))


# ---------------------------------------------------------------- streaming


def predicted(found: Screen, blocks: Iterator[Ints]) -> Iterator[pl.DataFrame]:
    """Blocks of placements to frames: site columns, ``value`` [eV] and ``extrapolated``."""
    kind = np.uint16 if len(found.cell.elements) < 2**16 else np.uint32
    for sites in blocks:
        columns = dict(zip(site_columns(sites.shape[1]), sites.T.astype(kind), strict=True))
        values, outside = found(sites)
        yield pl.DataFrame({**columns, "value": values, "extrapolated": outside})


def every_placement(cell: Supercell, labels: Sequence[str], block: int = BLOCK) -> Iterator[Ints]:
    """Every placement of the defects, equivalent ones included, in blocks of about ``block`` rows.

    Like defects stand in rising order of their sites. Defects are added one after the other; only the last
    level is ever held whole.
    """
    labels = sorted(labels)
    small = len(cell.elements) < 2**15  # the number of a pair of sites must fit
    kind: type[np.signedinteger[Any]] = np.int32 if small else np.int64
    sites: list[Ints] = [cell.sites_of(replaced_element(label)).astype(kind) for label in labels]
    return _grown(sites, labels, np.empty((1, 0), dtype=kind), block)


def _grown(sites: Sequence[Ints], labels: Sequence[str], rows: Ints, block: int) -> Iterator[Ints]:
    number = rows.shape[1]
    if number == len(sites):
        yield rows
        return
    step = max(1, block // len(sites[number]))
    for start in range(0, len(rows), step):
        part, own = rows[start : start + step], sites[number]
        free = np.ones((len(part), len(own)), dtype=bool)
        for column in range(number):
            like = labels[column] == labels[number]
            before = part[:, column, None]
            free &= (own > before) if like else (own != before)
        parent, added = np.nonzero(free)
        grown = np.empty((number + 1, len(parent)), dtype=own.dtype)  # columns lie together in memory
        part.T.take(parent, axis=1, out=grown[:number])
        own.take(added, out=grown[number])
        if len(parent):
            yield from _grown(sites, labels, grown.T, block)


def write_stream(frames: Iterator[pl.DataFrame], path: Path, where: pl.Expr | None = None) -> int:
    """Write frames to one Parquet file as they come; how many rows. Raises InputDataError."""
    import pyarrow.parquet as pq

    writer, rows = None, 0
    try:
        for frame in frames:
            kept = frame if where is None else frame.filter(where)
            table = kept.to_arrow()
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="lz4", use_dictionary=False)
            writer.write_table(table)
            rows += kept.height
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause}", path=str(path)) from cause
    finally:
        if writer is not None:
            writer.close()
    return rows


def lowest(frames: Iterator[pl.DataFrame], top: int, where: pl.Expr | None = None) -> pl.DataFrame:
    """The ``top`` rows with the lowest values, of those for which ``where`` holds."""
    best: pl.DataFrame | None = None
    for frame in frames:
        kept = frame if where is None else frame.filter(where)
        kept = kept.filter(pl.col("value").is_not_nan()).bottom_k(top, by="value")
        best = kept if best is None else pl.concat([best, kept]).bottom_k(top, by="value")
    if best is None:
        raise UsageError("there is nothing to choose from")
    return best.sort("value")
