"""Measure by how much a cell is strained against a supercell of its crystal."""

from __future__ import annotations

import numpy as np

from defectdb.ingest.matching.lattices import plane_matrices
from defectdb.ingest.matching.supercells import matrix_text
from defectdb.ingest.records import Floats, Host, Material

NOTED = 1e-3  # relative change of length from which it is noted
MOST_MISSING = 0.1  # atoms by which a structure with defects differs from its host, as a share of the sites
LOOSE = 0.08  # relative change of length within which a cell that fits nothing is still recognised


def plane_strain(own: Floats, host: Floats) -> float:
    """The largest relative change of length, with its sign, that takes the plane lattice ``host`` to ``own`` (2, 2)."""
    ratios = np.sqrt(np.linalg.eigvals(np.linalg.solve(host @ host.T, own @ own.T)).real) - 1
    return float(ratios[np.abs(ratios).argmax()])


def host_strain(host: Host, plane: Floats) -> float | None:
    """Strain of a cell's plane vectors (2, 2) against the host, whatever lattice vectors it is written in.

    None where the cell is no setting of the host.
    """
    target = host.lattice[:2, :2]
    matrices = plane_matrices(plane, target)
    return plane_strain(matrices[0] @ plane, target) if matrices else None


def nearest_supercell(plane: Floats, n_atoms: int, materials: list[Material]) -> str | None:
    """How the cell differs from the supercell that it most likely is: ``2.0 % larger than that of BN 5x5x1``.

    Of the supercells within LOOSE, those that are plain multiples come first, then those of the most similar number of
    sites. None where there is none.
    """
    found = []
    for material in materials:
        basis = material.lattice[:2, :2]
        repeats = np.round(np.linalg.norm(plane, axis=1) / np.linalg.norm(basis, axis=1)).astype(np.int64)
        for matrix in [np.diag(np.maximum(repeats, 1)), *plane_matrices(basis, plane, LOOSE)]:
            sites = abs(round(float(np.linalg.det(matrix)))) * len(material.numbers)
            strain = plane_strain(plane, matrix @ basis)
            plain = matrix[0, 1] == 0 and matrix[1, 0] == 0 and (matrix > 0).trace() == 2
            if abs(strain) <= LOOSE and abs(sites - n_atoms) <= 2 + MOST_MISSING * sites:
                text = f"{material.material_id} {matrix_text(matrix)}"
                found.append((not plain, abs(sites - n_atoms), abs(strain), strain, text))
    if not found:
        return None
    *_, strain, text = min(found)
    return f"{100 * abs(strain):.1f} % {'larger' if strain > 0 else 'smaller'} than that of {text}"
