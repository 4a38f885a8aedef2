"""Read structures, energies and levels from folders of VASP runs, in parallel processes."""

from __future__ import annotations

import gzip
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from defectdb.errors import DefectDBError
from defectdb.ingest.archives.containers import MAX_STRUCTURE_BYTES, check_growth, read_bounded, reading
from defectdb.ingest.options import OCCUPIED
from defectdb.ingest.readers.cif import Atoms, StructureFileError
from defectdb.ingest.readers.entries import Entry, digest_of
from defectdb.ingest.readers.outcar import read_outcar
from defectdb.ingest.readers.structures import parse_poscar
from defectdb.ingest.readers.vasprun import Run, read_vasprun
from defectdb.ingest.recognise import RUN_FILES, files_below
from defectdb.ingest.records import Floats, Reject

MAX_RUN_BYTES = 2 << 30
PARALLEL_FROM = 8  # runs from which starting processes pays
_UNREADABLE = (SyntaxError, ValueError, LookupError, TypeError, AttributeError, AssertionError, NameError,
               ArithmeticError, EOFError, RuntimeError)  # fmt: skip
"""What pymatgen raises on a file that ends early or lacks a part; XML errors are SyntaxErrors."""


def run_files(path: Path) -> list[Path]:
    """The output to read of every run in and below a folder, or the file itself."""
    if path.is_file():
        return [path]
    found = []
    for folder, names in files_below(path):
        output = next((name for name in RUN_FILES if name in names), None)
        if output is not None:
            found.append(Path(folder) / output)
    return sorted(found, key=lambda file: file.parent)


def read(
    paths: list[Path], *, occupied: float = OCCUPIED, processes: int | None = None
) -> Iterator[Entry | Reject]:
    """Every run in and below the paths; an unconverged, truncated or unreadable one is a reject.

    ``occupied``: occupation (0 to 1) above which a level counts as occupied. ``processes``: how many to use
    (default: one per core from eight runs on).
    """
    runs = [(file, _run_id(path, file)) for path in paths for file in run_files(path)]
    workers = processes or (os.cpu_count() or 1 if len(runs) >= PARALLEL_FROM else 1)
    if workers == 1:
        for file, name in runs:
            yield read_run(file, name, occupied)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        files, names = zip(*runs, strict=True)
        yield from pool.map(read_run, files, names, [occupied] * len(runs), chunksize=4)


def _run_id(root: Path, file: Path) -> str:
    """The folder's path below the root with slashes as dots: unique, and readable in SQL."""
    below = file.parent.relative_to(root) if root.is_dir() else Path()
    return ".".join(below.parts) or file.parent.resolve().name


def read_run(file: Path, structure_id: str, occupied: float) -> Entry | Reject:
    """One run: the numbers of its output, its structure as it was before relaxation, how far it relaxed."""
    from pymatgen.core.structure import StructureError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pymatgen warns of what becomes a reject here
            return _read_run(file, structure_id, occupied)
    except (DefectDBError, StructureFileError) as cause:
        return Reject(str(file), None, "unreadable run", str(cause), structure_id)
    except (StructureError, *_UNREADABLE) as cause:
        what = f"truncated or no {file.name.removesuffix('.gz')}: {cause}"
        return Reject(str(file), None, "unreadable run", what, structure_id)


def _read_run(file: Path, structure_id: str, occupied: float) -> Entry | Reject:
    data = _bytes(file, MAX_RUN_BYTES)
    alone = file.name.startswith("OUTCAR")
    first, last = (_structure(file.parent, name, needed=alone) for name in ("POSCAR", "CONTCAR"))
    if alone:
        known = first or last
        if known is None:
            raise StructureFileError("an OUTCAR needs a POSCAR or CONTCAR beside it")
        run = read_outcar(data, occupied, len(known.numbers))
    else:
        run = read_vasprun(data, occupied)
    if run.unconverged is not None:
        return Reject(str(file), None, "unconverged run", run.unconverged, structure_id)
    atoms, moved = _relaxation(run, first, last)
    digest = digest_of(atoms, moved)
    return Entry(
        structure_id,
        str(file.parent.resolve() / file.name),
        atoms,
        digest,
        run.numbers,
        moved=moved,
        remarks=run.remarks,
    )


def _relaxation(run: Run, first: Atoms | None, last: Atoms | None) -> tuple[Atoms, Floats | None]:
    """The unrelaxed structure and how far every atom of it moved [angstrom]; the relaxed one alone where only
    that is there, None in place of distances.

    POSCAR and CONTCAR come before what the output repeats of them. Raises StructureFileError where they hold
    other atoms.
    """
    start, end = first or run.start, last or run.end
    known = [atoms for atoms in (first, last, run.start, run.end) if atoms is not None]
    if any(atoms.numbers.tolist() != known[0].numbers.tolist() for atoms in known):
        raise StructureFileError("POSCAR, CONTCAR and the output do not hold the same atoms")
    if start is None or end is None:
        return known[0], None
    return start, _distances(start, end)


def _distances(start: Atoms, end: Atoms) -> Floats:
    """How far every atom moved [angstrom] in the relaxed cell, a rigid shift of all of them taken off."""
    delta = end.frac - start.frac
    delta -= np.round(delta)
    delta -= np.median(delta, axis=0)
    delta -= np.round(delta)
    return np.asarray(np.linalg.norm(delta @ end.lattice, axis=1))


def _structure(folder: Path, name: str, *, needed: bool) -> Atoms | None:
    """A POSCAR or CONTCAR, plain or gzipped; None where there is none or it is still empty.

    Where it is not ``needed`` (a vasprun.xml repeats it), one without element symbols or cut short is passed
    over. Raises StructureFileError.
    """
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file() and (data := _bytes(file, MAX_STRUCTURE_BYTES)).strip():
            try:
                return parse_poscar(data)
            except StructureFileError as cause:
                if needed:
                    raise StructureFileError(f"{file.name}: {cause}") from cause
    return None


def _bytes(file: Path, limit: int) -> bytes:
    with reading(str(file)), file.open("rb") as packed:
        size = file.stat().st_size
        if file.suffix == ".gz":
            with gzip.GzipFile(fileobj=packed) as stream:
                return read_bounded(stream, limit, str(file), file.name, size)  # type: ignore[arg-type]
        check_growth(size, size, limit, str(file), file.name)
        return packed.read()
