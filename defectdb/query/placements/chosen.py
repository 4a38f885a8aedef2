"""Placements of defects on a supercell, chosen by their predicted values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.predicates import check_length
from defectdb.db.read import defect_label
from defectdb.errors import QueryError, UsageError
from defectdb.query.placements.enumeration import enumerate_placements, sample_placements, site_columns
from defectdb.query.placements.parts import WHOLE, Part
from defectdb.query.placements.screen import screen
from defectdb.query.placements.streaming import every_placement, lowest, predicted, write_stream
from defectdb.query.placements.supercells import Ints, Supercell, parse_supercell, supercell


@dataclass(frozen=True, slots=True)
class Request:
    """What to enumerate.

    ``material``: material_id of the host.
    ``repeats``: supercell, e.g. 8,8,1.
    ``defects``: labels joined by commas, e.g. Vac_Mo,Vac_S,Vac_S.
    ``target``: adds predicted values [eV] of this target.
    ``top``: keep so many of the lowest values.
    ``where``: keep placements for which this SQL predicate over the columns of the result holds.
    ``every``: every placement, equivalent ones included.
    ``concentration``, ``sample``, ``seed``: instead a random sample of so many placements at so many defects per
    site.
    ``datasets``: only hosts of these datasets.
    ``part``: only this part of the placements; parts are not sorted by value, so that one after another they are the
    whole.
    """

    material: str
    repeats: str
    defects: str
    target: str | None = None
    top: int | None = None
    where: str | None = None
    every: bool = False
    concentration: float | None = None
    sample: int = 1000
    seed: int = 0
    datasets: tuple[str, ...] = ()
    part: Part = WHOLE


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Placements of defects.

    ``cell``: the supercell.
    ``labels``: labels of the defects, sorted.
    ``frame``: one row per placement: site_1, site_2 ... in the order of the labels; multiplicity, where equivalent
    placements are counted once; value [eV] and extrapolated, where a target is predicted.
    """

    cell: Supercell
    labels: tuple[str, ...]
    frame: pl.DataFrame

    def sites(self) -> list[list[int]]:
        """Site numbers of each placement."""
        return [list(row) for row in self.frame.select(site_columns(len(self.labels))).iter_rows()]


def candidates(db: Database, request: Request) -> Candidates:
    """Enumerate, predict and choose. Raises UnknownNameError, UsageError, LabelError and QueryError."""
    cell = supercell(db, request.material, parse_supercell(request.repeats), request.datasets)
    labels = sorted(_labels(db, request.defects))
    if request.every:
        if request.top is None or request.target is None:
            raise UsageError(
                "--every is for choosing among all placements (--target T --top K) or a file (-o)"
            )
        frame = lowest(_stream(db, cell, request, labels), request.top)
        return Candidates(cell, tuple(labels), frame)
    if request.concentration is not None:
        if request.part != WHOLE:
            raise UsageError("--part is for complete lists; draw shares of a random sample with --seed")
        labels, frame = sample_placements(cell, labels, request.concentration, request.sample, request.seed)
    else:
        frame = enumerate_placements(cell, labels, request.part)
    if request.target is not None:
        values, outside = screen(db, cell, request.material, labels, request.target)(
            _sites(frame, len(labels))
        )
        frame = frame.with_columns(value=pl.Series(values), extrapolated=pl.Series(outside))
        if request.part == WHOLE or request.top is not None:
            frame = frame.sort("value")
    if (kept := predicate(request.where)) is not None:
        frame = _filtered(frame, kept, request.where or "")
    return Candidates(cell, tuple(labels), frame if request.top is None else frame.head(request.top))


def stream_to_file(db: Database, request: Request, path: Path) -> int:
    """Predict every placement into a Parquet file, block by block; how many rows."""
    if request.target is None or path.suffix != ".parquet":
        raise UsageError("--every with -o writes predictions to a .parquet file and needs --target")
    cell = supercell(db, request.material, parse_supercell(request.repeats), request.datasets)
    frames = _stream(db, cell, request, sorted(_labels(db, request.defects)))
    return write_stream(frames, path)


def _stream(db: Database, cell: Supercell, request: Request, labels: Sequence[str]) -> Iterator[pl.DataFrame]:
    assert request.target is not None
    found = screen(db, cell, request.material, labels, request.target)
    frames = predicted(found, every_placement(cell, labels, part=request.part))
    kept = predicate(request.where)
    return frames if kept is None else (_filtered(frame, kept, request.where or "") for frame in frames)


def _sites(frame: pl.DataFrame, n: int) -> Ints:
    return frame.select(site_columns(n)).to_numpy().astype(np.int64)


def _labels(db: Database, text: str) -> list[str]:
    labels = [defect_label(db, part) for part in text.split(",") if part.strip()]
    if not labels:
        raise UsageError("--defects names no defect; write Vac_Mo,Vac_S,Vac_S")
    return labels


def predicate(text: str | None) -> pl.Expr | None:
    """A SQL predicate as a polars expression. Raises QueryError, and UsageError for one that is too long."""
    if text is None:
        return None
    check_length(text)
    try:
        return pl.sql_expr(text)
    except pl.exceptions.PolarsError as cause:
        raise QueryError(str(cause), text) from cause


def _filtered(frame: pl.DataFrame, kept: pl.Expr, text: str) -> pl.DataFrame:
    try:
        return frame.filter(kept)
    except pl.exceptions.PolarsError as cause:
        raise QueryError(f"{cause}; columns: {', '.join(frame.columns)}", text) from cause
