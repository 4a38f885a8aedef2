"""Gather single structures and their numbers into one dataset: shared by all readers of loose files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import printable
from defectdb.ingest.naming import OWN_FILES, longer_names
from defectdb.ingest.readers.cif import Atoms, pack
from defectdb.ingest.records import ODD_NUMBERS, Floats, Geometries, Note, Pristine, Reject, Source, UnitCell


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One structure.

    structure_id: its name.
    path: where it was read.
    atoms: its lattice, elements and places.
    digest: SHA-256 of its bytes.
    numbers: its numbers by column name; ``charge`` [e] among them.
    row: line of a table or number of a frame.
    descriptor: name of its combination of defects.
    moved: how far every atom went when the structure was relaxed (atoms,) [angstrom], None where that is not known.
    remarks: what is odd about its numbers.
    """

    structure_id: str
    path: str
    atoms: Atoms
    digest: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    row: int | None = None
    descriptor: str | None = None
    moved: Floats | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What formation energies need besides the structures.

    unit_cells: by base name.
    pristine: perfect supercells with their energies.
    potentials: chemical potential [eV] and where it is from, by element.
    functional: name of the level of theory, None where it is not said.
    """

    unit_cells: dict[str, UnitCell] = field(default_factory=dict)
    pristine: tuple[Pristine, ...] = ()
    potentials: dict[str, tuple[float, str]] = field(default_factory=dict)
    functional: str | None = None


def digest_of(atoms: Atoms, moved: Floats | None = None) -> str:
    """SHA-256 of a structure that was not read from bytes of its own, and of how far its atoms moved."""
    data = atoms.lattice.tobytes() + atoms.numbers.tobytes() + atoms.frac.tobytes()
    return hashlib.sha256(data + (b"" if moved is None else moved.tobytes())).hexdigest()


def finite_numbers(
    numbers: Mapping[str, float], ids: Collection[str]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The finite ones of the numbers that are no ids, and a remark about each of the others."""
    plain = {key: value for key, value in numbers.items() if key not in ids}
    remarks = tuple(f"{key} is {value}" for key, value in plain.items() if not math.isfinite(value))
    return {key: value for key, value in plain.items() if math.isfinite(value)}, remarks


def source_from(found: Iterable[Entry | Reject], paths: list[Path], *, form: str, name: str) -> Source:
    """One dataset of the entries; a second entry of an id is a reject. Raises InputDataError for none."""
    entries, rejects = _sorted_out(found, form)
    if not entries and not rejects:
        raise InputDataError("holds no structures", path=", ".join(map(str, paths)))
    kept = list(entries.values())
    digests = [entry.digest for entry in kept]
    return Source(
        dataset_id=name,
        name=name,
        format=form,
        uri=printable(", ".join(str(path) for path in paths)),
        sha256=hashlib.sha256("".join(digests).encode()).hexdigest(),
        batches=[(_geometries(kept, digests), [])],
        table=_table(kept),
        rejects=rejects,
        notes=[Note(entry.structure_id, ODD_NUMBERS, what) for entry in kept for what in entry.remarks],
        complete=False,
    )


def _sorted_out(found: Iterable[Entry | Reject], form: str) -> tuple[dict[str, Entry], list[Reject]]:
    """Entries by id, and what was refused; a file that was given beside its folder counts once."""
    entries: dict[str, Entry] = {}
    rejects: list[Reject] = []
    for item in map(_storable, found):
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        own_file = form in OWN_FILES
        entry = _named_apart(item, entries) if own_file else item
        other = entries.setdefault(entry.structure_id, entry)
        if other is not entry and not (own_file and other.path == entry.path):
            seen = f"{item.structure_id!r} stands in {entries[item.structure_id].path} already"
            rejects.append(Reject(item.path, item.row, "duplicate id", seen, item.structure_id))
    return entries, rejects


def _storable(item: Entry | Reject) -> Entry | Reject:
    """The same with names that can be stored."""
    path, name = (
        (item.path, item.structure_id) if isinstance(item, Entry) else (item.source_path, item.structure_id)
    )
    if path.isascii() and (name is None or name.isascii()):
        return item
    if isinstance(item, Entry):
        return replace(item, path=printable(path), structure_id=printable(item.structure_id))
    return replace(item, source_path=printable(path), structure_id=None if name is None else printable(name))


def _named_apart(entry: Entry, taken: Mapping[str, Entry]) -> Entry:
    """The entry under a longer name where one from another folder has its own."""
    other = taken.get(entry.structure_id)
    if other is None or Path(other.path).parent == Path(entry.path).parent:
        return entry
    names = longer_names(entry.structure_id, entry.path)
    return replace(entry, structure_id=next((n for n in names if n not in taken), entry.structure_id))


def _geometries(entries: list[Entry], digests: list[str]) -> Geometries:
    packed = pack(
        [e.structure_id for e in entries], [e.path for e in entries], [e.atoms for e in entries], digests
    )
    if all(entry.moved is None for entry in entries):
        return packed
    still = [np.zeros(len(e.atoms.numbers)) if e.moved is None else e.moved for e in entries]
    return replace(packed, moved=np.concatenate(still))


def dataset_name(path: Path) -> str:
    """A folder's own name, a table's or database's stem, the folder's name for a single structure file."""
    full = path.resolve()
    if full.is_dir():
        return printable(full.name) or "structures"
    if full.suffix.lower() in {"", ".cif", ".vasp"}:
        return printable(full.parent.name) or "structures"
    return printable(full.stem)


def _table(entries: list[Entry]) -> pl.DataFrame:
    columns = sorted({name for entry in entries for name in entry.numbers})
    empty = pl.Series([None] * len(entries), dtype=pl.String)
    return pl.DataFrame(
        {
            "structure_id": pl.Series([e.structure_id for e in entries], dtype=pl.String),
            "row": pl.Series([e.row for e in entries], dtype=pl.Int64),
            "base": empty, "size": empty, "declared": empty,
            "descriptor": pl.Series([e.descriptor for e in entries], dtype=pl.String),
            **{c: pl.Series([e.numbers.get(c) for e in entries], dtype=pl.Float64) for c in columns},
        }
    )  # fmt: skip
