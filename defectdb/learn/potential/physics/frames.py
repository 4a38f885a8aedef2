"""Atomic configurations with energies, forces and stresses as flat arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Flags, Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """m configurations of n atoms; the atoms of configuration k are rows ``offsets[k]:offsets[k + 1]``.

    ``ids`` [m]: names.
    ``cells`` [m, 3, 3] (angstrom): rows are the cell vectors; periodic along all.
    ``positions`` [n, 3] (angstrom): Cartesian.
    ``offsets`` [m + 1]: first atom of each configuration, and the end.
    ``energies`` [m] (eV): total energies of the cells.
    ``forces`` [n, 3] (eV/angstrom): NaN where the source has none.
    ``stresses`` [m, 6] (eV/angstrom^3): xx yy zz yz xz xy, tension positive; NaN where the source has none.
    ``source`` [m]: index of the dataset in ``sources``.
    ``sources``: names of the datasets.
    ``atoms_zero`` [source]: whether energies of a dataset count from free atoms, so that none is to be shifted.
    ``config_type``, ``split`` [m]: as the sources say, empty where they do not.
    """

    ids: list[str]
    cells: Floats
    positions: Floats
    offsets: Integers
    energies: Floats
    forces: Floats
    stresses: Floats
    source: Integers
    sources: tuple[str, ...]
    atoms_zero: tuple[bool, ...]
    config_type: list[str]
    split: list[str]

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def counts(self) -> Integers:
        """Atoms of every configuration, [m]."""
        return np.diff(self.offsets)

    @property
    def frame_of_atom(self) -> Integers:
        """Configuration of every atom, [n]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def volumes(self) -> Floats:
        """Volumes of the cells (angstrom^3), [m]."""
        volumes: Floats = np.abs(np.linalg.det(self.cells))
        return volumes

    def chosen(self, rows: Flags | Integers) -> Frames:
        """The configurations of these rows (a mask or indices)."""
        index = (
            np.flatnonzero(rows) if np.asarray(rows).dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
        )
        counts = self.counts[index]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        atoms = np.repeat(self.offsets[index] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Frames(
            [self.ids[i] for i in index], self.cells[index], self.positions[atoms], offsets, self.energies[index],
            self.forces[atoms], self.stresses[index], self.source[index], self.sources, self.atoms_zero,
            [self.config_type[i] for i in index], [self.split[i] for i in index],
        )  # fmt: skip

    def labels(self) -> Iterator[tuple[str, str]]:
        """Dataset and config_type of every configuration."""
        return ((self.sources[s], c) for s, c in zip(self.source, self.config_type, strict=True))
