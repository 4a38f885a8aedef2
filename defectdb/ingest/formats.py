"""Paths to sources: recognises each format, or takes the one that is named."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from defectdb.errors import InputDataError, UnknownNameError
from defectdb.ingest import structures, twodmd
from defectdb.ingest.containers import Container, FolderContainer, ZipContainer
from defectdb.ingest.records import Source

FORMATS = ("auto", "2dmd", "structure")


def recognise(path: Path) -> str:
    """The format of one file or folder. Raises InputDataError where none fits."""
    if not path.exists():
        raise InputDataError("there is no such file or folder", path=str(path))
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        return "2dmd"
    if path.is_dir() and (any(path.rglob("defects.csv.gz")) or any(path.rglob("defects.csv"))):
        return "2dmd"
    if structures.structure_files(path) if path.is_dir() else structures.is_structure_file(path):
        return "structure"
    raise InputDataError(
        "is in no format that is known; give a 2DMD archive or folder, or CIF or POSCAR files", path=str(path)
    )


def read_sources(
    paths: list[Path], *, format: str, name: str | None,
) -> Iterator[Source]:  # fmt: skip
    """Every dataset of every path, read one after another."""
    if format not in FORMATS:
        raise UnknownNameError("format", format, list(FORMATS))
    kinds = {path: recognise(path) if format == "auto" else format for path in paths}
    for path in (p for p, kind in kinds.items() if kind == "2dmd"):
        if not path.exists():
            raise InputDataError("there is no such file or folder", path=str(path))
        yield from _read_2dmd(path, name)
    loose = [path for path, kind in kinds.items() if kind == "structure"]
    if loose:
        yield structures.read(loose, name=name)


def _read_2dmd(path: Path, name: str | None) -> Iterator[Source]:
    container: Container = FolderContainer(path) if path.is_dir() else ZipContainer(path)
    try:
        roots = twodmd.datasets(container)
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
