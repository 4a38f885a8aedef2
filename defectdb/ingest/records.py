"""The plain records that every reader fills and the normaliser consumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Numbers = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Reject:
    """Something a source offered that was not loaded: where it stands, why in two words, and the details."""

    source_path: str
    row: int | None
    reason: str
    detail: str
    structure_id: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A remark about a structure that was loaded all the same: its kind in a few words, and the details."""

    structure_id: str
    kind: str
    detail: str

    @property
    def text(self) -> str:
        """The remark as it is stored."""
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True, eq=False)
class UnitCell:
    """One unit cell: lattice rows [angstrom], atomic numbers (n,), fractional coordinates (n, 3)."""

    base: str
    lattice: Floats
    numbers: Numbers
    frac: Floats


@dataclass(frozen=True, slots=True)
class Pristine:
    """The perfect supercell of one base: its size and, where known, its levels [eV]."""

    base: str
    size: tuple[int, int, int]
    energy: float | None = None
    e1: float | None = None
    e_vbm: float | None = None
    fermi: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Geometries:
    """Structures as flat arrays: atoms of structure m are rows ``offsets[m]:offsets[m + 1]``.

    lattice (m, 3, 3) [angstrom, rows], numbers (n,), frac (n, 3); ``digests`` are SHA-256 of the bytes read.
    ``moved`` (n,) [angstrom], where the source tells: how far every atom went in the relaxation that followed.
    """

    ids: list[str]
    paths: list[str]
    lattice: Floats
    offsets: Integers
    numbers: Numbers
    frac: Floats
    digests: list[str]
    moved: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One dataset as its reader found it.

    ``table`` has a row for every structure: structure_id, row, base, size ('8x8x1'), descriptor, declared
    (its defects' labels joined by '+', sorted), and every numeric column of the source; base, size and
    declared are null where the source does not say. ``batches`` gives the structures, with the files that are
    none, and is read once: a large archive never stands in memory as a whole. ``complete`` says that the
    source holds the whole dataset, so that what it lacks is gone. ``aside`` names files beside it that were
    not read.
    """

    dataset_id: str
    name: str
    format: str
    uri: str
    sha256: str
    batches: Iterable[tuple[Geometries, list[Reject]]]
    table: pl.DataFrame
    unit_cells: dict[str, UnitCell] = field(default_factory=dict)
    pristine: tuple[Pristine, ...] = ()
    potentials: dict[str, tuple[float, str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    density: str | None = None
    licence: str | None = None
    citation: str | None = None
    doi: str | None = None
    functional: str | None = None
    complete: bool = True
    aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """A 2D crystal: its unit cell in standard orientation, the layer of every sublattice, its directions.

    ``zigzag`` is a unit vector in the plane; angles to it repeat every ``angle_period`` degrees.
    """

    material_id: str
    lattice: Floats
    numbers: Numbers
    frac: Floats
    layers: tuple[str, ...]
    zigzag: tuple[float, float]
    angle_period: float


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """A pristine supercell: lattice (3, 3); per site: number (n,), fractional place (n, 3), sublattice
    (n,)."""

    host_id: str
    material: Material
    supercell: str
    lattice: Floats
    numbers: Numbers
    frac: Floats
    sublattice: Integers
    energy: float | None = None
    e1: float | None = None
    e_vbm: float | None = None
    fermi: float | None = None
