"""Compute band energies and levels of defects in h-BN with a tight-binding model.

This is a model, not DFT: one p_z orbital per atom, nearest-neighbour hopping, non-interacting electrons, no
relaxation, no spin. Hopping and on-site energies are those fitted to the GW quasiparticle bands of the
monolayer by Galvani et al., Phys. Rev. B 94, 125303 (2016): t = 2.30 eV, on-site +3.625 eV on B and -3.625 eV
on N. Carbon's on-site energy is placed between them in the ratio of the atomic p levels of B, C and N
(-6.64, -8.97, -11.47 eV) of Harrison's solid state table (Electronic Structure and the Properties of Solids,
1980). In neutral h-BN the pi band takes no electron of B, one of C and two of N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HOPPING = 2.30
"""Energy of the bond between neighbouring orbitals, eV; it enters the Hamiltonian with a minus sign."""

ONSITE: dict[str, float] = {"B": 3.625, "C": 3.625 - 7.25 * (8.97 - 6.64) / (11.47 - 6.64), "N": -3.625}
"""Energy of an electron on the free orbital of each element, eV."""

ELECTRONS: dict[str, int] = {"B": 0, "C": 1, "N": 2}
"""Electrons that a neutral atom of each element gives to the pi band."""

CHEMICAL_POTENTIALS: dict[str, float] = {element: ELECTRONS[element] * ONSITE[element] for element in ONSITE}
"""Energy of the isolated atom's pi electrons, eV: the reference of the formation energies."""

SUBLATTICES = ("B", "N")
_REMOVED = 100.0  # eV; above every band, yet small enough that LAPACK keeps the digits of the levels
_BATCH = 256  # structures diagonalised at once: 32 MiB at 128 orbitals


@dataclass(frozen=True, slots=True)
class ModelDefect:
    """One kind of defect: the element taken away and the one put there (None: the orbital goes)."""

    label: str
    removed: str
    added: str | None

    @property
    def sublattice(self) -> int:
        """0 for boron sites, 1 for nitrogen sites."""
        return SUBLATTICES.index(self.removed)

    @property
    def onsite(self) -> float:
        """On-site energy after the change, eV."""
        return _REMOVED if self.added is None else ONSITE[self.added]

    @property
    def electrons(self) -> int:
        """Change of the number of pi electrons."""
        return (0 if self.added is None else ELECTRONS[self.added]) - ELECTRONS[self.removed]

    @property
    def chemical_potential(self) -> float:
        """mu(removed) - mu(added), eV."""
        added = 0.0 if self.added is None else CHEMICAL_POTENTIALS[self.added]
        return CHEMICAL_POTENTIALS[self.removed] - added


DEFECTS: tuple[ModelDefect, ...] = (
    ModelDefect("Vac_B", "B", None),
    ModelDefect("Vac_N", "N", None),
    ModelDefect("C_B", "B", "C"),
    ModelDefect("C_N", "N", "C"),
)
"""The kinds of defect; a kind's number is its place here."""

KINDS: dict[str, int] = {defect.label: number for number, defect in enumerate(DEFECTS)}


@dataclass(frozen=True, slots=True)
class Levels:
    """Results for S structures, each array of shape (S,): energies in eV, ``electrons`` a count."""

    energy: Floats
    homo: Floats
    lumo: Floats
    lowest: Floats
    electrons: Integers


@lru_cache(maxsize=8)
def hopping_matrix(cell: int) -> Floats:
    """Bonds of the cell x cell supercell at the Gamma point, eV, shape (2 cell^2, 2 cell^2).

    Boron (i, j) is orbital i * cell + j, nitrogen (i, j) comes cell^2 later. With lattice vectors 120 degrees
    apart, boron at (1/3, 2/3) and nitrogen at (2/3, 1/3), the neighbours of boron (i, j) are nitrogen (i, j),
    (i - 1, j) and (i, j + 1). In cells of 1 or 2 several bonds join the same two orbitals and add up.
    """
    if cell < 1:
        raise ValueError(f"a supercell has at least one unit cell along each axis, not {cell}")
    i, j = (index.ravel() for index in np.indices((cell, cell)))
    matrix = np.zeros((2 * cell**2, 2 * cell**2))
    for di, dj in ((0, 0), (-1, 0), (0, 1)):
        nitrogen = cell**2 + (i + di) % cell * cell + (j + dj) % cell
        np.add.at(matrix, (i * cell + j, nitrogen), -HOPPING)
    symmetric = matrix + matrix.T
    symmetric.setflags(write=False)
    return symmetric


def _column(name: str, kinds: Integers) -> Any:
    """A property of every defect, shaped like ``kinds``."""
    return np.array([getattr(defect, name) for defect in DEFECTS])[kinds]


def hamiltonians(cell: int, sites: Integers, kinds: Integers) -> Floats:
    """Gamma-point Hamiltonians of S structures with d defects each, eV, shape (S, 2 cell^2, 2 cell^2).

    ``sites`` and ``kinds`` have shape (S, d): orbital numbers and places in DEFECTS. A vacancy's orbital
    loses its bonds and lies far above the bands, where no electron reaches it: exactly as if it were gone.
    Raises ValueError where a defect stands on the wrong sublattice or two share a site.
    """
    _check_sites(cell, sites, kinds)
    orbitals = 2 * cell**2
    onsite = np.tile(np.repeat([ONSITE["B"], ONSITE["N"]], cell**2), (len(sites), 1))
    bonded = np.ones_like(onsite)
    np.put_along_axis(onsite, sites, _column("onsite", kinds), axis=1)
    vacant = np.array([defect.added is None for defect in DEFECTS])
    np.put_along_axis(bonded, sites, np.where(vacant[kinds], 0.0, 1.0), axis=1)
    stack: Floats = hopping_matrix(cell) * bonded[:, :, None] * bonded[:, None, :]
    diagonal = np.arange(orbitals)
    stack[:, diagonal, diagonal] = onsite
    return stack


def _check_sites(cell: int, sites: Integers, kinds: Integers) -> None:
    if np.any(sites // cell**2 != _column("sublattice", kinds)):
        raise ValueError("a defect stands on a site of the other sublattice, or outside the supercell")
    ordered = np.sort(sites, axis=1)
    if np.any(ordered[:, 1:] == ordered[:, :-1]):
        raise ValueError("two defects share a site")


def solve(cell: int, sites: Integers, kinds: Integers) -> Levels:
    """Band energies and frontier levels of S structures; ``sites`` and ``kinds`` as in ``hamiltonians``.

    The band energy sums the occupied levels: two electrons in each, one in the last where the count is odd.
    HOMO is the highest level with an electron, LUMO the lowest without, infinite where every orbital is full.
    """
    changes = _column("electrons", kinds).sum(axis=1, dtype=np.int64)
    electrons: Integers = 2 * cell**2 + changes
    batches = [slice(start, start + _BATCH) for start in range(0, max(len(sites), 1), _BATCH)]
    found = np.concatenate([np.linalg.eigvalsh(hamiltonians(cell, sites[b], kinds[b])) for b in batches])
    occupation = np.clip(electrons[:, None] - 2 * np.arange(found.shape[1]), 0, 2)
    levels = np.pad(np.where(found < _REMOVED / 2, found, np.inf), ((0, 0), (0, 1)), constant_values=np.inf)
    occupied = (electrons + 1) // 2
    rows = np.arange(len(levels))
    return Levels(
        energy=(found * occupation).sum(axis=1),
        homo=levels[rows, occupied - 1],
        lumo=levels[rows, occupied],
        lowest=levels[:, 0],
        electrons=electrons,
    )


def pristine(cell: int) -> Levels:
    """Levels of the supercell without defects, arrays of shape (1,)."""
    none = np.zeros((1, 0), dtype=np.int64)
    return solve(cell, none, none)


def formation_energies(cell: int, sites: Integers, kinds: Integers) -> Floats:
    """E(structure) - E(pristine) + sum mu(removed) - sum mu(added), eV, shape (S,)."""
    chemical: Floats = _column("chemical_potential", kinds).sum(axis=1)
    return solve(cell, sites, kinds).energy - pristine(cell).energy + chemical
