"""Read the datasets of any paths, in the formats recognised or named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from defectdb.errors import InputDataError, UnknownNameError, UsageError
from defectdb.ingest.archives.containers import Container, FolderContainer, ZipContainer, reading
from defectdb.ingest.options import Options
from defectdb.ingest.readers import twodmd
from defectdb.ingest.readers.entries import Entry, References, dataset_name, source_from
from defectdb.ingest.recognise import Folder, format_of_file, survey
from defectdb.ingest.records import Reject, Source
from defectdb.ingest.references import read_references

FORMATS = ("auto", "2dmd", "vasp", "ase", "table", "json", "structure", "forces")
PUBLIC = "2dmd"  # the source that names the public archive rather than a file


def recognise(path: Path) -> Folder:
    """The formats of one file or folder. Raises InputDataError where none fits."""
    with reading(str(path)):
        if not path.exists():
            raise InputDataError("there is no such file or folder", path=str(path))
        if not (path.is_dir() or path.is_file()):
            raise InputDataError("is neither a file nor a folder", path=str(path))
    return survey(path) if path.is_dir() else Folder([format_of_file(path)])


def read_sources(paths: list[Path], *, format: str, name: str | None, options: Options) -> Iterator[Source]:
    """Every dataset of every path, read one after another; loose files of one format form one dataset.

    A folder of several formats is one dataset of each. The first source tells which files were left aside.
    """
    if format not in FORMATS:
        raise UnknownNameError("format", format, list(FORMATS))
    references = read_references(list(options.unit_cells), options.reference)
    given = {path.absolute(): path for path in (_fetched(path, options) for path in paths)}.values()
    auto = format == "auto"
    found = {path: recognise(path) if auto else Folder([format]) for path in given}
    aside = tuple(file for folder in found.values() for file in folder.aside)
    used: set[str] = set()
    for kind in FORMATS[1:-1]:  # configurations with forces are read elsewhere
        own = [path for path, folder in found.items() if kind in folder.formats]
        for source in _read(kind, own, name, used, options, auto=auto) if own else ():
            yield replace(_with_references(source, references), aside=() if used else aside)
            used.add(source.dataset_id)


def _fetched(path: Path, options: Options) -> Path:
    if str(path) != PUBLIC or path.exists():
        return path
    from defectdb.ingest.archives.download import fetch

    return fetch(options.download)


def _read(
    kind: str, paths: list[Path], name: str | None, used: set[str], options: Options, *, auto: bool
) -> Iterator[Source]:
    """The datasets of one format; where another has taken the name, the format stands behind it."""
    if kind == "2dmd":
        for path in paths:
            yield from _read_2dmd(path, name, options.only)
        return
    plain = name or dataset_name(paths[0])
    own = f"{plain}-{kind}" if plain in used else plain
    yield source_from(_reader(kind, options, auto=auto)(paths), paths, form=kind, name=own)


def _reader(kind: str, options: Options, *, auto: bool) -> Callable[[list[Path]], Iterator[Entry | Reject]]:
    """The reader of one format; each is imported where it is needed. ``auto``: runs are read as such."""
    match kind:
        case "vasp":
            from defectdb.ingest.readers import vasp

            return lambda paths: vasp.read(paths, occupied=options.occupied)
        case "table":
            from defectdb.ingest.readers import mapped

            if options.mapping is None:
                raise UsageError("a table needs --mapping FILE.toml, which says what its columns hold")
            mapping = mapped.read_mapping(options.mapping)
            return lambda paths: mapped.read(paths, mapping)
        case "ase":
            from defectdb.ingest.readers import ase

            return ase.read
        case "json":
            from defectdb.ingest.readers import pymatgen_json as jsons

            return jsons.read
    from defectdb.ingest.readers import structures

    return lambda paths: structures.read(paths, runs=not auto)


def _with_references(source: Source, references: References) -> Source:
    """The source's own unit cells, pristine supercells and potentials before those given beside it."""
    return replace(
        source,
        unit_cells=references.unit_cells | source.unit_cells,
        pristine=(*references.pristine, *source.pristine),
        potentials=references.potentials | source.potentials,
        functional=source.functional or references.functional,
    )


def _wanted(roots: list[str], only: tuple[str, ...]) -> list[str]:
    """The datasets of these names, all where none is named. Raises UnknownNameError for a name that none has."""
    names = {root: twodmd.folder_name(root) for root in roots}
    for name in only:
        if name not in names.values():
            raise UnknownNameError("dataset in the archive", name, sorted(names.values()))
    return [root for root in roots if not only or names[root] in only]


def _read_2dmd(path: Path, name: str | None, only: tuple[str, ...]) -> Iterator[Source]:
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
        for root in _wanted(roots, only):
            own = name if name is None or len(roots) == 1 else f"{name}-{Path(root).name}"
            yield twodmd.read(container, root, name=own, sha256=digest)
    finally:
        container.close()
