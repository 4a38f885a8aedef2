"""Nearest periodic images in the plane of a layer."""

from __future__ import annotations

import numpy as np

from defectdb.expressions.arrays import Floats

SAME_SQUARE = 1e-6  # square angstrom by which the squares of equally near images may differ
TIED = 1e-12  # share of a square length by which vectors may differ and count as equally long
_BLOCK = 100_000  # vectors whose images are held in memory together


def reduced(basis: Floats) -> Floats:
    """The shortest basis [2, 2] of a plane lattice (Gauss reduction); rows are vectors, angstrom."""
    u, v = basis[0].copy(), basis[1].copy()
    while True:
        if v @ v < u @ u:
            u, v = v, u
        shorter = v - np.round((u @ v) / (u @ u)) * u
        # at 60 and 120 degrees rounding alone would go to and fro between two vectors of one length for ever
        if shorter @ shorter >= (1 - TIED) * (v @ v):
            return np.array([u, v])
        v = shorter


def nearest_image(basis: Floats, delta: Floats) -> Floats:
    """The shortest periodic image [vector, 2] of plane vectors [vector, 2]; of equal ones the first in a fixed order.

    ``basis`` [2, 2]: rows are the lattice's vectors. All in angstrom.
    """
    short = reduced(basis)
    inverse = np.linalg.inv(short)
    images = np.array([[i, j] for i in (0, 1, -1) for j in (0, 1, -1)]) @ short
    found = np.empty_like(delta)
    for start in range(0, len(delta), _BLOCK):
        block = delta[start : start + _BLOCK]
        base = block - np.round(block @ inverse) @ short
        candidates = base[:, None, :] + images[None, :, :]
        squares = (candidates**2).sum(axis=2)
        near = squares <= squares.min(axis=1, keepdims=True) + SAME_SQUARE
        found[start : start + _BLOCK] = candidates[np.arange(len(block)), near.argmax(axis=1)]
    return found
