"""Models that a materials scientist would fit instead of formulas, judged on structures they were not fitted to.

Five folds follow from a hash of the structure's id, as those of the formulas do. Structures of one and two defects are
always fitted to, those of three and more are judged.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.scope import Scope
from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.judging.linear_fits import least_absolute, least_squares
from defectdb.learn.judging.peer_rows import PeerRows, peer_rows
from defectdb.learn.judging.random_trees import predict_with_trees
from defectdb.learn.material.structures import N_FOLDS
from defectdb.schema.fields import TARGETS

DENSE_CUTOFF = 7.0
"""Where structures hold more than three defects, pairs farther than this (angstrom) only add noise."""

FAR = 9.0
"""Raw pair energies beyond this distance (angstrom) are the host's offset."""

JUDGED = 3
"""Structures of so many defects and more are judged."""

DEGREES = (2, 3)
"""Degrees of the polynomial in the numbers of defects."""


def peer_table(db: Database, scope: Scope, target: str, *, per_site: bool = False) -> pl.DataFrame:
    """Errors of the peers on the structures of one data set that have three defects or more.

    Columns: method, n (structures predicted), n_judged (structures judged), coverage (n as a share of n_judged), mae
    (eV; with ``per_site`` divided by the number of defects; null where n is 0).
    """
    rows = peer_rows(db, scope, target)
    db.release()
    judged = rows.n_defects >= JUDGED
    scale = 1 / rows.n_defects if per_site else np.ones(len(rows.y))
    found = []
    for method, predict in PEERS.items():
        error = np.abs(predict(rows, target, scale) - rows.y)[judged] * scale[judged]
        known = np.isfinite(error)
        n, total = int(known.sum()), len(error)
        mae = float(error[known].mean()) if n else None
        found.append((method, n, total, n / total if total else 0.0, mae))
    schema = {
        "method": pl.String,
        "n": pl.Int64,
        "n_judged": pl.Int64,
        "coverage": pl.Float64,
        "mae": pl.Float64,
    }
    return pl.DataFrame(found, schema=schema, orient="row")


def pair_look_up(rows: PeerRows, target: str, _: Floats) -> Floats:
    """Predictions [structure] from the structures of one and two defects alone; NaN where a pair is not among them.

    Energies are summed: single defects, host offset and pair energies. Of gaps and levels one pair decides.
    """
    alone, twos = rows.n_defects == 1, rows.n_defects == 2
    if not twos.any():
        return np.full(len(rows.y), np.nan)
    pair = rows.classes[twos].argmax(axis=1)
    if TARGETS[target].aggregator == "sum":
        single = _means(rows.counts[alone].argmax(axis=1), rows.y[alone], len(rows.labels))
        raw = rows.y[twos] - rows.counts[twos] @ single
        far = rows.reach[pair] > FAR
        offset = float(np.median(raw[far])) if far.any() else 0.0
        values = _means(pair, raw - offset, rows.classes.shape[1])
        known = np.isfinite(values)
        total = rows.counts @ single + (rows.n_defects - 1) * offset + rows.classes @ np.nan_to_num(values)
        return np.where((rows.classes[:, ~known] > 0).any(axis=1), np.nan, total)
    values = _means(pair, rows.y[twos], rows.classes.shape[1])
    present = np.where(rows.classes > 0, values, np.inf if TARGETS[target].aggregator == "min" else -np.inf)
    found = present.min(axis=1) if TARGETS[target].aggregator == "min" else present.max(axis=1)
    return np.where(rows.n_defects > 1, found, np.nan)


def _means(group: np.ndarray[tuple[int], np.dtype[np.int64]], y: Floats, size: int) -> Floats:
    """Mean of y in every group [group]; NaN where a group is empty."""
    with np.errstate(invalid="ignore"):
        found: Floats = np.bincount(group, y, size) / np.bincount(group, minlength=size)
    return found


def pair_expansion_squares(rows: PeerRows, _: str, scale: Floats) -> Floats:
    """Pair cluster expansion by ridge regression."""
    x = _expansion(rows)
    return _held_out(rows, lambda fit: x @ least_squares(x[fit], rows.y[fit], scale[fit] ** 2))


def pair_expansion_absolute(rows: PeerRows, _: str, scale: Floats) -> Floats:
    """Pair cluster expansion by least absolute errors."""
    x = _expansion(rows)
    return _held_out(rows, lambda fit: x @ least_absolute(x[fit], rows.y[fit], scale[fit]))


def composition_and_pairs(rows: PeerRows, _: str, scale: Floats) -> Floats:
    """Pair cluster expansion with a cubic polynomial in the numbers of defects of each label, by absolute errors.

    Nothing where no structure holds more than three defects: there the numbers hardly vary.
    """
    if not _dense(rows):
        return np.full(len(rows.y), np.nan)
    share = rows.counts / rows.counts.max()
    columns = range(share.shape[1])
    powers = [
        share[:, list(term)].prod(axis=1)
        for degree in DEGREES
        for term in combinations_with_replacement(columns, degree)
    ]
    x = np.column_stack([_expansion(rows), *powers])
    return _held_out(rows, lambda fit: x @ least_absolute(x[fit], rows.y[fit], scale[fit]))


def tables_per_composition(rows: PeerRows, _: str, scale: Floats) -> Floats:
    """A table of pair values for every set of defects, by absolute errors.

    Nothing for a structure with a pair that its table has not met, or whose set has fewer structures than pairs.
    """
    found = np.full(len(rows.y), np.nan)
    for composition in np.unique(rows.composition[rows.n_defects >= JUDGED]):
        here = np.flatnonzero(rows.composition == composition)
        for fold in range(N_FOLDS):
            fit, held = here[rows.fold[here] != fold], here[rows.fold[here] == fold]
            seen = rows.classes[fit].any(axis=0)
            if not len(held) or len(fit) <= seen.sum() + 1:
                continue
            x = np.column_stack([np.ones(len(rows.y)), rows.classes[:, seen]])
            value = x[held] @ least_absolute(x[fit], rows.y[fit], scale[fit])
            found[held] = np.where(rows.classes[held][:, ~seen].any(axis=1), np.nan, value)
    return found


def trees_of_numbers(rows: PeerRows, target: str, scale: Floats) -> Floats:
    """Extremely randomised trees on the numbers of defects of each label and of near pairs.

    For gaps and levels of dense structures: energies are sums, for which trees are no model.
    """
    if not _dense(rows) or TARGETS[target].aggregator == "sum":
        return np.full(len(rows.y), np.nan)
    x = np.column_stack([rows.n_defects, rows.counts, rows.classes[:, rows.reach < DENSE_CUTOFF]]).astype(
        np.float64
    )
    y = rows.y * scale
    return _held_out(rows, lambda fit: predict_with_trees(x[fit], y[fit], x, seed=0) / scale)


PEERS: dict[str, Callable[[PeerRows, str, Floats], Floats]] = {
    "pair look-up": pair_look_up,
    "pair expansion, ridge": pair_expansion_squares,
    "pair expansion, absolute errors": pair_expansion_absolute,
    "composition and pairs": composition_and_pairs,
    "pair tables per composition": tables_per_composition,
    "randomised trees": trees_of_numbers,
}
"""Method to its predictions [structure], in eV; NaN where it makes none."""


def _dense(rows: PeerRows) -> bool:
    return int(rows.n_defects.max(initial=0)) > JUDGED


def _expansion(rows: PeerRows) -> Floats:
    """Columns of a pair expansion: a constant, the numbers of defects, the numbers of pairs of each class."""
    near = rows.classes[:, rows.reach < DENSE_CUTOFF] if _dense(rows) else rows.classes
    return np.column_stack([np.ones(len(rows.y)), rows.counts, near])


def _held_out(rows: PeerRows, predict: Callable[[Flags], Floats]) -> Floats:
    """Predictions [structure] of five fits, each for the fold that it did not see.

    ``predict`` takes the rows to fit and returns predictions for all.
    """
    found = np.full(len(rows.y), np.nan)
    for fold in range(N_FOLDS):
        held = (rows.fold == fold) & (rows.n_defects >= JUDGED)
        if held.any():
            found[held] = predict(~held)[held]
    return found
