"""Assign the atoms of one structure to the sites of its host, however it is rotated, shifted or relaxed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from defectdb.ingest.matching.lattices import plane_matrices
from defectdb.ingest.matching.unit_cells import lifted, standard
from defectdb.ingest.readers.cif import Atoms
from defectdb.ingest.records import Floats, Host, Integers, Numbers

RADIUS = 1.5  # angstrom: an atom farther than this from every free site is an interstitial or adatom
ENOUGH = 0.7  # share of atoms on sites of their own element that settles the setting at once
LEAST = 0.5  # share below which the structure is none of this host
_ANCHORS = 6  # atoms tried as the one that shows the shift


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the atoms of one structure stand.

    ``numbers`` (sites,): atomic number on every site, 0 for none; ``displacement``: the largest distance
    [angstrom] of an atom from its site; ``extra`` (k,), ``extra_numbers`` (k,), ``extra_frac`` (k, 3): atoms
    on no site, by index, and in the host's frame.
    """

    numbers: Numbers
    displacement: float
    extra: Integers
    extra_numbers: Numbers
    extra_frac: Floats


class Placer:
    """Places structures on one host; keeps the host's search tree."""

    def __init__(self, host: Host) -> None:
        from scipy.spatial import cKDTree

        self.host = host
        self._own = host.frac @ host.lattice
        images = np.array([[i, j, 0] for i in (0, 1, -1) for j in (0, 1, -1)])
        self._tree = cKDTree((host.frac[None, :, :] + images[:, None, :]).reshape(-1, 3) @ host.lattice)
        spacing = self._tree.query(self._own, k=2)[0][:, 1].min()
        self._near = min(0.6, 0.45 * float(spacing))

    def place(self, atoms: Atoms) -> Placement | None:
        """The placement of least total displacement, None where the atoms do not fit this host."""
        best, most = None, LEAST * len(atoms.numbers)
        for frac in self._settings(atoms):
            hits = self._hits(atoms.numbers, frac)
            if hits > most:
                best, most = frac, hits
            if hits >= ENOUGH * len(atoms.numbers):
                break
        if best is None:
            return None
        return self._assign(atoms.numbers, self._centred(atoms.numbers, best))

    def _settings(self, atoms: Atoms) -> Iterator[Floats]:
        """Fractional places in the host's frame for every orientation, first unshifted, then shifted."""
        oriented = list(self._orientations(atoms))
        yield from oriented
        anchors = np.unique(np.linspace(0, len(atoms.numbers) - 1, _ANCHORS).astype(np.int64))
        for anchor in anchors:
            for target in self._targets(int(atoms.numbers[anchor])):
                for frac in oriented:
                    yield frac + (target - frac[anchor])

    def _orientations(self, atoms: Atoms) -> Iterator[Floats]:
        lattice = standard(atoms.lattice)
        if lattice is None:
            return
        height = lifted(atoms.frac[:, 2]) * lattice[2, 2] / self.host.lattice[2, 2]
        middle = float(self.host.frac[:, 2].min() + self.host.frac[:, 2].max())
        flat = atoms.frac[:, 2] * lattice[2, 2] / self.host.lattice[2, 2]
        for matrix in plane_matrices(lattice[:2, :2], self.host.lattice[:2, :2]):
            plane = atoms.frac[:, :2] @ np.linalg.inv(matrix)
            for z in (flat, height, middle - height):
                yield np.column_stack([plane, z])

    def _targets(self, number: int) -> Floats:
        """One site of every sublattice of this element."""
        rows = np.flatnonzero(self.host.numbers == number)
        _, first = np.unique(self.host.sublattice[rows], return_index=True)
        return self.host.frac[rows[first]]

    def _nearest(self, frac: Floats) -> tuple[Floats, Integers]:
        wrapped = np.column_stack([frac[:, :2] % 1.0, frac[:, 2]])
        distance, index = self._tree.query(wrapped @ self.host.lattice)
        return distance, index % len(self.host.numbers)

    def _hits(self, numbers: Numbers, frac: Floats) -> int:
        """How many atoms stand near a site of their own element."""
        distance, site = self._nearest(frac)
        return int(((distance < self._near) & (self.host.numbers[site] == numbers)).sum())

    def _centred(self, numbers: Numbers, frac: Floats) -> Floats:
        """The places moved by the median displacement of the atoms on sites of their own element."""
        for _ in range(3):
            distance, site = self._nearest(frac)
            hit = (distance < self._near) & (self.host.numbers[site] == numbers)
            delta = frac[hit] - self.host.frac[site[hit]]
            delta[:, :2] -= np.round(delta[:, :2])
            frac = frac - np.median(delta, axis=0)
        return frac

    def _assign(self, numbers: Numbers, frac: Floats) -> Placement:
        """Periodic assignment of atoms to sites by least total squared displacement within RADIUS."""
        from scipy.optimize import linear_sum_assignment  # a third of a second: only where it is needed

        delta = frac[:, None, :] - self.host.frac[None, :, :]
        delta[..., :2] -= np.round(delta[..., :2])
        square = ((delta @ self.host.lattice) ** 2).sum(axis=2)
        atom, site = linear_sum_assignment(np.minimum(square, RADIUS**2))
        close = square[atom, site] < RADIUS**2
        atom, site = atom[close], site[close]
        occupied = np.zeros(len(self.host.numbers), dtype=np.uint8)
        occupied[site] = numbers[atom]
        extra = np.setdiff1d(np.arange(len(numbers)), atom)
        places = np.column_stack([frac[extra, :2] % 1.0, frac[extra, 2]])
        worst = float(np.sqrt(square[atom, site].max(initial=0.0)))
        return Placement(occupied, worst, extra, numbers[extra], places)
