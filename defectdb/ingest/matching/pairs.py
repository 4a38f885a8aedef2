"""Compute the geometry of defect pairs: minimum-image vector, angle to the zigzag direction, shell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.ingest.records import Floats, Host, Integers, Material
from defectdb.schema.lattice import nearest_image, reduced

SHELL_TOLERANCE = 1e-3  # angstrom between distances of one shell
_FLAT = 1e-6  # angstrom: an in-plane vector this short has no direction


@dataclass(frozen=True, slots=True, eq=False)
class PairGeometry:
    """Per pair: vector (n, 3), distance (n,), in-plane distance (n,) [angstrom]; angle (n,) [degrees or
    NaN]."""

    vector: Floats
    distance: Floats
    inplane: Floats
    angle: Floats


def combinations(counts: Integers) -> tuple[Integers, Integers, Integers]:
    """All i < j within consecutive groups of the given sizes: group, flat index i, flat index j."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else np.zeros(0, dtype=np.int64)
    groups, first, second = [], [], []
    for size in np.unique(counts[counts > 1]):
        rows = np.flatnonzero(counts == size)
        i, j = np.triu_indices(size, 1)
        groups.append(np.repeat(rows, len(i)))
        first.append((starts[rows][:, None] + i).ravel())
        second.append((starts[rows][:, None] + j).ravel())
    if not groups:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    group, left, right = np.concatenate(groups), np.concatenate(first), np.concatenate(second)
    order = np.lexsort((right, left))
    return group[order], left[order], right[order]


def pair_geometry(host: Host, start: Floats, end: Floats) -> PairGeometry:
    """Minimum-image geometry between Cartesian positions (n, 3) [angstrom], periodic along a and b only."""
    delta = end - start
    plane = nearest_image(host.lattice[:2, :2], delta[:, :2])
    vector = np.column_stack([plane, delta[:, 2]])
    inplane = np.hypot(plane[:, 0], plane[:, 1])
    return PairGeometry(vector, np.hypot(inplane, vector[:, 2]), inplane, fold_angle(host.material, plane))


def fold_angle(material: Material, plane: Floats) -> Floats:
    """Angle to the zigzag direction, folded by rotations and mirrors into [0, period / 2] degrees."""
    x, y = material.zigzag
    along, across = plane @ np.array([x, y]), plane @ np.array([-y, x])
    angle = np.degrees(np.arctan2(across, along)) % material.angle_period
    folded = np.minimum(angle, material.angle_period - angle)
    return np.where(np.hypot(along, across) < _FLAT, np.nan, folded)


def shell_index(material: Material, left: Integers, right: Integers, inplane: Floats) -> Integers:
    """Rank (from 1) of each in-plane distance among those of the infinite crystal for its sublattices.

    A pair of sublattices fixes |dz|, so distances rank as their in-plane parts do. Two sites of one
    sublattice never coincide: their shell 1 is the nearest neighbour. 0 where the distance is none of the
    crystal's or a defect is on no site (sublattice -1).
    """
    shells = np.zeros(len(left), dtype=np.int64)
    count = len(material.numbers)
    code = np.where((left >= 0) & (right >= 0), left * count + right, -1)
    for value in np.unique(code[code >= 0]):
        rows = np.flatnonzero(code == value)
        ladder = distance_ladder(
            material, int(value) // count, int(value) % count, float(inplane[rows].max())
        )
        rank = np.searchsorted(ladder, inplane[rows] - SHELL_TOLERANCE)
        hit = np.abs(ladder[np.minimum(rank, len(ladder) - 1)] - inplane[rows]) <= SHELL_TOLERANCE
        shells[rows] = np.where(hit, rank + 1, 0)
    return shells


def distance_ladder(material: Material, left: int, right: int, longest: float) -> Floats:
    """Distinct in-plane distances [angstrom] from a site of one sublattice to those of another, ascending."""
    basis = reduced(material.lattice[:2, :2])
    height = abs(float(np.linalg.det(basis))) / np.linalg.norm(basis, axis=1).max()
    reach = int(np.ceil((longest + 1) / height)) + 2
    steps = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2) @ basis
    offset = ((material.frac[right] - material.frac[left]) @ material.lattice)[:2]
    offset = nearest_image(material.lattice[:2, :2], offset[None, :])[0]
    lengths = np.sort(np.hypot(*(grid + offset).T))
    if left == right:
        lengths = lengths[lengths > SHELL_TOLERANCE]
    lengths = lengths[lengths <= longest + 1]
    if not len(lengths):
        return np.array([np.inf])
    return np.asarray(lengths[np.concatenate([[True], np.diff(lengths) > SHELL_TOLERANCE])])
