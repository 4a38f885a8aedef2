"""Recognise a known layer in a unit cell of other vacuum, origin, stacking height or lattice vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from defectdb.ingest.matching.lattices import plane_matrices
from defectdb.ingest.records import Floats, Integers, Material, Numbers

SAME_LENGTH = 3e-4  # relative, between lattice vectors of one crystal in two sources
SAME_PLACE = 5e-3  # angstrom, between sites of one crystal in two sources


def layer_in(known: Material, cell: Material) -> Material | None:
    """The known material as this cell holds it, None where the cell holds another crystal.

    A layer is its in-plane lattice and basis. What comes back has the known material's name, site order and plane
    lattice, and the cell's height, origin and stacking height.
    """
    if sorted(known.numbers) != sorted(cell.numbers):
        return None
    for matrix in plane_matrices(cell.lattice[:2, :2], known.lattice[:2, :2], SAME_LENGTH):
        for frac in _settings(cell, matrix):
            order = _partners(known, cell, frac)
            if order is not None:
                lattice = known.lattice.copy()
                lattice[2] = cell.lattice[2]
                return replace(
                    known, lattice=lattice, frac=np.column_stack([frac[order, :2] % 1.0, frac[order, 2]])
                )
    return None


def _settings(cell: Material, matrix: Integers) -> Iterator[Floats]:
    """Places in the plane lattice ``matrix`` times the cell's, upright and upside down; heights stay in [0, 1)."""
    plane = cell.frac[:, :2] @ np.linalg.inv(matrix)
    for height in (cell.frac[:, 2], 1.0 - cell.frac[:, 2]):
        yield np.column_stack([plane, height])


def _partners(known: Material, cell: Material, frac: Floats) -> Integers | None:
    """The cell's site for every site of the known material, after the shift that brings them together."""
    anchor = _rarest(known.numbers)
    for candidate in np.flatnonzero(cell.numbers == known.numbers[anchor]):
        delta = (frac - frac[candidate])[None, :, :] - (known.frac - known.frac[anchor])[:, None, :]
        plane = delta[..., :2] - np.round(delta[..., :2])
        height = _heights(cell, frac, int(candidate))[None, :] - _heights(known, known.frac, anchor)[:, None]
        distance = np.hypot(np.linalg.norm(plane @ known.lattice[:2, :2], axis=2), height)
        distance[known.numbers[:, None] != cell.numbers[None, :]] = np.inf
        nearest = distance.argmin(axis=1)
        if distance.min(axis=1).max() < SAME_PLACE and len(set(nearest.tolist())) == len(nearest):
            return np.asarray(nearest, dtype=np.int64)
    return None


def _rarest(numbers: Numbers) -> int:
    """The first site of the element that has the fewest."""
    counts = np.bincount(numbers)[numbers]
    return int(np.argmin(counts))


def _heights(material: Material, frac: Floats, origin: int) -> Floats:
    """Heights over the site ``origin`` [angstrom]."""
    return np.asarray((frac[:, 2] - frac[origin, 2]) * material.lattice[2, 2])
