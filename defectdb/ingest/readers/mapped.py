"""Read tables (CSV, Parquet) whose columns a TOML mapping names: structures by file or CIF text, and numbers."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import MAX_STRUCTURE_BYTES, MAX_TABLE_BYTES, check_name, reading
from defectdb.ingest.readers.cif import Atoms, StructureFileError, parse_cif
from defectdb.ingest.readers.entries import Entry
from defectdb.ingest.readers.structures import parse_poscar
from defectdb.ingest.readers.tables import parse_table
from defectdb.ingest.records import Reject

_KEYS = frozenset({"id", "file", "cif", "descriptor", "charge", "targets"})


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column holds what.

    targets: column by target.
    id: names of the structures.
    file: names of structure files beside the table.
    cif: CIF texts; either this or ``file``.
    descriptor: names of the combinations of defects.
    charge: charges [e]; a table without this column holds neutral structures.
    """

    targets: dict[str, str]
    id: str | None = None
    file: str | None = None
    cif: str | None = None
    descriptor: str | None = None
    charge: str = "charge"


def read_mapping(path: Path) -> Mapping:
    """The mapping of a TOML file. Raises InputDataError naming what is wrong and what would be right."""
    with reading(str(path)):
        text = path.read_bytes()
    try:
        data = tomllib.loads(text.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise InputDataError(f"no TOML: {cause}", path=str(path)) from cause
    targets = data.get("targets", {})
    plain = {key: value for key, value in data.items() if key != "targets"}
    strings = isinstance(targets, dict) and all(
        isinstance(v, str) for v in [*plain.values(), *targets.values()]
    )
    if not strings or set(data) - _KEYS or ("file" in data) == ("cif" in data):
        raise InputDataError(
            "write file = COLUMN or cif = COLUMN, optionally id, descriptor and charge = COLUMN, and a table "
            "[targets] with NAME = COLUMN", path=str(path),
        )  # fmt: skip
    return Mapping(targets=targets, **plain)


def read(paths: list[Path], mapping: Mapping) -> Iterator[Entry | Reject]:
    """Every row of the tables. Raises InputDataError for a damaged table or a column that is missing."""
    for path in paths:
        frame = _frame(path)
        wanted = [c for c in (mapping.id, mapping.file, mapping.cif, mapping.descriptor) if c is not None]
        wanted += [mapping.charge] if mapping.charge != "charge" else []
        missing = sorted({*wanted, *mapping.targets.values()} - set(frame.columns))
        if missing:
            hint = "; separate columns by commas" if ";" in "".join(frame.columns) else ""
            has = f"it has {', '.join(frame.columns)}{hint}"
            raise InputDataError(f"lacks the column {', '.join(missing)}; {has}", path=str(path))
        for row in frame.iter_rows(named=True):
            yield _entry(path, row, mapping)


def _frame(path: Path) -> pl.DataFrame:
    with reading(str(path)):
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise InputDataError(f"is larger than {MAX_TABLE_BYTES:,} bytes", path=str(path))
        data = path.read_bytes()
    if path.suffix.lower() == ".csv":
        return parse_table(data, str(path), None, ())
    try:  # pyarrow: polars panics on some damaged files
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        table.validate(full=True)
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame.with_row_index("row", offset=1)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError) as cause:
        raise InputDataError(f"no Parquet file: {str(cause).splitlines()[0]}", path=str(path)) from cause


def _entry(path: Path, row: dict[str, Any], mapping: Mapping) -> Entry | Reject:
    """One row; a broken structure or number is a reject."""
    line = int(row["row"])
    name = None if mapping.id is None else row[mapping.id]
    columns = mapping.targets | ({"charge": mapping.charge} if mapping.charge in row else {})
    try:
        content, where = _content(path, row, mapping)
        atoms = _atoms(content, where)
        numbers = {target: _number(row[column], column) for target, column in columns.items()}
    except (StructureFileError, InputDataError) as cause:
        return Reject(str(path), line, "broken row", str(cause), None if name is None else str(name))
    structure_id = str(name) if name is not None else f"{path.stem}-{line}"
    descriptor = None if mapping.descriptor is None else row[mapping.descriptor]
    return Entry(
        structure_id, where, atoms, hashlib.sha256(content).hexdigest(),
        {target: value for target, value in numbers.items() if value is not None and not math.isnan(value)}, line,
        None if descriptor is None else str(descriptor),
        remarks=tuple(f"{columns[target]} is {row[columns[target]]}"
                      for target, value in numbers.items() if value is not None and math.isnan(value)),
    )  # fmt: skip


def _content(path: Path, row: dict[str, Any], mapping: Mapping) -> tuple[bytes, str]:
    """The structure's bytes and where they stand."""
    if mapping.cif is not None:
        return str(row[mapping.cif] or "").encode(), f"{path}#{row['row']}.cif"
    name = str(row[mapping.file or ""] or "")
    check_name(name, str(path))
    file = path.parent / name
    with reading(str(file)):
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise InputDataError("the file lies outside the table's folder", path=str(file))
        if file.stat().st_size > MAX_STRUCTURE_BYTES:
            raise InputDataError("is too large for one structure", path=str(file))
        return file.read_bytes(), str(file)


def _atoms(content: bytes, where: str) -> Atoms:
    return parse_cif(content) if where.lower().endswith(".cif") else parse_poscar(content)


def _number(value: Any, column: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as cause:
        raise StructureFileError(f"{value!r} in column {column} is no number") from cause
    if math.isinf(number):
        raise StructureFileError(f"{value!r} in column {column} is not finite")
    return number
