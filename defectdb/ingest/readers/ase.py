"""Read structures and numbers from ASE databases and extended xyz files."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import MAX_TABLE_BYTES, reading
from defectdb.ingest.readers.cif import MAX_ATOMS, Atoms
from defectdb.ingest.readers.entries import Entry, digest_of, finite_numbers
from defectdb.ingest.recognise import XYZ, files_below, is_sqlite
from defectdb.ingest.records import Reject

_COLUMNS = re.compile(rb'Properties\s*=\s*("[^"]*"|\{[^}]*\}|\[[^]]*\]|\S*)')
_IDS = ("structure_id", "_id", "name", "label")
BROKEN = (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, ArithmeticError,
           EOFError, OSError, RuntimeError)  # fmt: skip
"""What ase's parsers raise on damaged files."""


def read(paths: list[Path]) -> Iterator[Entry | Reject]:
    """Every row or frame. Raises InputDataError for a damaged file, or without the extra ``ase``."""
    try:
        import ase.db
        import ase.io
    except ImportError as cause:
        raise InputDataError(
            "ASE files need the extra: pip install 'defectdb[ase]'", path=str(paths[0])
        ) from cause
    for path in [file for source in paths for file in ase_files(source)]:
        rows = _frames(path, ase.io) if path.suffix.lower() in XYZ else _rows(path, ase.db)
        count = 0
        while True:
            try:
                atoms, numbers, name = next(rows)
            except StopIteration:
                break
            except (*BROKEN, sqlite3.Error) as cause:
                raise InputDataError(f"damaged after {count} structures ({cause})", path=str(path)) from cause
            count += 1
            yield _entry(path, count, atoms, numbers, name)


def ase_files(path: Path) -> list[Path]:
    """The file itself, or the databases (``.db``) and extended xyz files in and below a folder."""
    if not path.is_dir():
        return [path]
    files = [Path(folder) / name for folder, names in files_below(path) for name in names]
    return [f for f in files if f.suffix.lower() in XYZ or (f.suffix.lower() == ".db" and is_sqlite(f))]


def _rows(path: Path, db: Any) -> Iterator[tuple[Any, dict[str, Any], str | None]]:
    """Atoms, numbers and id of every row of a database."""
    with db.connect(str(path), type="db") as connection:
        for row in connection.select():
            pairs = dict(row.key_value_pairs)
            if "energy" in row:
                pairs["energy"] = row.energy
            yield row.toatoms(), pairs, next((str(pairs[key]) for key in _IDS if key in pairs), None)


def _frames(path: Path, io: Any) -> Iterator[tuple[Any, dict[str, Any], str | None]]:
    """Atoms, numbers and id of every frame of an extended xyz file."""
    _check_counts(path)
    for atoms in io.iread(str(path), index=":", format="extxyz"):
        info = dict(atoms.info)
        if atoms.calc is not None and "energy" in atoms.calc.results:
            info["energy"] = atoms.calc.results["energy"]
        yield atoms, info, next((str(info[key]) for key in _IDS if key in info), None)


def _check_counts(path: Path) -> None:
    """``check_counts`` of a file."""
    with reading(str(path)):
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise InputDataError(f"is larger than {MAX_TABLE_BYTES:,} bytes", path=str(path))
        data = path.read_bytes()
    check_counts(data, str(path))


def check_counts(data: bytes, path: str) -> None:
    """Refuse the text of an xyz file whose frames announce more atoms or columns than they hold.

    ase would count on before it looks at a line. Raises InputDataError.
    """
    lines = data.splitlines()
    at = 0
    while at < len(lines) and lines[at].strip():
        count = int(lines[at]) if lines[at].strip().isdigit() and len(lines[at]) < 12 else 0
        if not 0 < count <= MAX_ATOMS or at + count + 2 > len(lines):
            what = f"announces {lines[at][:20].decode(errors='replace')!r} atoms"
            raise InputDataError(
                f"line {at + 1} {what}; 1 to {MAX_ATOMS} and all of them there are read", path=path
            )
        for columns in _COLUMNS.findall(lines[at + 1]):
            announced, there = _announced(columns), len(lines[at + 2].split())
            if announced > there:
                raise InputDataError(
                    f"line {at + 2} announces {announced:.6g} columns, line {at + 3} has {there}", path=path
                )
        at += count + 2
        while at < len(lines) and lines[at].startswith(b"VEC"):
            at += 1


def _announced(properties: bytes) -> float:
    """Columns of name:type:number, name:type:number, ...; what is no number is left to ase."""
    total = 0.0
    for field in properties.strip(b'"{}[] ').split(b":")[2::3]:
        with suppress(ValueError):
            total += float(int(field)) if len(field) < 300 else math.inf
    return total


def _entry(path: Path, count: int, atoms: Any, numbers: dict[str, Any], name: str | None) -> Entry | Reject:
    """One structure; without a cell it is a reject."""
    structure_id = name or f"{path.stem}-{count}"
    where = f"{path}#{count}"
    lattice, places = np.array(atoms.cell[:], dtype=np.float64), np.array(atoms.positions, dtype=np.float64)
    sound = np.isfinite(lattice).all() and abs(np.linalg.det(lattice)) > 1e-6 and np.isfinite(places).all()
    if (
        not sound
        or not 0 < len(places) <= MAX_ATOMS
        or not (1 <= atoms.numbers.min() <= atoms.numbers.max() <= 118)
    ):
        why = "it needs a periodic cell, finite positions, and known elements"
        return Reject(where, count, "broken structure", why, structure_id)
    found = Atoms(lattice, atoms.numbers.astype(np.uint8), places @ np.linalg.inv(lattice))
    plain = {
        str(key): float(value)
        for key, value in numbers.items()
        if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    }
    kept, remarks = finite_numbers(plain, _IDS)
    return Entry(structure_id, where, found, digest_of(found), kept, count, remarks=remarks)
