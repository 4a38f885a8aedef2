"""Read configurations with energies and forces from (extended) xyz files, gzipped too, and from ASE databases."""

from __future__ import annotations

import gzip
import io
import math
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import MAX_TABLE_BYTES, reading
from defectdb.ingest.forces.configurations import Configuration
from defectdb.ingest.readers.ase import BROKEN, check_counts
from defectdb.ingest.recognise import is_sqlite

XYZ_GZ = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")
_COINCIDENT = 0.3  # angstrom
_CLOSED = 1e-3  # angstrom^3: a smaller cell is none
_FLATTEST = 0.3  # angstrom: neighbours of a flatter cell are countless
_LONGEST = 1e5  # angstrom: a longer cell vector is a slip


def is_xyz(path: Path) -> bool:
    """Whether a file's name is that of an (extended) xyz file, plain or gzipped."""
    return path.name.lower().endswith(XYZ_GZ)


def has_forces(path: Path) -> bool:
    """Whether the first frame of an (extended) xyz file has a column of forces."""
    with reading(str(path)):
        try:
            with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
                head = [stream.readline(100_000) for _ in range(2)]
        except (EOFError, zlib.error, gzip.BadGzipFile) as cause:
            raise InputDataError(f"is a damaged gzip file ({cause})", path=str(path)) from cause
    return b":forces:R:3" in head[1] or b":force:R:3" in head[1]


def read_configurations(path: Path) -> Iterator[Configuration]:
    """Every frame of an (extended) xyz file or every row of an ASE database.

    Raises InputDataError, naming the frame, for what is damaged, has no energy, is not finite, not periodic, or has two
    atoms in one place; and without the extra ``ase``.
    """
    try:
        import ase.db
        import ase.io
    except ImportError as cause:
        raise InputDataError(
            "xyz and ASE files need the extra: pip install 'defectdb[ase]'", path=str(path)
        ) from cause
    count = 0
    frames = _xyz(path, ase.io) if is_xyz(path) else _database(path, ase.db)
    while True:
        try:
            atoms, told = next(frames)
        except StopIteration:
            return
        except (*BROKEN, sqlite3.Error) as cause:
            raise InputDataError(f"damaged after {count} frames ({cause})", path=str(path)) from cause
        count += 1
        yield _configuration(str(path), count, atoms, told)


def _xyz(path: Path, io_of_ase: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    text = _text(path)
    check_counts(text, str(path))
    for atoms in io_of_ase.iread(io.StringIO(text.decode(errors="replace")), index=":", format="extxyz"):
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        arrays = {k: v for k, v in atoms.arrays.items() if k in ("forces", "force")}
        yield atoms, {**dict(atoms.info), **arrays, **results}


def _text(path: Path) -> bytes:
    """A file's bytes, unpacked. Raises InputDataError for what is damaged or too large."""
    with reading(str(path)):
        if path.suffix.lower() != ".gz":
            if path.stat().st_size > MAX_TABLE_BYTES:
                raise InputDataError(f"is larger than {MAX_TABLE_BYTES:,} bytes", path=str(path))
            return path.read_bytes()
        try:
            with gzip.open(path) as stream:
                data = stream.read(MAX_TABLE_BYTES + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as cause:
            raise InputDataError(
                f"is a damaged or truncated gzip file ({cause}); fetch it again", path=str(path)
            ) from cause
    if len(data) > MAX_TABLE_BYTES:
        raise InputDataError(f"unpacks to more than {MAX_TABLE_BYTES:,} bytes", path=str(path))
    return data


def _database(path: Path, db: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    with reading(str(path)):
        if not is_sqlite(path):
            raise InputDataError("is neither an xyz file nor an ASE database", path=str(path))
    with db.connect(str(path), type="db") as connection:
        for row in connection.select():
            told = dict(row.key_value_pairs)
            for key in ("energy", "forces", "stress"):
                if key in row:
                    told[key] = row[key]
            yield row.toatoms(), told


def _configuration(path: str, row: int, atoms: Any, told: dict[str, Any]) -> Configuration:
    def refuse(why: str) -> InputDataError:
        return InputDataError(why, path=path, member=f"frame {row}")

    n = len(atoms)
    cell, places = np.array(atoms.cell[:], dtype=np.float64), np.array(atoms.positions, dtype=np.float64)
    if not n:
        raise refuse("holds no atoms")
    if not (np.isfinite(cell).all() and np.isfinite(places).all()):
        raise refuse("a cell vector or a position is not finite")
    if not bool(np.all(atoms.pbc)):
        raise refuse(
            "is open along some direction; give a cell that is periodic along all three, with vacuum in it"
        )
    _check_cell(cell, refuse)
    energy = told.get("energy", told.get("free_energy"))
    if not isinstance(energy, int | float | np.number):
        raise refuse("has no energy; write energy=... (eV, of the cell) into its comment line")
    forces = _array(told.get("forces", told.get("force")), (n, 3))
    if forces is False:
        raise refuse(f"has forces of another length than its {n} atoms")
    stress = _stress(told, abs(float(np.linalg.det(cell))))
    parts = [part for part in (forces, stress) if isinstance(part, np.ndarray)]
    if not (math.isfinite(float(energy)) and all(bool(np.isfinite(part).all()) for part in parts)):
        raise refuse("an energy, force or stress is not finite; leave the frame out")
    _check_apart(atoms, refuse)
    return Configuration(
        path, row, cell, places, atoms.numbers.astype(np.uint8), float(energy),
        forces if isinstance(forces, np.ndarray) else None, stress, str(told.get("name", told.get("description", ""))),
        str(told.get("config_type", "")), str(told.get("split", "")),
    )  # fmt: skip


def _check_cell(cell: np.ndarray[Any, Any], refuse: Any) -> None:
    longest = float(np.abs(cell).max())
    if longest > _LONGEST:
        raise refuse(f"has a cell vector of {longest:.3g} angstrom, longer than {_LONGEST:g}")
    if abs(np.linalg.det(cell)) < _CLOSED:
        raise refuse("has a cell without volume; give three vectors that span one")
    height = 1.0 / float(np.linalg.norm(np.linalg.inv(cell), axis=0).max())
    if height < _FLATTEST:
        raise refuse(
            f"has a cell only {height:.2g} angstrom high along one vector; give a reduced cell of it"
        )


def _array(value: Any, shape: tuple[int, ...]) -> Any:
    """The numbers in this shape, None where there are none, False where they have another."""
    if value is None:
        return None
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return found if found.shape == shape else False


def _stress(told: dict[str, Any], volume: float) -> Any:
    """xx yy zz yz xz xy of a frame's stress, or of its virial (minus stress times volume)."""
    value, factor = (told["stress"], 1.0) if "stress" in told else (told.get("virial"), -1.0 / volume)
    if value is None:
        return None
    found = np.asarray(value, dtype=np.float64)
    if found.size == 9:
        matrix = found.reshape(3, 3)
        found = np.array([matrix[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
    return factor * found if found.shape == (6,) else None


def _check_apart(atoms: Any, refuse: Any) -> None:
    from ase.neighborlist import neighbor_list

    i, j, d = neighbor_list("ijd", atoms, _COINCIDENT)
    if len(d):
        raise refuse(f"atoms {i[0] + 1} and {j[0] + 1} are {d[0]:.3f} angstrom apart; give every atom once")
