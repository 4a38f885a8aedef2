"""Read single structure files (CIF, POSCAR) and folders of them."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, cast

import numpy as np

from defectdb.ingest.archives.containers import MAX_STRUCTURE_BYTES, check_growth, read_bounded, reading
from defectdb.ingest.readers.cif import MAX_ATOMS, Atoms, StructureFileError, atomic_number, decoded
from defectdb.ingest.readers.cif_lines import CifReader
from defectdb.ingest.readers.entries import Entry
from defectdb.ingest.recognise import (
    POSCAR_NAMES,
    RUN_FILES,
    STRUCTURE_SUFFIXES,
    files_below,
    format_of_name,
    unpacked_name,
)
from defectdb.ingest.records import Reject


def structure_files(path: Path, *, runs: bool) -> list[tuple[str, str]]:
    """Folder and name of the file itself, or of every structure file in and below a folder.

    Those beside the output of a VASP run belong to the run and count with ``runs`` alone. Raises
    InputDataError.
    """
    if not path.is_dir():
        return [os.path.split(path)]
    return [
        (folder, name)
        for folder, names in files_below(path)
        if runs or not any(output in names for output in RUN_FILES)
        for name in names
        if format_of_name(name) == "structure"
    ]


def structure_id(folder: str, name: str) -> str:
    """The file's name without its suffix; a bare POSCAR goes by its folder's name."""
    plain = unpacked_name(name)
    if plain.lower().endswith(STRUCTURE_SUFFIXES):
        return plain[: plain.rindex(".")]
    return Path(folder).resolve().name if plain in POSCAR_NAMES else plain


def read(paths: list[Path], *, runs: bool = True) -> Iterator[Entry | Reject]:
    """Structure files and those in and below folders; ``runs``: also those beside the output of a VASP run.

    Raises InputDataError for one that cannot be read.
    """
    reader = CifReader()
    for folder, names in _by_folder(file for path in paths for file in structure_files(path, runs=runs)):
        resolved = str(Path(folder).resolve())
        for name in names:
            data = contents(folder, name)
            own = structure_id(folder, name)
            try:
                atoms = parse(name, data, reader)
            except StructureFileError as cause:
                yield Reject(_joined(folder, name), None, "broken structure file", str(cause), own)
                continue
            yield Entry(own, f"{resolved}/{name}", atoms, hashlib.sha256(data).hexdigest())


def parse(name: str, data: bytes, reader: CifReader) -> Atoms:
    """The atoms in a file's unpacked bytes, by the file's name. Raises StructureFileError."""
    packed = name[len(unpacked_name(name)) :].lower()
    if packed not in ("", ".gz"):
        raise StructureFileError(
            f"is packed as {packed}; only gzip is unpacked: unpack it, or pack it with gzip"
        )
    return reader.parse(data) if name.lower().removesuffix(".gz").endswith(".cif") else parse_poscar(data)


def _by_folder(files: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Names of consecutive files in one folder."""
    for folder, group in groupby(files, itemgetter(0)):
        yield folder, [name for _, name in group]


def _joined(folder: str, name: str) -> str:
    """A file's path as it was given: thousands of them are too many for pathlib."""
    return os.path.join(folder, name)  # noqa: PTH118


def contents(folder: str, name: str) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz. Raises InputDataError, for too many, too."""
    path = _joined(folder, name)
    with reading(path), open(path, "rb") as packed:  # noqa: PTH123  (thousands of small files)
        if not name.lower().endswith(".gz"):
            data = packed.read(MAX_STRUCTURE_BYTES + 1)
            check_growth(len(data), len(data), MAX_STRUCTURE_BYTES, path, name)
            return data
        size = os.fstat(packed.fileno()).st_size
        return read_bounded(
            cast(IO[bytes], gzip.GzipFile(fileobj=packed)), MAX_STRUCTURE_BYTES, path, name, size
        )


def parse_poscar(data: bytes) -> Atoms:
    """The atoms of a VASP 5 POSCAR or CONTCAR. Raises StructureFileError."""
    try:
        lines = decoded(data).splitlines()
        return _poscar(lines)
    except IndexError as cause:
        raise StructureFileError("no POSCAR: it ends early") from cause
    except (ValueError, OverflowError) as cause:
        if isinstance(cause, StructureFileError):
            raise
        raise StructureFileError(f"no POSCAR: {cause}") from cause


def _poscar(lines: list[str]) -> Atoms:
    """Comment, scale, lattice vectors, elements, counts, [Selective dynamics], Direct or Cartesian, atoms."""
    if len(lines) < 8:
        raise StructureFileError(f"no POSCAR: it breaks off after line {len(lines)}")
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
