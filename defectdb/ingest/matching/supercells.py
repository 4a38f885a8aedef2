"""Build pristine supercells: a material repeated along its two plane vectors, or along any combination of them."""

from __future__ import annotations

import numpy as np

from defectdb.errors import InputDataError
from defectdb.ingest.matching.lattices import cells_within
from defectdb.ingest.records import Host, Integers, Material, Pristine

MAX_HOST_SITES = 20_000


def supercell(material: Material, pristine: Pristine, cell: Material | None = None) -> Host:
    """The pristine supercell of a diagonal size (see ``multiple``). Raises InputDataError for an impossible one."""
    n_a, n_b, n_c = pristine.size
    if n_c != 1:
        size = size_text(pristine.size)
        raise InputDataError(f"supercell {size} repeats the vacuum: c must be 1", member=pristine.base)
    return multiple(material, np.array([[n_a, 0], [0, n_b]]), pristine, cell)


def multiple(
    material: Material, matrix: Integers, pristine: Pristine | None = None, cell: Material | None = None
) -> Host:
    """The pristine supercell whose plane vectors are ``matrix`` (2, 2) times those of the unit cell.

    ``cell`` is the same crystal in a cell of other vacuum or origin (see ``layer_in``), by default the material's.
    Site order is sublattice, then the a index, then the b index. Raises InputDataError for an impossible one.
    """
    count = abs(round(float(np.linalg.det(matrix))))
    text = matrix_text(matrix)
    if count < 1 or count * len(material.numbers) > MAX_HOST_SITES:
        raise InputDataError(f"supercell {text} has no or too many sites", member=material.material_id)
    full = np.eye(3)
    full[:2, :2] = matrix
    shifts = np.column_stack([cells_within(matrix), np.zeros(count)])
    cell = cell or material
    frac = ((cell.frac[:, None, :] + shifts[None, :, :]).reshape(-1, 3)) @ np.linalg.inv(full)
    frac[:, :2] = np.round(frac[:, :2], 12) % 1.0
    known = pristine or Pristine(material.material_id, (0, 0, 0))
    return Host(
        host_id=f"{material.material_id}-{text}",
        material=material,
        supercell=text,
        lattice=full @ cell.lattice,
        numbers=np.repeat(material.numbers, count),
        frac=frac,
        sublattice=np.repeat(np.arange(len(material.numbers)), count),
        energy=known.energy,
        e1=known.e1,
        e_vbm=known.e_vbm,
        fermi=known.fermi,
    )


def matrix_text(matrix: Integers) -> str:
    """``8x8x1`` for a diagonal supercell, ``(4,1)(-1,3)x1`` for another."""
    (a, b), (c, d) = matrix.tolist()
    if b == 0 and c == 0 and a > 0 and d > 0:
        return f"{a}x{d}x1"
    return f"({a},{b})({c},{d})x1"


def size_text(size: tuple[int, int, int]) -> str:
    """``8x8x1``."""
    return "x".join(str(n) for n in size)
