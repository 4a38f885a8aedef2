"""VASP run folders to structures with energies and levels, read by pymatgen in parallel processes."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.errors import DefectDBError
from defectdb.ingest.cif import Atoms, StructureFileError, atomic_number
from defectdb.ingest.containers import check_growth, read_bounded, reading
from defectdb.ingest.entries import Entry, digest_of
from defectdb.ingest.records import Reject

RUN_FILES = ("vasprun.xml", "vasprun.xml.gz")
OCCUPIED = 0.5  # of one electron per state: the occupation from which a level counts as occupied
_FERMI = re.compile(rb'<i name="efermi">\s*([-+0-9.eE]{1,40})\s*</i>')
MAX_RUN_BYTES = 2 << 30
PARALLEL_FROM = 8  # runs from which starting processes pays
_UNREADABLE = (SyntaxError, ValueError, LookupError, TypeError, AttributeError, AssertionError, NameError,
               ArithmeticError, EOFError, RuntimeError)  # fmt: skip
"""What pymatgen raises on a file that ends early or lacks a part; XML errors are SyntaxErrors."""


def run_files(path: Path) -> list[Path]:
    """The vasprun.xml files in and below a folder, or the file itself."""
    if path.is_file():
        return [path]
    found = sorted(file for name in RUN_FILES for file in path.rglob(name) if file.is_file())
    folders: dict[Path, Path] = {}
    for file in found:
        folders.setdefault(file.parent, file)
    return list(folders.values())


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
    folder = file.resolve().parent
    below = folder.relative_to(root.resolve()) if root.is_dir() else Path(folder.name)
    return ".".join(below.parts) or folder.name


def read_run(file: Path, structure_id: str, occupied: float) -> Entry | Reject:
    """One run. The structure is the relaxed one: its final ionic step."""
    from pymatgen.core.structure import StructureError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pymatgen warns of what becomes a reject here
            return _read_run(file, structure_id, occupied)
    except (DefectDBError, StructureFileError) as cause:
        return Reject(str(file), None, "unreadable run", str(cause), structure_id)
    except (StructureError, *_UNREADABLE) as cause:
        return Reject(
            str(file), None, "unreadable run", f"truncated or no vasprun.xml: {cause}", structure_id
        )


def _read_run(file: Path, structure_id: str, occupied: float) -> Entry | Reject:
    data = _bytes(file)
    _refuse_entities(data)
    run = _parse(data)
    if not run.converged:
        what = "electrons" if not run.converged_electronic else "ions"
        return Reject(str(file), None, "unconverged run", f"the {what} did not converge", structure_id)
    atoms = _atoms(run.final_structure)
    return Entry(structure_id, str(file), atoms, digest_of(atoms), _numbers(run, data, occupied))


def _bytes(file: Path) -> bytes:
    with reading(str(file)), file.open("rb") as packed:
        size = file.stat().st_size
        if file.suffix == ".gz":
            with gzip.GzipFile(fileobj=packed) as stream:
                return read_bounded(stream, MAX_RUN_BYTES, str(file), file.name, size)  # type: ignore[arg-type]
        check_growth(size, size, MAX_RUN_BYTES, str(file), file.name)
        return packed.read()


def _refuse_entities(data: bytes) -> None:
    """VASP writes no entities and no document type: such a file is an attack. Raises StructureFileError."""
    if b"\0" in data[:4096] or b"<!ENTITY" in data or b"<!DOCTYPE" in data:
        raise StructureFileError("declares XML entities or is no plain text; VASP writes no such file")


def _parse(data: bytes) -> Any:
    from pymatgen.io.vasp.outputs import Vasprun

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vasprun.xml"
        path.write_bytes(data)
        return Vasprun(path, parse_dos=False, parse_projected_eigen=False, parse_potcar_file=False)


def _atoms(structure: Any) -> Atoms:
    numbers = [atomic_number(site.specie.symbol) for site in structure]
    return Atoms(
        np.array(structure.lattice.matrix), np.array(numbers, dtype=np.uint8), np.array(structure.frac_coords)
    )


def _numbers(run: Any, data: bytes, occupied: float) -> dict[str, float]:
    """Energy, Fermi level, levels and gap (per spin where there are two), magnetisation."""
    energy = float(run.final_energy)
    numbers = {"energy": energy, "energy_per_atom": energy / len(run.final_structure)}
    if fermi := _FERMI.findall(data):
        numbers["fermi_level"] = float(fermi[-1])  # pymatgen knows it only with the whole density of states
    channels = {spin.name: np.asarray(values) for spin, values in (run.eigenvalues or {}).items()}
    names = {"up": "majority", "down": "minority"}
    for spin, values in channels.items():
        suffix = "" if len(channels) == 1 else f"_{names[spin]}"
        numbers |= {f"{level}{suffix}": value for level, value in levels(values, occupied).items()}
    if len(channels) == 2:
        weights = np.asarray(run.actual_kpoints_weights)
        difference = channels["up"][..., 1].sum(axis=1) - channels["down"][..., 1].sum(axis=1)
        numbers["total_mag"] = float(weights @ difference / weights.sum())
    return {name: value for name, value in numbers.items() if np.isfinite(value)}


def levels(states: np.ndarray[Any, Any], occupied: float = OCCUPIED) -> dict[str, float]:
    """homo, lumo and their difference [eV] of states (k-points, bands, [energy, occupation])."""
    full = states[..., 1] > occupied
    if full.all() or not full.any():
        return {}
    homo, lumo = float(states[..., 0][full].max()), float(states[..., 0][~full].min())
    return {"homo": homo, "lumo": lumo, "homo_lumo_gap": lumo - homo}
