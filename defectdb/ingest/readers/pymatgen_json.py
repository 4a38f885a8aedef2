"""Read structures and computed entries from JSON files as pymatgen and monty write them."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import MAX_TABLE_BYTES, read_bounded, reading
from defectdb.ingest.readers.cif import MAX_ATOMS, Atoms, StructureFileError, atomic_number
from defectdb.ingest.readers.entries import Entry, digest_of, finite_numbers
from defectdb.ingest.records import Reject

_IDS = ("structure_id", "_id", "entry_id", "material_id", "id", "name")


def read(paths: list[Path]) -> Iterator[Entry | Reject]:
    """Every structure of the files. No class that a file names is imported: data are read by shape.

    Raises InputDataError for a file that is no JSON.
    """
    for path in paths:
        data = _load(path)
        items = data if isinstance(data, list) else [data] if _is_entry(data) else _values(data)
        for count, (key, item) in enumerate(
            items if items and isinstance(items[0], tuple) else _keyed(items), start=1
        ):
            yield _entry(path, count, key, item)


def _load(path: Path) -> Any:
    with reading(str(path)), path.open("rb") as packed:
        stream = gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed
        text = read_bounded(cast(Any, stream), MAX_TABLE_BYTES, str(path), path.name, path.stat().st_size)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise InputDataError(f"no JSON: {cause}", path=str(path)) from cause


def _is_entry(data: Any) -> bool:
    return isinstance(data, dict) and ("structure" in data or ("lattice" in data and "sites" in data))


def _values(data: Any) -> list[Any]:
    return list(data.items()) if isinstance(data, dict) else []


def _keyed(items: list[Any]) -> list[tuple[str | None, Any]]:
    return [(None, item) for item in items]


def _entry(path: Path, count: int, key: str | None, item: Any) -> Entry | Reject:
    where = f"{path}#{count}"
    found = next((str(item[k]) for k in _IDS if item.get(k)), None) if isinstance(item, dict) else None
    structure_id = found or key or f"{path.name.split('.')[0]}-{count}"
    try:
        atoms = _atoms(item.get("structure", item) if isinstance(item, dict) else item)
    except StructureFileError as cause:
        return Reject(where, count, "broken structure", str(cause), structure_id)
    numbers = {k: v for k, v in _numbers(item.get("structure", item)).items() if k == "charge"}
    if "structure" in item:
        numbers |= _numbers(item) | _numbers(item.get("data"))
    if "charge_state" in numbers:
        numbers["charge"] = numbers.pop("charge_state")
    kept, remarks = finite_numbers(numbers, _IDS)
    return Entry(structure_id, where, atoms, digest_of(atoms), kept, count, remarks=remarks)


def _atoms(data: Any) -> Atoms:
    """The atoms of a serialised Structure. Raises StructureFileError."""
    try:
        lattice = np.array(data["lattice"]["matrix"], dtype=np.float64)
        sites = data["sites"]
        if lattice.shape != (3, 3) or not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) < 1e-6:
            raise StructureFileError("the lattice vectors span no volume")
        if not 0 < len(sites) <= MAX_ATOMS:
            raise StructureFileError(f"{len(sites)} sites; 1 to {MAX_ATOMS} are read")
        frac = np.array([site["abc"] for site in sites], dtype=np.float64)
        species = [site["species"] for site in sites]
        if any(len(s) != 1 or abs(float(s[0].get("occu", 1)) - 1) > 1e-6 for s in species):
            raise StructureFileError("a site is partially occupied; ordered structures only")
        numbers = np.array([atomic_number(str(s[0]["element"])) for s in species], dtype=np.uint8)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as cause:
        if isinstance(cause, StructureFileError):
            raise
        raise StructureFileError(f"no serialised structure: {type(cause).__name__} {cause}") from cause
    if frac.shape != (len(sites), 3) or not np.isfinite(frac).all():
        raise StructureFileError("a site has no three finite coordinates")
    return Atoms(lattice, numbers, frac)


def _numbers(item: Any) -> dict[str, float]:
    """The entries of a JSON object that are single numbers; integers beyond floating point as infinities."""
    if not isinstance(item, dict):
        return {}
    plain = {k: v for k, v in item.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {k: float(v) if isinstance(v, float) or abs(v) < 1e300 else math.inf for k, v in plain.items()}
