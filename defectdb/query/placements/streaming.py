"""Millions of placements, block by block in bounded memory, into a file or a ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.query.output_file import whole_file
from defectdb.query.placements.enumeration import replaced_element, site_columns
from defectdb.query.placements.parts import WHOLE, Part
from defectdb.query.placements.screen import Screen
from defectdb.query.placements.supercells import Ints, Supercell

BLOCK = 1_000_000  # candidates held in memory at a time


def predicted(found: Screen, blocks: Iterator[Ints]) -> Iterator[pl.DataFrame]:
    """Frames of predicted blocks of placements: site columns, ``value`` [eV] and ``extrapolated``."""
    kind = np.uint16 if len(found.cell.elements) < 2**16 else np.uint32
    for sites in blocks:
        columns = dict(zip(site_columns(sites.shape[1]), sites.T.astype(kind), strict=True))
        values, outside = found(sites)
        yield pl.DataFrame({**columns, "value": values, "extrapolated": outside})


def every_placement(
    cell: Supercell, labels: Sequence[str], block: int = BLOCK, part: Part = WHOLE
) -> Iterator[Ints]:
    """Every placement of the defects, equivalent ones included, in blocks of about ``block`` rows.

    Like defects stand in rising order of their sites. Defects are added one after the other; only the last
    level is ever held whole. The parts one after another are the whole, in the same order.
    """
    labels = sorted(labels)
    small = len(cell.elements) < 2**15  # the number of a pair of sites must fit
    kind: type[np.signedinteger[Any]] = np.int32 if small else np.int64
    sites: list[Ints] = [cell.sites_of(replaced_element(label)).astype(kind) for label in labels]
    begun: Ints = np.empty((1, 0), dtype=kind)
    while part.of > 1 and begun.shape[1] < len(sites) and len(begun) < _PER_PART * part.of:
        begun = _with_one_more(sites, labels, begun)
    low, high = part.bounds_by_weight(_completions(sites, labels, begun)) if part.of > 1 else (0, 1)
    return _grown(sites, labels, begun[low:high], block)


_PER_PART = 1000
"""So many beginnings of placements for every part at least, for parts of equal size."""


def _completions(sites: Sequence[Ints], labels: Sequence[str], begun: Ints) -> Floats:
    """About how many placements begin like every one of these [beginning], in proportion."""
    n = begun.shape[1]
    if n in (0, len(sites)) or labels[n] != labels[n - 1]:
        return np.ones(len(begun))
    left = labels[n:].count(labels[n])
    larger = len(sites[n]) - np.searchsorted(np.sort(sites[n]), begun[:, -1], side="right")
    return np.array([comb(k, left) for k in range(len(sites[n]) + 1)], dtype=np.float64)[larger]


def _with_one_more(sites: Sequence[Ints], labels: Sequence[str], rows: Ints) -> Ints:
    """Every way [placement, defect] to add the next defect to these placements, in order."""
    number = rows.shape[1]
    own = sites[number]
    free = np.ones((len(rows), len(own)), dtype=bool)
    for column in range(number):
        like = labels[column] == labels[number]
        before = rows[:, column, None]
        free &= (own > before) if like else (own != before)
    parent, added = np.nonzero(free)
    grown = np.empty((number + 1, len(parent)), dtype=own.dtype)  # columns lie together in memory
    rows.T.take(parent, axis=1, out=grown[:number])
    own.take(added, out=grown[number])
    return grown.T


def _grown(sites: Sequence[Ints], labels: Sequence[str], rows: Ints, block: int) -> Iterator[Ints]:
    number = rows.shape[1]
    if number == len(sites):
        yield rows
        return
    step = max(1, block // len(sites[number]))
    for start in range(0, len(rows), step):
        grown = _with_one_more(sites, labels, rows[start : start + step])
        if len(grown):
            yield from _grown(sites, labels, grown, block)


def write_stream(frames: Iterator[pl.DataFrame], path: Path) -> int:
    """Write frames to one Parquet file as they come; how many rows.

    The file appears when it is complete. Raises InputDataError where it cannot be written.
    """
    with whole_file(path) as draft:
        return _written(frames, draft)


def _written(frames: Iterator[pl.DataFrame], path: Path) -> int:
    import pyarrow.parquet as pq

    writer, rows = None, 0
    try:
        for frame in frames:
            table = frame.to_arrow()
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="lz4", use_dictionary=False)
            writer.write_table(table)
            rows += frame.height
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise UsageError("the supercell has no room for these defects")
    return rows


def lowest(frames: Iterator[pl.DataFrame], top: int) -> pl.DataFrame:
    """The ``top`` rows with the lowest values. Raises UsageError where there are no rows at all."""
    best: pl.DataFrame | None = None
    for frame in frames:
        kept = frame.filter(pl.col("value").is_not_nan()).bottom_k(top, by="value")
        best = kept if best is None else pl.concat([best, kept]).bottom_k(top, by="value")
    if best is None:
        raise UsageError("the supercell has no room for these defects")
    return best.sort("value")
