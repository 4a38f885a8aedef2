"""Records that readers fill and matching reads: structures, unit cells, hosts, rejects and notes."""

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
    """Something in a source that was not loaded.

    source_path: file or archive member.
    row: line of a table, None for a file.
    reason: kind of fault in a few words.
    detail: what was wrong.
    structure_id: name of the structure, None where it has none.
    """

    source_path: str
    row: int | None
    reason: str
    detail: str
    structure_id: str | None = None


ODD_NUMBERS = "numbers left out"
"""Kind of the notes about numbers that are none."""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark about a structure that was loaded all the same.

    structure_id: its name.
    kind: what is odd in a few words.
    detail: what exactly.
    """

    structure_id: str
    kind: str
    detail: str

    @property
    def text(self) -> str:
        """The remark as it is stored."""
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True, eq=False)
class UnitCell:
    """One unit cell.

    base: its name in the source.
    lattice: rows are the cell vectors (3, 3) [angstrom].
    numbers: atomic numbers (n,).
    frac: fractional coordinates (n, 3).
    """

    base: str
    lattice: Floats
    numbers: Numbers
    frac: Floats


@dataclass(frozen=True, slots=True)
class Pristine:
    """The perfect supercell of one unit cell.

    base: name of the unit cell.
    size: repetitions along a, b, c.
    energy: total energy [eV], None where it is not known, as the others.
    e1: lowest level [eV].
    e_vbm: valence band maximum [eV].
    fermi: Fermi level [eV].
    """

    base: str
    size: tuple[int, int, int]
    energy: float | None = None
    e1: float | None = None
    e_vbm: float | None = None
    fermi: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Geometries:
    """m structures of n atoms as flat arrays: the atoms of structure k are rows ``offsets[k]:offsets[k + 1]``.

    ids: names (m).
    paths: file or archive member of each (m).
    lattice: rows are cell vectors (m, 3, 3) [angstrom].
    offsets: first atom of each structure, and the end (m + 1,).
    numbers: atomic numbers (n,).
    frac: fractional coordinates (n, 3).
    digests: SHA-256 of the bytes read (m).
    moved: how far every atom went in the relaxation that followed (n,) [angstrom], None where the source has none.
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

    dataset_id: its key.
    name: its title.
    format: format it was read in.
    uri: file or folder it was read from.
    sha256: hash of the source's bytes.
    batches: structures, and the files that hold none; read once, so that no archive is in memory as a whole.
    table: a row for every structure with structure_id, row, base, size ('8x8x1'), descriptor, declared (labels of its
        defects, sorted, joined by '+') and the source's numbers; base, size, declared are null where it does not say.
    unit_cells: by base name.
    pristine: perfect supercells with their energies.
    potentials: chemical potential [eV] and where it is from, by element.
    rejects: rows that could not be read.
    notes: remarks about structures that were read.
    density: 'low' or 'high', None outside the public archive.
    licence, citation, doi: how the data may be used and are to be cited.
    functional: name of the level of theory, None where the source does not say.
    complete: whether the source holds the whole dataset, so that stored structures it lacks are removed.
    aside: files beside it that were not read.
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
    notes: list[Note] = field(default_factory=list)
    density: str | None = None
    licence: str | None = None
    citation: str | None = None
    doi: str | None = None
    functional: str | None = None
    complete: bool = True
    aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """A 2D crystal of n sites per unit cell.

    material_id: its key.
    lattice: rows are the cell vectors, a along x, c along z (3, 3) [angstrom].
    numbers: atomic numbers (n,).
    frac: fractional coordinates (n, 3).
    layers: top, middle or bottom for every site (n).
    zigzag: unit vector of the zigzag direction in the plane.
    angle_period: directions that differ by this angle are alike [degree].
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
    """A pristine supercell of n sites.

    host_id: its key.
    material: crystal that it repeats.
    supercell: repetitions, '8x8x1' or '(4,1)(-1,3)x1'.
    lattice: rows are the cell vectors (3, 3) [angstrom].
    numbers: atomic numbers (n,).
    frac: fractional coordinates (n, 3).
    sublattice: site of the unit cell that each site repeats (n,).
    energy, e1, e_vbm, fermi: as in Pristine [eV].
    """

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
