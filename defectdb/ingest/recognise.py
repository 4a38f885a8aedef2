"""Recognise the formats of files, and of everything in and below a folder."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import reading

RUN_FILES = ("vasprun.xml", "vasprun.xml.gz", "OUTCAR", "OUTCAR.gz")
"""The outputs that make a folder a VASP run; the first that is there is read."""
STRUCTURE_SUFFIXES = (".cif", ".vasp", ".poscar", ".contcar")
POSCAR_NAMES = ("POSCAR", "CONTCAR")
_POSCAR_NAME = re.compile(r"(.*[._-])?S?(POSCAR|CONTCAR)(?![A-Za-z]).*", re.IGNORECASE)
"""POSCAR, POSCAR-1, SPOSCAR, V_Mo_POSCAR, poscar.relaxed: names that people give to files of this format."""
PACKED = (".gz", ".bz2", ".xz", ".zst", ".lzma", ".z", ".lz4")
"""Endings of packed files; only gzip is unpacked, the others are told to be packed."""
RUN_BESIDE = re.compile(
    r"(INCAR|KPOINTS|POTCAR|WAVECAR|CHGCAR|CHG|OSZICAR|XDATCAR|DOSCAR|EIGENVAL|PROCAR|IBZKPT|REPORT|PCDAT|WAVEDER|"
    r"LOCPOT|ELFCAR|AECCAR[012]|vaspout\.h5|vasprun\.xml|OUTCAR|POSCAR|CONTCAR)(\.gz)?", re.IGNORECASE,
)  # fmt: skip
"""Files that VASP reads and writes: beside the output of a run they belong to it."""
XYZ = (".xyz", ".extxyz")
TABLES = (".csv", ".parquet")
DATASET_FILES = ("defects.csv.gz", "defects.csv")
"""The tables that make a folder a dataset in the 2DMD layout."""
BY_NAME = ("table", "json", "archive")
"""Formats that are not taken from within a folder: their files may hold anything."""
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Folder:
    """What is in and below a folder: its formats, and files left aside that hold data of another format."""

    formats: list[str]
    aside: list[str] = field(default_factory=list)


def files_below(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder from the path down with its plain files, sorted; hidden ones and linked folders left out.

    Raises InputDataError where one cannot be read.
    """
    waiting = [str(path)]
    while waiting:
        folder = waiting.pop()
        files, below = [], []
        with reading(folder), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif _is_file(entry):
                    files.append(entry.name)
        yield folder, sorted(files)
        waiting += sorted(below, reverse=True)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a plain file or a link to one; a link to itself is not."""
    try:
        return entry.is_file()
    except OSError:
        return False


def unpacked_name(name: str) -> str:
    """A file's name without the ending that says how it is packed."""
    return next((name[: -len(end)] for end in PACKED if name.lower().endswith(end)), name)


def format_of_name(name: str) -> str | None:
    """The format that a file's name promises, plain or gzipped; None where it promises none."""
    lower = name.lower()
    plain = unpacked_name(lower)
    if name in RUN_FILES or lower in RUN_FILES:
        return "vasp"
    if plain.endswith(STRUCTURE_SUFFIXES) or _POSCAR_NAME.fullmatch(plain):
        return "structure"
    if lower.endswith(XYZ):
        return "ase"
    if lower.endswith(TABLES):
        return "table"
    if plain.endswith(".json"):
        return "json"
    return "archive" if lower.endswith(".zip") else None


def format_of_file(path: Path) -> str:
    """The format of one file by its name, else by its first bytes. Raises InputDataError where none fits."""
    found = format_of_name(path.name)
    if found == "archive":
        return "2dmd"
    with reading(str(path)):
        if found is None and zipfile.is_zipfile(path):
            return "2dmd"
        if found is None and is_sqlite(path):
            return "ase"
    if found is None:
        raise InputDataError(
            "is in no format that is known; give a 2DMD archive or folder, VASP runs, an ASE database or "
            "extended xyz file, a table with --mapping, JSON, or CIF or POSCAR files", path=str(path),
        )  # fmt: skip
    return found


def is_sqlite(path: Path | str) -> bool:
    """Whether the file is an SQLite database."""
    with open(path, "rb") as stream:  # noqa: PTH123  (a folder's files come as text)
        return stream.read(len(_SQLITE)) == _SQLITE


def survey(path: Path) -> Folder:
    """The formats in and below a folder. Raises InputDataError where there is none."""
    folders = list(files_below(path))
    if not any(files for _, files in folders) and len(folders) == 1:
        raise InputDataError("is an empty folder", path=str(path))
    roots = [folder for folder, files in folders if any(name in files for name in DATASET_FILES)]
    formats, aside = ["2dmd"] if roots else [], []
    for folder, files in folders:
        if roots and any(folder == root or folder.startswith(root + os.sep) for root in roots):
            continue
        for name, found in _formats(folder, files):
            if found is None or found in BY_NAME or roots:
                aside.append(os.path.join(folder, name))  # noqa: PTH118
            elif found not in formats:
                formats.append(found)
    if not formats:
        raise InputDataError(_nothing(aside), path=str(path))
    return Folder(sorted(formats), aside)


def _formats(folder: str, files: list[str]) -> Iterator[tuple[str, str | None]]:
    """Files with their formats, None where none is known; files that belong to a run's output are left out."""
    is_run = any(name in RUN_FILES for name in files)
    for name in files:
        found = format_of_name(name)
        if found is None and name.lower().endswith(".db"):
            with reading(folder, name):
                found = "ase" if is_sqlite(os.path.join(folder, name)) else None  # noqa: PTH118
        if is_run and RUN_BESIDE.fullmatch(name) and name not in RUN_FILES:
            continue
        yield name, None if is_run and found == "structure" else found


def _nothing(aside: list[str]) -> str:
    by_name = [path for path in aside if format_of_name(Path(path).name) in BY_NAME]
    if by_name:
        return (
            f"holds {some(by_name)}: such files are read where they are given by name (tables with --mapping)"
        )
    return (
        "is in no format that is known: it holds no 2DMD dataset, VASP run, ASE database, extended xyz, CIF or "
        "POSCAR file"
    )


def some(paths: Sequence[str], most: int = 3) -> str:
    """The names of a few files, and how many more there are."""
    names = ", ".join(Path(path).name for path in paths[:most])
    return f"{names} and {len(paths) - most} more" if len(paths) > most else names
