"""Paths to sources: recognises each format, or takes the one that is named."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from defectdb.errors import InputDataError, UnknownNameError, UsageError
from defectdb.ingest import ase, jsons, mapped, structures, twodmd, vasp
from defectdb.ingest.containers import Container, FolderContainer, ZipContainer, reading
from defectdb.ingest.download import Download, fetch
from defectdb.ingest.entries import Entry, References, source_from
from defectdb.ingest.records import Reject, Source
from defectdb.ingest.references import read_references
from defectdb.ingest.vasprun import OCCUPIED

FORMATS = ("auto", "2dmd", "vasp", "ase", "table", "json", "structure")
PUBLIC = "2dmd"  # the source that names the public archive rather than a file


@dataclass(frozen=True, slots=True)
class Options:
    """How sources are read.

    ``mapping`` is the TOML of a table, ``unit_cells`` and ``reference`` bring hosts and energies,
    ``occupied`` is the occupation (0 to 1) from which a level of a VASP run counts as occupied,
    ``download`` says where the public archive comes from.
    """

    mapping: Path | None = None
    unit_cells: tuple[Path, ...] = ()
    reference: Path | None = None
    occupied: float = OCCUPIED
    download: Download = field(default_factory=Download)


def recognise(path: Path) -> str:
    """The format of one file or folder. Raises InputDataError where none fits."""
    with reading(str(path)):
        if not path.exists():
            raise InputDataError("there is no such file or folder", path=str(path))
        if not (path.is_dir() or path.is_file()):
            raise InputDataError("is neither a file nor a folder", path=str(path))
        if path.is_dir() and not any(path.iterdir()):
            raise InputDataError("is an empty folder", path=str(path))
        found = _recognise_folder(path) if path.is_dir() else _recognise_file(path)
    if found is None:
        raise InputDataError(
            "is in no format that is known; give a 2DMD archive or folder, VASP runs, an ASE database or "
            "extended xyz file, a table with --mapping, JSON, or CIF or POSCAR files", path=str(path),
        )  # fmt: skip
    return found


def _recognise_folder(path: Path) -> str | None:
    if any(path.rglob("defects.csv.gz")) or any(path.rglob("defects.csv")):
        return "2dmd"
    if vasp.run_files(path):
        return "vasp"
    return "structure" if structures.structure_files(path) else None


def _recognise_file(path: Path) -> str | None:
    name = path.name.lower()
    if name.endswith(".zip") or zipfile.is_zipfile(path):
        return "2dmd"
    if path.name in vasp.RUN_FILES or name in vasp.RUN_FILES:
        return "vasp"
    if path.suffix.lower() in mapped.TABLES:
        return "table"
    if name.endswith((".json", ".json.gz")):
        return "json"
    if structures.is_structure_file(path):
        return "structure"
    return "ase" if ase.is_ase_file(path) else None


def read_sources(paths: list[Path], *, format: str, name: str | None, options: Options) -> Iterator[Source]:
    """Every dataset of every path, read one after another; loose files of one format form one dataset."""
    if format not in FORMATS:
        raise UnknownNameError("format", format, list(FORMATS))
    references = read_references(list(options.unit_cells), options.reference)
    given = [fetch(options.download) if str(path) == PUBLIC and not path.exists() else path for path in paths]
    kinds = {path: recognise(path) if format == "auto" else format for path in given}
    for path in (p for p, kind in kinds.items() if kind == "2dmd"):
        for source in _read_2dmd(path, name):
            yield _with_references(source, references)
    for kind in FORMATS[2:]:
        own = [path for path, found in kinds.items() if found == kind]
        if own:
            entries = _reader(kind, options)(own)
            yield source_from(entries, own, form=kind, name=name, references=references)


def _reader(kind: str, options: Options) -> Callable[[list[Path]], Iterator[Entry | Reject]]:
    if kind == "vasp":
        return lambda paths: vasp.read(paths, occupied=options.occupied)
    if kind == "table":
        if options.mapping is None:
            raise UsageError("a table needs --mapping FILE.toml, which says what its columns hold")
        mapping = mapped.read_mapping(options.mapping)
        return lambda paths: mapped.read(paths, mapping)
    return {"ase": ase.read, "json": jsons.read, "structure": structures.read}[kind]


def _with_references(source: Source, references: References) -> Source:
    """The source's own unit cells, pristine supercells and potentials before those given beside it."""
    return replace(
        source,
        unit_cells=references.unit_cells | source.unit_cells,
        pristine=(*references.pristine, *source.pristine),
        potentials=references.potentials | source.potentials,
    )


def _read_2dmd(path: Path, name: str | None) -> Iterator[Source]:
    if not path.exists():
        raise InputDataError("there is no such file or folder", path=str(path))
    container: Container = FolderContainer(path) if path.is_dir() else ZipContainer(path)
    try:
        roots = twodmd.datasets(container)
        inner = [member for member in container.names() if member.lower().endswith(".zip")]
        if not roots and inner:
            raise InputDataError(
                f"holds another archive, {inner[0]}: unpack it and ingest what is in it", path=str(path)
            )
        if not roots:
            raise InputDataError(
                "holds no dataset of the 2DMD layout (defects.csv.gz and descriptors.csv in one folder)",
                path=str(path),
            )
        digest = container.sha256()
        for root in roots:
            own = name if name is None or len(roots) == 1 else f"{name}-{Path(root).name}"
            yield twodmd.read(container, root, name=own, sha256=digest)
    finally:
        container.close()
