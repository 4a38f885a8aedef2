"""Structure files of placements for the next calculation: POSCAR and CIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defectdb.db.read import known
from defectdb.errors import InputDataError
from defectdb.expressions.arrays import Floats
from defectdb.query.output_file import write_whole
from defectdb.query.placements.supercells import Supercell
from defectdb.schema.labels import stored_defect

FORMATS = ("poscar", "cif")


def write_structures(
    cell: Supercell, labels: Sequence[str], placements: Sequence[Sequence[int]], folder: Path, style: str
) -> list[Path]:
    """One file per placement of the same defects; as ``write_each``."""
    return write_each(cell, [(labels, sites) for sites in placements], folder, style)


def write_each(
    cell: Supercell, placed: Sequence[tuple[Sequence[str], Sequence[int]]], folder: Path, style: str
) -> list[Path]:
    """One file per placement (labels and sites), ``placement-00001.vasp`` or ``.cif``; their paths.

    Raises UnknownNameError for an unknown format, InputDataError where a file cannot be written.
    """
    known("structure format", style, FORMATS)
    suffix, text = {"poscar": ("vasp", _poscar), "cif": ("cif", _cif)}[style]
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (labels, sites) in enumerate(placed, 1):
            path = folder / f"placement-{number:05}.{suffix}"
            name = "-".join(labels) + " on sites " + " ".join(map(str, sites))
            write_whole(path, text(cell, *occupied(cell, labels, sites), name))
            paths.append(path)
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause.strerror or cause}", path=str(folder)) from cause
    return paths


def occupied(cell: Supercell, labels: Sequence[str], sites: Sequence[int]) -> tuple[list[str], Floats]:
    """Elements and fractional coordinates [atom, 3] with the defects in place, grouped by element."""
    elements: list[str | None] = list(cell.elements)
    for label, site in zip(labels, sites, strict=True):
        elements[site] = stored_defect(label).element_to
    atoms = sorted((i for i, element in enumerate(elements) if element), key=lambda i: (elements[i], i))
    return [str(elements[i]) for i in atoms], cell.frac[atoms]


def _poscar(cell: Supercell, elements: Sequence[str], frac: Floats, name: str) -> str:
    kinds = list(dict.fromkeys(elements))
    lines = [name, "1.0", *(_row(vector) for vector in cell.lattice)]
    lines += [" ".join(kinds), " ".join(str(elements.count(kind)) for kind in kinds), "Direct"]
    return "\n".join([*lines, *(_row(place) for place in frac), ""])


def _cif(cell: Supercell, elements: Sequence[str], frac: Floats, name: str) -> str:
    lengths = np.linalg.norm(cell.lattice, axis=1)
    cosines = [
        float(cell.lattice[i] @ cell.lattice[j] / lengths[i] / lengths[j])
        for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    angles = np.degrees(np.arccos(cosines))
    lines = [
        f"# {name}",
        "data_placement",
        "_symmetry_space_group_name_H-M 'P 1'",
        "_symmetry_Int_Tables_number 1",
    ]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", "'x, y, z'"]
    lines += [f"_cell_length_{v} {length:.10f}" for v, length in zip("abc", lengths, strict=True)]
    lines += [
        f"_cell_angle_{v} {angle:.10f}" for v, angle in zip(("alpha", "beta", "gamma"), angles, strict=True)
    ]
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{x}" for x in "xyz"] + ["_atom_site_occupancy"]
    lines += [
        f"{element}{number} {element} {_row(place)} 1"
        for number, (element, place) in enumerate(zip(elements, frac, strict=True))
    ]
    return "\n".join([*lines, ""])


def _row(vector: Floats) -> str:
    return " ".join(f"{value:.12f}" for value in vector)
