"""Read what formation energies need: unit cells, and a TOML of pristine energies and chemical potentials."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import reading
from defectdb.ingest.readers.cif import StructureFileError
from defectdb.ingest.readers.cif_lines import CifReader
from defectdb.ingest.readers.entries import References
from defectdb.ingest.readers.structures import contents, parse, structure_id
from defectdb.ingest.records import Pristine, UnitCell
from defectdb.schema.labels import ELEMENTS

_SHAPE = (
    'write functional = "PBE" (if known), [potentials] with ELEMENT = eV, and [[pristine]] with material = NAME, '
    'supercell = "8x8x1", energy = eV and, if known, e1, e_vbm, fermi'
)
_LEVELS = ("energy", "e1", "e_vbm", "fermi")


def read_references(unit_cells: list[Path], reference: Path | None) -> References:
    """Unit cells named by their files, and the energies of the TOML file. Raises InputDataError."""
    cells = [_unit_cell(path) for path in unit_cells]
    data = {} if reference is None else _toml(reference)
    where = str(reference)
    potentials = data.get("potentials", {})
    pristine = data.get("pristine", [])
    functional = data.get("functional")
    if (
        not isinstance(potentials, dict)
        or not isinstance(pristine, list)
        or not (functional is None or (isinstance(functional, str) and functional.strip()))
        or set(data) - {"functional", "potentials", "pristine"}
    ):
        raise InputDataError(_SHAPE, path=where)
    unknown = [name for name in potentials if name not in ELEMENTS]
    if unknown or not all(_is_number(v) for v in potentials.values()):
        raise InputDataError(f"[potentials] must give a number [eV] per element; {_SHAPE}", path=where)
    return References(
        unit_cells={cell.base: cell for cell in cells},
        pristine=tuple(_pristine(entry, where) for entry in pristine),
        potentials={element: (float(mu), where) for element, mu in potentials.items()},
        functional=functional,
    )


def _toml(path: Path) -> dict[str, Any]:
    with reading(str(path)):
        text = path.read_bytes()
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise InputDataError(f"no TOML: {cause}", path=str(path)) from cause


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _pristine(entry: Any, where: str) -> Pristine:
    known = {"material", "supercell", *_LEVELS}
    if not isinstance(entry, dict) or set(entry) - known or not isinstance(entry.get("material"), str):
        raise InputDataError(_SHAPE, path=where)
    size = re.fullmatch(r"(\d{1,3})x(\d{1,3})(?:x(\d{1,3}))?", str(entry.get("supercell", "")))
    if size is None or not all(_is_number(entry[k]) for k in _LEVELS if k in entry):
        raise InputDataError(f"in [[pristine]] of {entry['material']}: {_SHAPE}", path=where)
    levels = [float(entry[k]) if k in entry else None for k in _LEVELS]
    return Pristine(entry["material"], (int(size[1]), int(size[2]), int(size[3] or 1)), *levels)


def _unit_cell(path: Path) -> UnitCell:
    data = contents(*os.path.split(path))
    try:
        atoms = parse(path.name, data, CifReader())
    except StructureFileError as cause:
        raise InputDataError(str(cause), path=str(path)) from cause
    return UnitCell(structure_id(*os.path.split(path)), atoms.lattice, atoms.numbers, atoms.frac)
