"""Errors that others published for the eight public data sets, and those of the models in use on the same structures.

Mean absolute errors in meV. First table: as compared by Lazarev and Ustyuzhanin, arXiv:2512.20785 (the symbolic column
is theirs). Sparse graph network: Kazeev et al., npj Comput. Mater. 9, 113 (2023), doi 10.1038/s41524-023-01062-z; its
later table is the authors' own after bug fixes, one network for all sets. Data: Huang et al., npj 2D Mater. Appl. 7, 6
(2023), doi 10.1038/s41699-023-00369-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope

METHODS = (
    "SchNet",
    "GemNet",
    "MEGNet",
    "CatBoost",
    "MEGNet (sparse)",
    "Symbolic (SEGVAE)",
    "sparse network, later",
)
ENERGY, GAP = "formation_energy_per_site", "homo_lumo_gap"
JUDGED = 3
"""Structures of so many defects and more are compared: smaller ones are what pairs are learned from."""


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """One public data set.

    ``name``: as it is called here.
    ``material``, ``density``: its material_id, and low or high.
    ``mev``: errors in meV by target, in the order of ``METHODS``; None where none was published.
    """

    name: str
    material: str
    density: str
    mev: dict[str, tuple[float | None, ...]]


def _later(energy: float, gap: float) -> dict[str, tuple[float | None, ...]]:
    """Errors of a set of which only the later table of the sparse network is published."""
    return {ENERGY: (None,) * 6 + (energy,), GAP: (None,) * 6 + (gap,)}


SETS = (
    PublishedSet("MoS2 low", "MoS2", "low", {
        ENERGY: (65, 44, 58, 12.6, 4, 4, 2.6), GAP: (157, 46, 30, 20.7, 5.7, 18, 5.1)}),
    PublishedSet("WSe2 low", "WSe2", "low", {
        ENERGY: (85, 42, 65, 16.3, 6, 30, 4.8), GAP: (236, 64, 32, 18.3, 8.1, 44, 6.7)}),
    PublishedSet("MoS2 high", "MoS2", "high", {
        ENERGY: (321, 535, 196, 136, 23, 50, 18), GAP: (204, 174, 54, 71, 39, 55, 45)}),
    PublishedSet("WSe2 high", "WSe2", "high", {
        ENERGY: (536, 575, 112, 162, 23, 74, 24), GAP: (186, 268, 47, 106, 35, 81, 43)}),
    PublishedSet("BP", "P", "high", _later(70, 189)),
    PublishedSet("GaSe", "GaSe", "high", _later(41, 195)),
    PublishedSet("InSe", "InSe", "high", _later(36, 158)),
    PublishedSet("hBN", "BN", "high", _later(95, 208)),
)  # fmt: skip


def published() -> pl.DataFrame:
    """Columns set, material, density, target, method, mae_mev: a row for every published error."""
    rows = [
        (one.name, one.material, one.density, target, method, value)
        for one in SETS
        for target, values in one.mev.items()
        for method, value in zip(METHODS, values, strict=True)
        if value is not None
    ]
    names = ["set", "material", "density", "target", "method", "mae_mev"]
    return pl.DataFrame(rows, schema=names, orient="row", schema_overrides={"mae_mev": pl.Float64})


def set_scope(db: Database, one: PublishedSet, scope: Scope = EVERYTHING) -> Scope | None:
    """The datasets of the database that hold a published set, within a scope; None where there is none."""
    datasets = db.frame(
        "SELECT DISTINCT dataset_id FROM structures JOIN hosts USING (host_id) "
        f"WHERE material_id = $name AND density = $density AND {IN_SCOPE} ORDER BY ALL",
        {"name": one.material, "density": one.density, **scope.parameters()},
    )["dataset_id"].to_list()
    return Scope(one.material, tuple(datasets)) if datasets else None
