"""Configurations with energies and forces as records, and what is refused of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.errors import InputDataError
from defectdb.ingest.records import Floats, Numbers
from defectdb.schema.labels import ELEMENTS


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """One frame of n atoms, periodic along all three cell vectors.

    ``path``, ``row``: its file and its number there, from 1.
    ``cell`` [3, 3], ``positions`` [n, 3] (angstrom); ``numbers`` [n]: atomic numbers.
    ``energy`` (eV): total energy of the cell.
    ``forces`` [n, 3] (eV/angstrom), ``stress`` [6] (eV/angstrom^3; xx yy zz yz xz xy, tension positive): None where the
    source has none.
    ``name``, ``config_type``, ``split``: what the source says, empty where it does not.
    """

    path: str
    row: int
    cell: Floats
    positions: Floats
    numbers: Numbers
    energy: float
    forces: Floats | None
    stress: Floats | None
    name: str = ""
    config_type: str = ""
    split: str = ""

    @property
    def content_hash(self) -> str:
        """SHA-256 of cell, atoms, energy, forces and stress."""
        parts = [self.cell, self.positions, self.numbers, np.float64(self.energy)]
        parts += [part for part in (self.forces, self.stress) if part is not None]
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    @property
    def geometry_hash(self) -> str:
        """SHA-256 of cell and atoms, to a millionth of an angstrom."""
        rounded = np.round(np.concatenate([self.cell, self.positions]), 6) + 0.0
        return hashlib.sha256(rounded.tobytes() + self.numbers.tobytes()).hexdigest()


def check_configurations(found: Sequence[Configuration], path: str) -> None:
    """Raise InputDataError for a source from which no potential of one element can be learned."""
    if not found:
        raise InputDataError("holds no configurations", path=path)
    elements = sorted({int(z) for c in found for z in np.unique(c.numbers)})
    if len(elements) > 1:
        names = ", ".join(ELEMENTS[z - 1] for z in elements)
        raise InputDataError(
            f"holds the elements {names}; potentials are of one element: give a file of each", path=path
        )
    _check_same_kind(found, path)
    _check_energies(found, path)
    _check_duplicates(found, path)


def _check_same_kind(found: Sequence[Configuration], path: str) -> None:
    without = [c for c in found if c.forces is None]
    if without and len(without) < len(found):
        raise InputDataError(
            f"{len(without)} of {len(found)} frames have no forces, frame {without[0].row} is the first; "
            "give frames with forces and frames without as two files",
            path=path,
        )


def _check_energies(found: Sequence[Configuration], path: str) -> None:
    """Energies have to be those of whole cells: energies per atom, or both kinds mixed, are told by their size."""
    n = np.array([len(c.numbers) for c in found], dtype=np.float64)
    total = np.array([c.energy for c in found])
    large = n >= 4
    if not large.any():
        return
    per_atom = total / n
    usual = float(np.median(per_atom))
    near = 0.35 * abs(usual) + 0.1
    odd = large & (np.abs(per_atom - usual) > 0.5 * abs(usual)) & (np.abs(total - usual) < near)
    divided = large & (np.abs(total) > 0) & (np.abs(total - np.median(total[large])) < near)
    if odd.any() and not odd.all():
        row = found[int(np.flatnonzero(odd)[0])].row
        raise InputDataError(
            f"frame {row} seems to hold an energy per atom and others the energy of the cell; give total energies",
            path=path,
        )
    spread = float(np.ptp(total[large])), float(np.ptp(per_atom[large]))
    several = len(np.unique(n[large])) > 1
    if several and divided.all() and spread[0] < spread[1]:
        raise InputDataError(
            "energies do not grow with the number of atoms: they seem to be per atom; give total energies",
            path=path,
        )


def _check_duplicates(found: Sequence[Configuration], path: str) -> None:
    seen: dict[str, Configuration] = {}
    for c in found:
        other = seen.setdefault(c.geometry_hash, c)
        if other.split != c.split and "train" in (other.split, c.split):
            raise InputDataError(
                f"frames {other.row} ({other.split or 'no split'}) and {c.row} ({c.split or 'no split'}) are the same "
                "configuration: an error on it would be no test; leave one out",
                path=path,
            )
