"""List the symmetry-inequivalent placements of one, two and three defects on a honeycomb supercell."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from defectdb.demo.tightbinding import DEFECTS, KINDS, Integers

ROTATION = np.array([[0, -1], [1, -1]])
"""By 120 degrees about the hollow site, on fractional coordinates."""
MIRROR = np.array([[0, -1], [-1, 0]])
"""The mirror that keeps each sublattice, on fractional coordinates."""


def point_group() -> Integers:
    """The six operations of p3m1 about the hollow site on fractional coordinates, shape (6, 2, 2)."""
    turns = [np.linalg.matrix_power(ROTATION, turn) for turn in range(3)]
    return np.array([*turns, *(turn @ MIRROR for turn in turns)])


def thirds(cell: int) -> Integers:
    """Site positions in thirds of the unit cell's vectors, shape (2 cell^2, 2), ordered like the orbitals."""
    corners = 3 * _cells(cell)
    return np.concatenate([corners + np.array([1, 2]), corners + np.array([2, 1])])


def _cells(cell: int) -> Integers:
    """Indices (i, j) of the unit cells, shape (cell^2, 2)."""
    return np.stack([index.ravel() for index in np.indices((cell, cell))], axis=1)


@lru_cache(maxsize=8)
def symmetry_permutations(cell: int) -> Integers:
    """Where every space-group operation of the supercell takes each site, shape (6 cell^2, 2 cell^2)."""
    positions = thirds(cell)
    number = np.full((3 * cell, 3 * cell), -1)
    number[positions[:, 0], positions[:, 1]] = np.arange(len(positions))
    turned = np.einsum("gij,sj->gsi", point_group(), positions)
    images = (turned[:, None] + 3 * _cells(cell)[:, None]) % (3 * cell)  # (6, cell^2, sites, 2)
    permutations: Integers = number[images[..., 0], images[..., 1]].reshape(-1, len(positions))
    return permutations


def canonical_keys(cell: int, sites: Integers, kinds: Integers) -> Integers:
    """One integer per structure, shape (S,): equal exactly where symmetry turns one into the other.

    ``sites`` and ``kinds`` have shape (S, d), d at most 3 for the key to fit 64 bits up to cells of 100.
    """
    base = len(DEFECTS) * 2 * cell**2
    images = symmetry_permutations(cell)[:, sites] * len(DEFECTS) + kinds  # (operations, S, d)
    ordered = np.sort(images, axis=2)
    keys = np.zeros(ordered.shape[:2], dtype=np.int64)
    for place in range(ordered.shape[2]):
        keys = keys * base + ordered[:, :, place]
    smallest: Integers = keys.min(axis=0)
    return smallest


def _distinct(cell: int, sites: Integers, kinds: Integers) -> Integers:
    """The first of every set of equivalent structures, in the order given."""
    _, first = np.unique(canonical_keys(cell, sites, kinds), return_index=True)
    return sites[np.sort(first)]


def _kinds(labels: tuple[str, ...], count: int) -> Integers:
    return np.tile(np.array([KINDS[label] for label in labels], dtype=np.int64), (count, 1))


def _sublattice(label: str, cell: int) -> Integers:
    return np.arange(cell**2) + DEFECTS[KINDS[label]].sublattice * cell**2


def every_placement(cell: int, labels: tuple[str, ...]) -> Integers:
    """Sites of all inequivalent structures with these one or two defects, shape (S, 1) or (S, 2).

    The first defect stays in the first unit cell: translations take every structure to one of these.
    """
    first = _sublattice(labels[0], cell)[:1]
    if len(labels) == 1:
        return first[:, None]
    second = _sublattice(labels[1], cell)
    second = second[second != first[0]]
    sites = np.stack([np.broadcast_to(first, second.shape), second], axis=1)
    return _distinct(cell, sites, _kinds(labels, len(sites)))


def sampled_placements(cell: int, labels: tuple[str, ...], count: int, seed: int) -> Integers:
    """Sites of up to ``count`` inequivalent structures with these defects, drawn at random, shape (S, d).

    The first defect stays in the first unit cell, the others are drawn uniformly. Small cells may hold fewer.
    """
    rng = np.random.default_rng([seed, cell, *(KINDS[label] for label in labels)])
    draws = np.stack([rng.choice(_sublattice(label, cell), size=8 * count) for label in labels], axis=1)
    draws[:, 0] = _sublattice(labels[0], cell)[0]
    ordered = np.sort(draws, axis=1)
    apart = np.all(ordered[:, 1:] != ordered[:, :-1], axis=1)
    return _distinct(cell, draws[apart], _kinds(labels, int(apart.sum())))[:count]
