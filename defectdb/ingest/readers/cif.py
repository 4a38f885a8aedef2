"""Read the atoms of a CIF as arrays, with gemmi."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np

from defectdb.ingest.records import Floats, Geometries, Numbers
from defectdb.schema.labels import ELEMENTS

NUMBERS = {symbol: index + 1 for index, symbol in enumerate(ELEMENTS)}
_COLUMNS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_CELL = ("_cell_length_a", "_cell_length_b", "_cell_length_c",
         "_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")  # fmt: skip
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_IDENTITY = {"x,y,z", "+x,+y,+z"}
MAX_ATOMS = 20_000


class StructureFileError(ValueError):
    """A structure file that is none; the caller turns it into a reject that names the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Atoms:
    """One structure: lattice rows [angstrom], atomic numbers (n,), fractional coordinates (n, 3)."""

    lattice: Floats
    numbers: Numbers
    frac: Floats


def parse_cif(text: bytes) -> Atoms:
    """The atoms of a CIF with one structure, symmetry operations applied. Raises StructureFileError."""
    block = atom_block(text)
    return _expanded(block) if symmetric(block) else listed(block)


def atom_block(text: bytes) -> gemmi.cif.Block:
    """The one block with atom sites. Raises StructureFileError."""
    try:
        document = gemmi.cif.read_string(decoded(text))
    except (ValueError, RuntimeError) as cause:  # gemmi reports syntax errors as ValueError or RuntimeError
        raise StructureFileError(f"no CIF: {cause}") from cause
    blocks = [block for block in document if block.find_loop(_COLUMNS[0]).get_loop()]
    if len(blocks) != 1:
        raise StructureFileError(f"{len(blocks)} blocks with atom sites; one structure per file is read")
    return blocks[0]


def decoded(data: bytes) -> str:
    """The text of a structure file: UTF-8, or Latin-1 where it is none (comments alone hold such bytes)."""
    plain = data.removeprefix(BOM_UTF8)
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        return plain.decode("latin-1")


def symmetric(block: gemmi.cif.Block) -> bool:
    """Whether the block lists symmetry operations besides the identity."""
    return any({_tight(op) for op in block.find_loop(tag)} - _IDENTITY for tag in _OPERATIONS)


def _tight(operation: str) -> str:
    return str(gemmi.cif.as_string(operation)).replace(" ", "").lower()


@lru_cache(maxsize=1024)
def _lattice(texts: tuple[str | None, ...]) -> Floats:
    """The lattice of a cell's six numbers as written: an archive's structures share it."""
    values = [gemmi.cif.as_number(text or "?") for text in texts]
    if not np.isfinite(values).all() or min(values) <= 0:
        raise StructureFileError("a cell length or angle is missing or not a positive number")
    return lattice_of(np.array(values))


def lattice_of(parameters: Floats) -> Floats:
    """Lattice rows from a, b, c [angstrom] and angles [degrees]: a along x, b in the xy plane.

    Raises StructureFileError where the angles span no volume.
    """
    a, b, c = (float(v) for v in parameters[:3])
    alpha, beta, gamma = np.radians(parameters[3:])
    cos_a, cos_b, cos_g = (0.0 if abs(np.cos(t)) < 1e-15 else float(np.cos(t)) for t in (alpha, beta, gamma))
    sin_g = float(np.sin(gamma))
    if sin_g < 1e-3:
        raise StructureFileError("the cell angles span no volume")
    cy = (cos_a - cos_b * cos_g) / sin_g
    square = 1 - cos_b**2 - cy**2
    if square < 1e-6:
        raise StructureFileError("the cell angles span no volume")
    return np.array([[a, 0, 0], [b * cos_g, b * sin_g, 0], [c * cos_b, c * cy, c * float(np.sqrt(square))]])


def listed(block: gemmi.cif.Block) -> Atoms:
    """The atoms as the loop lists them. Raises StructureFileError."""
    lattice = _lattice(tuple(block.find_value(tag) for tag in _CELL))
    loop = block.find_loop(_COLUMNS[0]).get_loop()
    values, width, tags = loop.values, loop.width(), [tag.lower() for tag in loop.tags]
    if loop.length() > MAX_ATOMS:
        raise StructureFileError(f"{loop.length()} atoms; at most {MAX_ATOMS} are read")
    try:
        frac = (
            _numbers([text for tag in _COLUMNS for text in values[tags.index(tag) :: width]]).reshape(3, -1).T
        )
    except ValueError as cause:
        raise StructureFileError("a fractional coordinate is missing or no number") from cause
    if not np.isfinite(frac).all():
        raise StructureFileError("a fractional coordinate is missing or no number")
    symbol = next((t for t in ("_atom_site_type_symbol", "_atom_site_label") if t in tags), None)
    if symbol is None:
        raise StructureFileError("no column _atom_site_type_symbol")
    symbols = values[tags.index(symbol) :: width]
    known = {text: atomic_number(text) for text in set(symbols)}
    atoms = Atoms(lattice, np.array([known[text] for text in symbols], dtype=np.uint8), frac)
    if "_atom_site_occupancy" not in tags:
        return atoms
    return _occupied(atoms, values[tags.index("_atom_site_occupancy") :: width])


class _Floats(dict[str, float]):
    """Texts already read as numbers: the sites of a supercell share a few hundred coordinates."""

    def __missing__(self, text: str) -> float:
        value = float(text)
        if len(self) < 100_000:
            self[text] = value
        return value


_FLOATS = _Floats()


def _numbers(texts: list[str]) -> Floats:
    try:
        return np.fromiter(map(_FLOATS.__getitem__, texts), np.float64, len(texts))
    except ValueError:  # standard uncertainties: 0.3333(2)
        return np.array([gemmi.cif.as_number(text) for text in texts])


def _occupied(atoms: Atoms, texts: list[str]) -> Atoms:
    """The atoms of occupancy 1, without sites of occupancy 0. Raises StructureFileError for any between."""
    shares = {text: gemmi.cif.as_number(text) for text in set(texts) - {"1", "1.0", "?", "."}}
    if any(abs(share - 1) > 1e-6 and share != 0 for share in shares.values()):
        raise StructureFileError("a site is partially occupied; ordered structures only")
    if all(shares.values()):
        return atoms
    keep = np.array([shares.get(text, 1.0) != 0 for text in texts])
    if not keep.any():
        raise StructureFileError("all sites have occupancy 0")
    return Atoms(atoms.lattice, atoms.numbers[keep], atoms.frac[keep])


def atomic_number(text: str) -> int:
    """Atomic number of ``Mo``, ``Mo4+`` or ``Mo12``. Raises StructureFileError."""
    letters = text.strip("'\" ").rstrip("0123456789+-*'")
    number = NUMBERS.get(letters) or NUMBERS.get(letters.capitalize())
    if number is None:
        raise StructureFileError(f"{text[:20]!r} is no element")
    return number


def _expanded(block: gemmi.cif.Block) -> Atoms:
    """The atoms with the symmetry operations of the block applied."""
    lattice = _lattice(tuple(block.find_value(tag) for tag in _CELL))
    try:
        small = gemmi.make_small_structure_from_block(block)
        sites = small.get_all_unit_cell_sites()
    except (ValueError, RuntimeError, IndexError) as cause:
        raise StructureFileError(f"symmetry operations cannot be applied: {cause}") from cause
    if not 0 < len(sites) <= MAX_ATOMS:
        raise StructureFileError(f"{len(sites)} atoms; 1 to {MAX_ATOMS} are read")
    if any(abs(site.occ - 1) > 1e-6 and site.occ != 0 for site in sites):
        raise StructureFileError("a site is partially occupied; ordered structures only")
    occupied = [site for site in sites if site.occ != 0]
    if not occupied:
        raise StructureFileError("all sites have occupancy 0")
    frac = np.array([[site.fract.x, site.fract.y, site.fract.z] for site in occupied])
    if not np.isfinite(frac).all():
        raise StructureFileError("a fractional coordinate is missing or no number")
    return Atoms(
        lattice, np.array([atomic_number(site.element.name) for site in occupied], dtype=np.uint8), frac
    )


def pack(ids: list[str], paths: list[str], atoms: list[Atoms], digests: list[str]) -> Geometries:
    """Structures as one set of flat arrays."""
    counts = np.array([len(a.numbers) for a in atoms], dtype=np.int64)
    return Geometries(
        ids=ids,
        paths=paths,
        lattice=np.array([a.lattice for a in atoms]).reshape(-1, 3, 3),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        numbers=np.concatenate([a.numbers for a in atoms] or [np.zeros(0, dtype=np.uint8)]),
        frac=np.concatenate([a.frac for a in atoms] or [np.zeros((0, 3))]),
        digests=digests,
    )
