"""Build the material of a unit cell: standard orientation, layers, zigzag direction, formula."""

from __future__ import annotations

import numpy as np

from defectdb.errors import InputDataError
from defectdb.ingest.matching.closeness import overlapping
from defectdb.ingest.readers.cif import Atoms, lattice_of
from defectdb.ingest.records import Floats, Material, UnitCell
from defectdb.schema.labels import ELEMENTS

LAYER_TOLERANCE = 0.05  # angstrom between sites of one atomic layer
LEAST_VACUUM = 5.0  # angstrom; layers of bulk crystals are about 3 apart
ANGLE_TOLERANCE = 0.05  # degrees by which published cells miss 60, 90 or 120


def material_of(cell: UnitCell, material_id: str | None = None) -> Material:
    """The material of a unit cell: standard orientation (a along x), the layer clear of the cell's border.

    Raises InputDataError where a and b are not perpendicular to c, two atoms are in one place, or there is no vacuum.
    """
    parameters = cell_parameters(cell.lattice)
    if not len(cell.numbers):
        raise InputDataError("the unit cell holds no atoms", member=cell.base)
    if (what := overlapping(Atoms(cell.lattice, cell.numbers, cell.frac))) is not None:
        raise InputDataError(f"two atoms in one place: {what}", member=cell.base)
    if np.abs(parameters[3:5] - 90).max() > 1:
        raise InputDataError("c must be perpendicular to a and b: the crystal is periodic in the plane",
                             member=cell.base)  # fmt: skip
    lattice = lattice_of(parameters)
    gap = vacuum(cell.frac[:, 2], float(parameters[2]))
    if gap < LEAST_VACUUM:
        raise InputDataError(
            f"is no layer: its atoms leave {gap:.1f} angstrom of vacuum along c, and a layer needs {LEAST_VACUUM:g}; "
            "bulk crystals are not read yet", member=cell.base,
        )  # fmt: skip
    frac = cell.frac % 1.0
    frac[:, 2] = lifted(frac[:, 2])
    zigzag, period = _zigzag(lattice)
    return Material(
        material_id=material_id or cell.base,
        lattice=lattice,
        numbers=cell.numbers,
        frac=frac,
        layers=layers(frac[:, 2] * lattice[2, 2]),
        zigzag=zigzag,
        angle_period=period,
    )


def cell_parameters(lattice: Floats) -> Floats:
    """a, b, c [angstrom], alpha, beta, gamma [degrees] of lattice rows."""
    lengths = np.linalg.norm(lattice, axis=1)
    cosines = [lattice[i] @ lattice[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))])


def vacuum(heights: Floats, height: float) -> float:
    """The widest gap between atoms along c [angstrom], from fractional heights and the cell's height."""
    order = np.sort(heights % 1.0)
    return float(np.diff(np.append(order, order[0] + 1)).max()) * height


def lifted(heights: Floats) -> Floats:
    """Fractional heights in [0, 1), shifted only where the layer crosses the border, so that it does not."""
    order = np.sort(heights % 1.0)
    gaps = np.diff(np.append(order, order[0] + 1))
    widest = int(np.argmax(gaps))
    if widest == len(order) - 1:
        return np.asarray(heights % 1.0)
    start = order[(widest + 1) % len(order)]
    return np.asarray((heights - start + gaps[widest] / 2) % 1.0)


def layers(heights: Floats) -> tuple[str, ...]:
    """top, middle or bottom for every height [angstrom]; a flat crystal is all middle."""
    low, high = heights.min(), heights.max()
    if high - low < LAYER_TOLERANCE:
        return ("middle",) * len(heights)
    return tuple(
        "top" if high - z < LAYER_TOLERANCE else "bottom" if z - low < LAYER_TOLERANCE else "middle"
        for z in heights
    )


def _zigzag(lattice: Floats) -> tuple[tuple[float, float], float]:
    """Direction of the zigzag chains and the period of angles to it [degrees].

    Hexagonal: along a lattice vector, 60 degrees. Otherwise along the shorter of a and b (the zigzag chains
    of black phosphorus run along its short axis), 180 degrees.
    """
    a, b, _, _, _, gamma = cell_parameters(lattice)
    hexagonal = abs(a - b) < 1e-3 * a and min(abs(gamma - 60), abs(gamma - 120)) < ANGLE_TOLERANCE
    vector = lattice[0, :2] if a <= b else lattice[1, :2]
    unit = vector / np.linalg.norm(vector)
    return (float(unit[0]), float(unit[1])), 60.0 if hexagonal else 180.0


def standard(lattice: Floats) -> Floats | None:
    """The lattice with a along x and b in the xy plane; None where c is not perpendicular to the plane."""
    parameters = cell_parameters(lattice)
    if np.abs(parameters[3:5] - 90).max() > 1:
        return None
    return lattice_of(parameters)


def formula_of(material: Material) -> str:
    """Reduced formula in the order of the unit cell: ``MoS2``, ``BN``, ``P``."""
    numbers, first, counts = np.unique(material.numbers, return_index=True, return_counts=True)
    divisor = int(np.gcd.reduce(counts))
    parts = []
    for index in np.argsort(first):
        share = int(counts[index]) // divisor
        parts.append(ELEMENTS[int(numbers[index]) - 1] + (str(share) if share > 1 else ""))
    return "".join(parts)
