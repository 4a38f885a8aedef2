"""All pairs of atoms within a cutoff, periodic images included, of many configurations in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.errors import InputDataError
from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.potential.physics.frames import Frames

_CANDIDATES = 3_000_000  # pairs looked at in one pass: what fits into memory several times
COINCIDENT = 0.3
"""Distance below which two atoms are one written twice, angstrom."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """P pairs of neighbours, every pair once.

    ``first``, ``second`` [P]: the two atoms, indices into the frames' positions; equal for an atom and its own image.
    ``frame`` [P]: the configuration.
    ``distance`` [P] (angstrom).
    ``direction`` [P, 3]: unit vector from the first to the second atom.
    ``cutoff`` (angstrom): largest distance.
    """

    first: Integers
    second: Integers
    frame: Integers
    distance: Floats
    direction: Floats
    cutoff: float


def neighbours(frames: Frames, cutoff: float) -> Neighbours:
    """The pairs of all configurations up to ``cutoff`` (angstrom), those of cells smaller than it with every image.

    Raises InputDataError, naming the configuration, where two atoms stand in one place.
    """
    cells = frames.cells
    heights = frames.volumes[:, None] / np.linalg.norm(
        np.cross(cells[:, [1, 2, 0]], cells[:, [2, 0, 1]]), axis=2
    )  # [m, 3]
    inverse = np.linalg.inv(cells)
    frac = np.einsum("ni,nij->nj", frames.positions, inverse[frames.frame_of_atom])
    wrapped = np.einsum("ni,nij->nj", frac - np.floor(frac), cells[frames.frame_of_atom])
    reach = np.ceil(cutoff / heights).astype(np.int64)  # images of wrapped atoms on either side
    work = frames.counts**2 * np.prod(2 * reach + 1, axis=1)
    part = np.cumsum(work) // _CANDIDATES
    found = [_pairs(frames, wrapped, reach, np.flatnonzero(part == p), cutoff) for p in np.unique(part)] or [
        _pairs(frames, wrapped, reach, np.zeros(0, dtype=np.int64), cutoff)
    ]
    first, second, frame = (np.concatenate([f[k] for f in found]) for k in range(3))
    vector = np.concatenate([f[3] for f in found])
    distance = np.sqrt(np.einsum("pi,pi->p", vector, vector))
    if len(distance) and distance.min() < COINCIDENT:
        k = int(distance.argmin())
        at = frames.offsets[frame[k]]
        raise InputDataError(
            f"atoms {first[k] - at + 1} and {second[k] - at + 1} are {distance[k]:.3f} angstrom apart; "
            f"atoms of a solid are at least {COINCIDENT} angstrom from one another",
            member=frames.ids[frame[k]],
        )
    return Neighbours(first, second, frame, distance, vector / distance[:, None], cutoff)


def _pairs(
    frames: Frames, places: Floats, reach: Integers, rows: Integers, cutoff: float
) -> tuple[Integers, Integers, Integers, Floats]:
    """Pairs of some configurations: atoms, configuration and vector between them (angstrom)."""
    counts, sides = frames.counts[rows], 2 * reach[rows] + 1
    images = np.prod(sides, axis=1)
    total = counts**2 * images
    row = np.repeat(np.arange(len(rows)), total)
    number = np.arange(len(row)) - np.repeat(np.cumsum(total) - total, total)
    image, pair = np.divmod(number, (counts**2)[row])
    i, j = np.divmod(pair, counts[row])
    a, rest = np.divmod(image, (sides[:, 1] * sides[:, 2])[row])
    b, c = np.divmod(rest, sides[row, 2])
    shift = np.stack([a, b, c], axis=1) - reach[rows][row]
    # every pair once: of the two orders of atoms the one with i < j, of an atom's own images one of two opposite ones
    own = (i == j) & (
        (shift[:, 0] > 0)
        | ((shift[:, 0] == 0) & ((shift[:, 1] > 0) | ((shift[:, 1] == 0) & (shift[:, 2] > 0))))
    )
    keep = np.flatnonzero((i < j) | own)
    row, i, j, shift = row[keep], i[keep], j[keep], shift[keep]
    start = frames.offsets[rows][row]
    vector = (
        places[start + j]
        - places[start + i]
        + np.einsum("pi,pij->pj", shift.astype(float), frames.cells[rows][row])
    )
    near = np.flatnonzero(np.einsum("pi,pi->p", vector, vector) < cutoff * cutoff)
    return (start + i)[near], (start + j)[near], rows[row[near]], vector[near]
