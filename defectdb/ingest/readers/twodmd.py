"""Read datasets in the 2DMD layout (``{low,high}_density_defects/NAME/...``), zipped or unpacked."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

import polars as pl

from defectdb.errors import InputDataError, LabelError
from defectdb.ingest.archives.containers import MAX_STRUCTURE_BYTES, Container, printable, read_member
from defectdb.ingest.archives.tars import tar_members
from defectdb.ingest.readers.cif import StructureFileError, parse_cif
from defectdb.ingest.readers.members import parse_members
from defectdb.ingest.readers.tables import drop_duplicates, nan_cells, numeric, read_table
from defectdb.ingest.records import ODD_NUMBERS, Note, Pristine, Reject, Source, UnitCell
from defectdb.schema.labels import defect_label

LICENCE = "CC BY 4.0"
CITATION = (
    "P. Huang et al., npj 2D Mater. Appl. 7, 6 (2023); N. Kazeev et al., npj Comput. Mater. 9, 113 (2023)"
)
FUNCTIONAL = "PBE"
DOI = "10.1038/s41699-023-00369-1"
PUBLISHED = frozenset(
    {"MoS2", "WSe2", "MoS2_500", "WSe2_500", "BP_spin_500", "GaSe_spin_500", "hBN_spin_500", "InSe_spin_500"}
)
_DENSITY = {"low_density_defects": "low", "high_density_defects": "high"}
OBSOLETE = ("band_gap", "band_gap_majority", "band_gap_minority")
"""Columns that the archive's authors replaced by ``homo_lumo_gap``."""
_IDS = frozenset({"_id", "descriptor_id", "structure_id", "row"})
_DEFECT_KEYS = {"type", "element", "from", "to"}


def datasets(container: Container) -> list[str]:
    """Folders within the container that hold a dataset of this layout, sorted."""
    names = container.names()
    tables = {
        PurePosixPath(n).parent for n in names if PurePosixPath(n).name in ("defects.csv.gz", "defects.csv")
    }
    return sorted(
        str(parent)
        for parent in tables
        if _member(names, str(parent), "descriptors.csv", "descriptors.csv.gz")
    )


def folder_name(root: str) -> str:
    """A dataset's name by its folders: ``2dmd-low-MoS2`` for ``low_density_defects/MoS2``."""
    density = _DENSITY.get(PurePosixPath(root).parent.name)
    return "-".join(["2dmd", *([density] if density else []), printable(PurePosixPath(root).name)])


def read(container: Container, root: str, *, name: str | None = None, sha256: str) -> Source:
    """One dataset of the layout. Raises InputDataError for a damaged archive, a missing member or column."""
    about = _about(container, root)
    base_name = printable(PurePosixPath(root).name) or PurePosixPath(container.uri).stem
    density = _DENSITY.get(PurePosixPath(root).parent.name)
    published = base_name in PUBLISHED and density is not None and not about
    dataset_id = name or about.get("name") or "-".join(["2dmd", *([density] if density else []), base_name])
    table, refused, notes = _table(container, root)
    return Source(
        dataset_id=dataset_id,
        name=about.get("title") or dataset_id,
        format="2dmd",
        uri=container.uri,
        sha256=sha256,
        batches=parse_members(_structures(container, root)),
        table=table,
        unit_cells=_unit_cells(container, root),
        pristine=_pristine(container, root),
        potentials=_potentials(container, root),
        rejects=refused,
        notes=notes,
        density=density,
        licence=about.get("licence") or (LICENCE if published else None),
        citation=about.get("citation") or (CITATION if published else None),
        doi=about.get("doi") or (DOI if published else None),
        functional=about.get("functional") or (FUNCTIONAL if published else None),
    )


def _join(root: str, name: str) -> str:
    return name if root in ("", ".") else f"{root}/{name}"


def _member(names: list[str], root: str, *options: str) -> str | None:
    """The first of the named members that is there."""
    present = set(names)
    return next((path for path in (_join(root, option) for option in options) if path in present), None)


def _about(container: Container, root: str) -> dict[str, str]:
    """name, title, licence, citation, doi and functional from an optional ``dataset.toml`` beside the tables."""
    member = _member(container.names(), root, "dataset.toml")
    if member is None:
        return {}
    try:
        data = tomllib.loads(read_member(container, member, MAX_STRUCTURE_BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise InputDataError(f"no TOML: {cause}", path=container.uri, member=member) from cause
    return {key: value for key, value in data.items() if isinstance(value, str)}


def _structures(container: Container, root: str) -> Iterator[tuple[str, str, bytes]]:
    """Id, path and CIF bytes of every structure: from initial.tar.gz, initial.tar, or a folder initial/."""
    names = container.names()
    archive = _member(names, root, "initial.tar.gz", "initial.tgz", "initial.tar")
    if archive is not None:
        for inner, text in tar_members(container, archive):
            if inner.lower().endswith(".cif"):
                yield inner.rpartition("/")[2][:-4] or inner, f"{archive}/{inner}", text
        return
    folder = _join(root, "initial/")
    files = [name for name in names if name.startswith(folder) and name.lower().endswith(".cif")]
    if not files:
        raise InputDataError(
            "holds neither initial.tar.gz nor initial/*.cif", path=container.uri, member=root
        )
    for name in files:
        yield PurePosixPath(name).stem, name, read_member(container, name, MAX_STRUCTURE_BYTES)


# ---------------------------------------------------------------- tables


def _table(container: Container, root: str) -> tuple[pl.DataFrame, list[Reject], list[Note]]:
    """Every structure's row: host, descriptor, declared defects, numbers (targets.csv before defects.csv).

    With it what was refused, and notes about cells that say NaN.
    """
    names = container.names()
    frames, rejects = [], []
    notes: dict[tuple[str, str], Note] = {}
    for stem in ("targets", "defects"):
        member = _member(names, root, f"{stem}.csv.gz", f"{stem}.csv")
        if member is None:
            continue
        text = read_table(container, member, ("_id", "descriptor_id")).with_columns(
            structure_id=pl.col("_id")
        )
        unique, doubled = drop_duplicates(text, f"{container.uri}: {member}")
        frame, bad = numeric(unique, f"{container.uri}: {member}")
        rejects += [*doubled, *bad]
        notes |= {cell: Note(cell[0], ODD_NUMBERS, f"{cell[1]} is NaN") for cell in nan_cells(unique)}
        frames.append(frame.drop("_id", "defect_id", *OBSOLETE, strict=False))
    table = frames[0]
    for other in frames[1:]:
        fresh = ["structure_id", *(c for c in other.columns if c not in table.columns)]
        lost = {r.row for r in rejects}
        table = table.join(other.select(fresh), on="structure_id", how="left")
        rest = other.join(table, on="structure_id", how="anti").filter(~pl.col("row").is_in(list(lost)))
        table = pl.concat([table, rest], how="diagonal")
    described = table.join(_descriptors(container, root), on="descriptor_id", how="left")
    return described.drop("descriptor_id"), rejects, list(notes.values())


def _descriptors(container: Container, root: str) -> pl.DataFrame:
    """descriptor_id, descriptor, base, size and declared defects."""
    member = _member(container.names(), root, "descriptors.csv", "descriptors.csv.gz")
    assert member is not None
    frame = read_table(container, member, ("_id", "base", "cell", "defects"))
    declared = [
        _declared(text, container.uri, member, row)
        for text, row in frame.select("defects", "row").iter_rows()
    ]
    sizes = [size_text(text, container.uri, member) for text in frame["cell"]]
    name = pl.col("description") if "description" in frame.columns else pl.lit(None, dtype=pl.String)
    return frame.select(
        pl.col("_id").alias("descriptor_id"),
        pl.coalesce(name, pl.col("_id")).alias("descriptor"),
        "base",
        pl.Series("size", sizes, dtype=pl.String),
        pl.Series("declared", declared, dtype=pl.String),
    ).unique("descriptor_id", keep="first", maintain_order=True)


def _declared(text: str | None, path: str, member: str, row: int) -> str:
    """Labels of a literal such as ``[{'type': 'vacancy', 'element': 'S'}]``, sorted and joined by '+'."""
    where = f"{member} line {row}"
    try:
        parsed = ast.literal_eval((text or "")[:100_000])
        labels = [_label(entry) for entry in parsed]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError, LabelError) as cause:
        raise InputDataError(
            f"column 'defects' is no list of defects: {str(text)[:80]!r}", path=path, member=where
        ) from cause
    return "+".join(sorted(labels))


def _label(entry: dict[str, str]) -> str:
    if not isinstance(entry, dict) or not set(entry) <= _DEFECT_KEYS:
        raise ValueError("a defect is a dictionary with type, element, from, to")
    if entry["type"] == "vacancy":
        return defect_label("vacancy", str(entry["element"]), None)
    if entry["type"] == "substitution":
        return defect_label("substitution", str(entry["from"]), str(entry["to"]))
    return defect_label(str(entry["type"]), None, str(entry.get("element") or entry["to"]))


def size_text(text: str | None, path: str, member: str) -> str:
    """``8x8x1`` from ``[8, 8, 1]`` or ``(8, 8, 1)``. Raises InputDataError."""
    found = re.fullmatch(r"\s*[\[(]?\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*[\])]?\s*", text or "")
    if found is None:
        raise InputDataError(f"{text!r} is no supercell size; write [8, 8, 1]", path=path, member=member)
    return "x".join(str(int(part)) for part in found.groups())


def _pristine(container: Container, root: str) -> tuple[Pristine, ...]:
    """Perfect supercells of initial_structures.csv, none where there is no such file."""
    member = _member(container.names(), root, "initial_structures.csv", "initial_structures.csv.gz")
    if member is None:
        return ()
    frame = read_table(container, member, ("base", "cell_size", "energy"))
    found = []
    for row in frame.iter_rows(named=True):
        size = size_text(row["cell_size"], container.uri, member).split("x")
        levels = [_number(row.get(key), container.uri, f"{member} line {row['row']}")
                  for key in ("energy", "E_1", "E_VBM", "fermi")]  # fmt: skip
        found.append(Pristine(str(row["base"]), (int(size[0]), int(size[1]), int(size[2])), *levels))
    return tuple(found)


def _number(text: str | None, path: str, member: str) -> float | None:
    if text is None or not text.strip() or text.strip().lower() == "nan":
        return None
    try:
        value = float(text)
    except ValueError as cause:
        raise InputDataError(f"{text!r} is no number", path=path, member=member) from cause
    return value


def _potentials(container: Container, root: str) -> dict[str, tuple[float, str]]:
    """Chemical potential [eV] and reference of every element in elements.csv, if there is such a file."""
    member = _member(container.names(), root, "elements.csv", "elements.csv.gz")
    if member is None:
        return {}
    frame = read_table(container, member, ("element", "chemical_potential"))
    found = {}
    for row in frame.iter_rows(named=True):
        value = _number(row["chemical_potential"], container.uri, f"{member} line {row['row']}")
        if value is not None and row["element"]:
            found[row["element"].strip()] = (value, row.get("note") or "")
    return found


def _unit_cells(container: Container, root: str) -> dict[str, UnitCell]:
    """Unit cells by base name."""
    folder = _join(root, "unit_cells/")
    cells = {}
    for name in container.names():
        if not (name.startswith(folder) and name.lower().endswith(".cif")):
            continue
        try:
            atoms = parse_cif(read_member(container, name, MAX_STRUCTURE_BYTES))
        except StructureFileError as cause:
            raise InputDataError(str(cause), path=container.uri, member=name) from cause
        base = PurePosixPath(name).stem
        cells[base] = UnitCell(base, atoms.lattice, atoms.numbers, atoms.frac)
    return cells
