"""Find the integer matrices by which one plane lattice is a supercell of another, in any orientation."""

from __future__ import annotations

import numpy as np

from defectdb.ingest.records import Floats, Integers

STRAIN = 5e-3  # relative, by which lengths of equal lattices may differ
_MOST = 64  # cells along one axis


def plane_matrices(basis: Floats, target: Floats, strain: float = STRAIN) -> list[Integers]:
    """Integer matrices N (2, 2) that make ``basis`` congruent with ``target``, the best fit first.

    Both are rows of plane vectors (2, 2) [angstrom]; rotated and mirrored lattices count as equal. Of
    equally good fits diagonal positive matrices come first. Empty where none fits.
    """
    wanted = target @ target.T
    first = _vectors(basis, float(np.sqrt(wanted[0, 0])), strain)
    second = _vectors(basis, float(np.sqrt(wanted[1, 1])), strain)
    if not len(first) or not len(second):
        return []
    products = (first @ basis) @ (second @ basis).T
    scale = float(np.sqrt(wanted[0, 0] * wanted[1, 1]))
    i, j = np.nonzero(np.abs(products - wanted[0, 1]) <= 2 * strain * scale)
    matrices = np.stack([first[i], second[j]], axis=1)
    metrics = (matrices @ basis) @ (matrices @ basis).transpose(0, 2, 1)
    misfit = np.round(np.abs(metrics - wanted).max(axis=(1, 2)) / scale, 5)
    keep = misfit <= misfit.min(initial=np.inf) + 1e-3
    plain = np.array(
        [m[0, 1] == 0 and m[1, 0] == 0 and m[0, 0] > 0 and m[1, 1] > 0 for m in matrices], dtype=bool
    )
    order = sorted(np.flatnonzero(keep), key=lambda k: (misfit[k], not plain[k], -int(np.trace(matrices[k]))))
    return [matrices[k] for k in order]


def _vectors(basis: Floats, length: float, strain: float) -> Integers:
    """Lattice vectors of the given length, as integer rows (n, 2)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(basis), axis=0)
    spans = [min(int(np.ceil(length * (1 + strain) / h)), _MOST) for h in heights]
    axes = [np.arange(-n, n + 1) for n in spans]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    lengths = np.linalg.norm(steps @ basis, axis=1)
    return np.asarray(steps[np.abs(lengths - length) <= strain * length])


def cells_within(matrix: Integers) -> Floats:
    """Unit-cell origins inside the supercell ``matrix`` (2, 2), as unit-cell coordinates (n, 2), a before
    b."""
    corners = np.array([[0, 0], matrix[0], matrix[1], matrix[0] + matrix[1]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes = [np.arange(low[k], high[k] + 1) for k in (0, 1)]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    frac = steps @ np.linalg.inv(matrix)
    inside = ((frac > -1e-9) & (frac < 1 - 1e-9)).all(axis=1)
    return np.asarray(steps[inside], dtype=np.float64)
