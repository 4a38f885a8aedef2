"""Single structure files (CIF, POSCAR) and folders of them to entries without numbers."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from defectdb.ingest.cif import MAX_ATOMS, Atoms, StructureFileError, atomic_number, parse_cif
from defectdb.ingest.containers import MAX_STRUCTURE_BYTES, read_bounded, reading
from defectdb.ingest.entries import Entry
from defectdb.ingest.records import Reject

SUFFIXES = frozenset({".cif", ".vasp", ".poscar", ".contcar"})
_POSCAR_NAMES = ("POSCAR", "CONTCAR")


def is_structure_file(path: Path) -> bool:
    """Whether the name is one of a CIF or POSCAR file, plain or gzipped."""
    plain = _plain(path)
    return plain.suffix.lower() in SUFFIXES or plain.name.startswith(_POSCAR_NAMES)


def _plain(path: Path) -> Path:
    """The path without .gz."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def structure_files(path: Path) -> list[Path]:
    """The file itself, or the structure files directly in a folder, sorted. Raises InputDataError."""
    with reading(str(path)):
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.is_file() and is_structure_file(file))
    return [path]


def structure_id(path: Path) -> str:
    """The file's name without its suffix; a bare POSCAR goes by its folder's name."""
    plain = _plain(path)
    if plain.suffix.lower() in SUFFIXES:
        return plain.stem
    return path.resolve().parent.name if plain.name in _POSCAR_NAMES else plain.name


def read(paths: list[Path]) -> Iterator[Entry | Reject]:
    """Structure files and those directly in folders. Raises InputDataError for a file that cannot be read."""
    for file in [file for path in paths for file in structure_files(path)]:
        data = contents(file)
        try:
            atoms = parse(file, data)
        except StructureFileError as cause:
            yield Reject(str(file), None, "broken structure file", str(cause), structure_id(file))
            continue
        path = str(file.parent.resolve() / file.name)
        yield Entry(structure_id(file), path, atoms, hashlib.sha256(data).hexdigest())


def parse(path: Path, data: bytes) -> Atoms:
    """The atoms in a file's unpacked bytes, by the file's name. Raises StructureFileError."""
    return parse_cif(data) if _plain(path).suffix.lower() == ".cif" else parse_poscar(data)


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz. Raises InputDataError, for too many, too."""
    with reading(str(path)), path.open("rb") as packed:
        size = path.stat().st_size
        stream = gzip.GzipFile(fileobj=packed) if path.suffix.lower() == ".gz" else packed
        return read_bounded(cast(IO[bytes], stream), MAX_STRUCTURE_BYTES, str(path), path.name, size)


def parse_poscar(data: bytes) -> Atoms:
    """The atoms of a VASP 5 POSCAR or CONTCAR. Raises StructureFileError."""
    try:
        lines = data.decode("utf-8").splitlines()
        return _poscar(lines)
    except (ValueError, IndexError, OverflowError) as cause:
        if isinstance(cause, StructureFileError):
            raise
        raise StructureFileError(f"no POSCAR: {cause}") from cause


def _poscar(lines: list[str]) -> Atoms:
    """Comment, scale, lattice vectors, elements, counts, [Selective dynamics], Direct or Cartesian, atoms."""
    scale = [float(word) for word in lines[1].split()[:3]]
    lattice = np.array([[float(word) for word in line.split()[:3]] for line in lines[2:5]])
    if lattice.shape != (3, 3) or not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) < 1e-6:
        raise StructureFileError("the lattice vectors span no volume")
    symbols = [word.split("_")[0].split("/")[0] for word in lines[5].split()]
    if not symbols or symbols[0].isdigit():
        raise StructureFileError("line 6 holds no element symbols (a VASP 4 file); add them")
    counts = [int(word) for word in lines[6].split()[: len(symbols)]]
    total = sum(counts)
    if len(counts) != len(symbols) or min(counts) < 0 or not 0 < total <= MAX_ATOMS:
        raise StructureFileError(f"line 7 must count 1 to {MAX_ATOMS} atoms, one number per element")
    at = 8 if lines[7].strip()[:1] in ("S", "s") else 7
    places = np.array([[float(word) for word in line.split()[:3]] for line in lines[at + 1 : at + 1 + total]])
    if places.shape != (total, 3) or not np.isfinite(places).all():
        raise StructureFileError(f"{total} atoms are counted, {len(places)} are listed")
    factor = np.array(scale) if len(scale) == 3 else np.full(3, _factor(scale[0], lattice))
    scaled = lattice * factor
    cartesian = lines[at].strip()[:1] in ("C", "c", "K", "k")
    frac = (places * factor) @ np.linalg.inv(scaled) if cartesian else places
    numbers = [atomic_number(s) for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    return Atoms(scaled, np.array(numbers, dtype=np.uint8), frac)


def _factor(scale: float, lattice: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """A negative scale is the cell's volume."""
    if scale == 0:
        raise StructureFileError("the scale on line 2 is zero")
    return scale if scale > 0 else float((-scale / abs(np.linalg.det(lattice))) ** (1 / 3))
