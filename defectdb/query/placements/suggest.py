"""The pairs of defects whose calculation lowers a model's error most, as placements on a supercell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.read import known
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_ast, variables
from defectdb.query.placements.enumeration import enumerate_placements
from defectdb.query.placements.expected_gain import Unknown, choose, nearest_known
from defectdb.query.placements.supercells import Ints, Supercell, distances, parse_supercell, supercell
from defectdb.schema.fields import TARGETS

_SAME_DZ = 0.3  # angstrom: pairs of one layer, or of two
_SAME_R = 0.02  # angstrom: one distance class

_SINGLES = """
    SELECT DISTINCT d.label
    FROM structures AS s JOIN hosts AS h USING (host_id) JOIN defects AS d USING (structure_id)
    WHERE s.n_defects = 1 AND h.material_id = $material AND d.kind IN ('vacancy', 'substitution')
    ORDER BY ALL
"""
_FORMULAS = """
    SELECT ast, constants, dz_min, dz_max, coalesce(cutoff, CAST('inf' AS DOUBLE)) AS cutoff, bic
    FROM formulas
    WHERE material_id = $material AND target = $target AND pair_label = $label AND status <> 'stale' AND bic IS NOT NULL
        AND run_id = (
            SELECT max(run_id) FROM formulas
            WHERE material_id = $material AND target = $target AND pair_label = $label AND status <> 'stale'
        )
"""


@dataclass(frozen=True, eq=False)
class Suggested:
    """What to compute next.

    Attributes:
        cell: the supercell
        labels: labels of the two defects of every placement
        sites: their sites
        frame: one row per placement with its reasons: label, distance and dz (angstrom), disagreement (meV), share of
            all placements of the label (%), nearest computed distance (angstrom away), expected drop of the squared
            error (%)
    """

    cell: Supercell
    labels: list[tuple[str, str]]
    sites: list[tuple[int, int]]
    frame: pl.DataFrame


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Placements of one pair label in one layer or in two.

    Attributes:
        labels: of the two defects
        sites: of every candidate [candidate, 2]
        dz: of the layer window, angstrom
        unknown: what is known and not known of the kernel there
    """

    labels: tuple[str, str]
    sites: Ints
    dz: float
    unknown: Unknown


def suggest(db: Database, material: str, repeats: str, budget: int, target: str) -> Suggested:
    """The ``budget`` placements of two defects to compute next, the most useful first.

    Raises UnknownNameError, and UsageError where the material has no structures with one defect, its host no energy, or
    every placement of two defects is stored already.
    """
    known("target", target, list(TARGETS))
    cell = supercell(db, material, parse_supercell(repeats))
    _demand_host_energy(db, cell, material, target)
    singles = db.frame(_SINGLES, {"material": material})["label"].to_list()
    if not singles:
        raise UsageError(
            f"no structure of {material} with one defect is stored; compute those first: every pair stands on them"
        )
    groups = [
        group
        for pair in combinations_with_replacement(singles, 2)
        for group in _candidates(db, cell, material, target, (str(pair[0]), str(pair[1])))
    ]
    picks = choose([group.unknown for group in groups], budget)
    if not picks:
        raise UsageError(
            f"every placement of two defects in {cell.name} is stored already; take a larger --supercell"
        )
    rows: list[dict[str, object]] = []
    labels: list[tuple[str, str]] = []
    sites: list[tuple[int, int]] = []
    for rank, pick in enumerate(picks, start=1):
        group = groups[pick.kernel]
        r = float(group.unknown.r[pick.candidate])
        labels.append(group.labels)
        sites.append((int(group.sites[pick.candidate, 0]), int(group.sites[pick.candidate, 1])))
        rows.append({
            "rank": rank, "label": "-".join(group.labels), "distance": r, "dz": group.dz,
            "disagreement_meV": 1000 * pick.doubt, "share_percent": 100 * float(group.unknown.share[pick.candidate]),
            "nearest_computed": nearest_known(r, group.unknown.known_r), "drop_percent": 100 * pick.gain,
        })  # fmt: skip
    schema = {"nearest_computed": pl.Float64}
    return Suggested(cell, labels, sites, pl.DataFrame(rows, schema_overrides=schema))


def _demand_host_energy(db: Database, cell: Supercell, material: str, target: str) -> None:
    """Raises UsageError where formation energies in this cell would have no pristine energy to refer to."""
    if TARGETS[target].aggregator != "sum":
        return
    energies = db.frame(
        "SELECT energy FROM hosts WHERE material_id = $material AND energy IS NOT NULL",
        {"material": material},
    )
    if energies.is_empty():
        raise UsageError(
            f"no host of {material} has an energy, and formation energies need that of the pristine supercell; "
            f"compute the pristine {cell.name} first and ingest it"
        )


def _candidates(
    db: Database, cell: Supercell, material: str, target: str, pair: tuple[str, str]
) -> list[_Candidates]:
    """The placements of a pair that are not stored, by layer window; a window without any tells the others' size."""
    first, second = sorted(pair)
    placed = enumerate_placements(cell, [first, second])
    sites = placed.select("site_1", "site_2").to_numpy().astype(np.int64)
    whole, height = distances(cell, sites[:, 0], sites[:, 1])
    r, dz = np.diag(whole), np.diag(height)
    often = placed["multiplicity"].to_numpy().astype(np.float64)
    label = f"{first}-{second}"
    stored = _stored(db, material, target, label)
    formulas = db.frame(_FORMULAS, {"material": material, "target": target, "label": label})
    groups = []
    for layer in _layers(dz):
        here = np.abs(dz - layer) < _SAME_DZ
        known_here = stored.filter((pl.col("dz") - layer).abs() < _SAME_DZ)
        known_r, known_y = known_here["r"].to_numpy(), known_here["y"].to_numpy()
        rows = _one_of_each_class(np.flatnonzero(here), r)
        share = np.array([often[here & (np.abs(r - r[i]) < _SAME_R)].sum() for i in rows]) / often[here].sum()
        values, weight = _values(formulas, r[rows], layer)
        apart = np.abs(r[rows][:, None] - known_r[None, :]).min(1, initial=np.inf)
        new = apart > _SAME_R  # a class is computed once
        unknown = Unknown(r[rows][new], share[new], known_r, known_y, values[:, new], weight)
        groups.append(_Candidates((first, second), sites[rows][new], layer, unknown))
    return groups


def _layers(dz: Floats) -> list[float]:
    """|dz| of every layer window, angstrom."""
    values = np.unique(np.round(dz, 3))
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > _SAME_DZ)
    return [float(values[i]) for i in starts]


def _one_of_each_class(rows: Ints, r: Floats) -> Ints:
    """The first of the rows of every distance class, by rising distance."""
    order = rows[np.argsort(r[rows], kind="stable")]
    fresh = np.diff(r[order], prepend=-np.inf) > _SAME_R
    return order[fresh]


def _stored(db: Database, material: str, target: str, label: str) -> pl.DataFrame:
    """Computed distances r, |dz| (angstrom) and values y (eV) of a pair, less their median for levels and gaps."""
    column = "interaction" if target == "formation_energy" else target
    frame = db.frame(
        f"SELECT distance AS r, dz, {column} AS y FROM pair_energies WHERE material_id = $material AND label = $label "
        f"AND {column} IS NOT NULL ORDER BY ALL",
        {"material": material, "label": label},
    )
    return frame if column == "interaction" else frame.with_columns(pl.col("y") - pl.col("y").median())


def _values(formulas: pl.DataFrame, r: Floats, layer: float) -> tuple[Floats, Floats]:
    """Values [formula, distance] of the newest front's formulas of a layer window, and weights exp(-BIC / 2)."""
    own = formulas.filter((pl.col("dz_min") <= layer + 1e-6) & (pl.col("dz_max") > layer + 1e-6))
    values, scores = [], []
    for row in own.iter_rows(named=True):
        tree = from_ast(row["ast"])
        if set(variables(tree)) - {"r"}:
            continue
        found = np.broadcast_to(evaluate_numpy(tree, {"r": r}, row["constants"]), r.shape)
        found = np.where(r >= row["cutoff"], 0.0, found)
        if np.isfinite(found).all():
            values.append(found)
            scores.append(row["bic"])
    if not values:
        return np.zeros((0, len(r))), np.zeros(0)
    score = np.array(scores)
    return np.array(values), np.exp(-0.5 * np.minimum(score - score.min(), 12.0))


def structures_of(found: Suggested) -> Sequence[tuple[Sequence[str], Sequence[int]]]:
    """Labels and sites of every placement."""
    return list(zip(found.labels, found.sites, strict=True))
