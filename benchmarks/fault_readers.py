"""Damaged files for everything that reads files: each ends in what was read or in an error of ours."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import random
import resource
import signal
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.fault_jobs import ended, forked

SLOW = 10.0
"""Seconds that no file may take."""

NAMES = (
    *("CIF", "POSCAR", "extended xyz", "extended xyz with forces", "ASE database", "pymatgen JSON"),
    *("vasprun.xml", "OUTCAR", "OUTCAR with its POSCAR, CONTCAR", "CSV", "Parquet", "mapping (TOML)"),
    *("reference energies (TOML)", "archive (zip)", "members of an archive"),
)
"""What ``readers`` makes. Nothing is read before the trials fork: the threads of polars would not come along."""

Reading = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """One kind of input.

    name     what the table calls it
    files    its files by name, all of them valid
    damaged  the names of those of which one is damaged in each trial
    read     reads the folder in which they lie
    """

    name: str
    files: Mapping[str, bytes]
    damaged: tuple[str, ...]
    read: Reading


class TooSlow(BaseException):
    """Raised by the alarm: no reader may catch it."""


def fuzz_readers(base: Path, count: int) -> None:
    """One line for every reader, each in a process of its own; about one file in ten is as it should be."""
    columns = ("files", "read", "foreign", "over 10 s", "slowest s", "MiB")
    print(f"\n{'reader':<32} " + " ".join(f"{name:>9}" for name in columns), flush=True)
    archive = base / "first.zip"
    for name in NAMES:
        report = base / "readers.txt"
        report.unlink(missing_ok=True)
        code = ended(
            forked(
                lambda name=name, report=report: _fuzz(archive, name, count, report),  # type: ignore[misc]
                base / "readers.log",
            )
        )
        print(report.read_text() if code == 0 else f"{name}: the process ended with {code}", flush=True)


def _fuzz(archive: Path, name: str, count: int, report: Path) -> None:
    from defectdb.errors import DefectDBError

    mutations = importlib.import_module("support.mutations")
    known = readers(archive)
    assert set(known) == set(NAMES)
    reader = known[name]
    folder = report.parent / "damaged"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    source = random.Random(name)
    accepted, slow, slowest = 0, 0, 0.0
    foreign: list[str] = []
    signal.signal(signal.SIGALRM, _give_up)
    reader.read(_written(folder, reader.files))  # so that what it imports is not counted
    for _ in range(count):
        hit = source.choice(reader.damaged)
        edits = [_edit(source, mutations) for _ in range(source.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 4)))]
        _written(folder, {**reader.files, hit: mutations.mutate(reader.files[hit], edits)})
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, SLOW)
        try:
            try:
                reader.read(folder)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            accepted += 1
        except DefectDBError:
            pass
        except TooSlow:
            slow += 1
            foreign.append(f"  over {SLOW:.0f} s: {hit} {edits}")
        except Exception as error:
            foreign.append(f"  {hit} {edits}: {type(error).__name__} {error}"[:400])
        slowest = max(slowest, time.monotonic() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    line = (
        f"{name:<32} {count:>9} {accepted:>9} {len(foreign) - slow:>9} {slow:>9} {slowest:>9.2f} {memory:>9}"
    )
    report.write_text("\n".join([line, *foreign[:5]]))


def _written(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TooSlow


def _edit(source: random.Random, mutations: Any) -> tuple[str, float, int, bytes, bytes]:
    return (
        source.choice(mutations.KINDS),
        source.random(),
        source.randint(1, 40),
        source.choice(mutations.TOKENS),
        source.randbytes(source.randint(0, 8)),
    )


def readers(archive: Path) -> dict[str, Reader]:
    """Every reader by name, with small files made from one archive of the demo."""
    found = [*_structures(archive), *_runs(), *_tables(archive), *_settings(), *_archives(archive)]
    return {reader.name: reader for reader in found}


def _read(entries: Any, form: str, path: Path) -> None:
    """Everything a reader gives as one dataset. Raises an error of ours where all of it was rejected."""
    from defectdb.errors import InputDataError
    from defectdb.ingest.readers.entries import source_from

    source = source_from(entries, [path], form=form, name="x")
    if source.table.is_empty():
        raise InputDataError(source.rejects[0].reason)


def _member(archive: Path, ending: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(ending))
        return opened.read(name)


def _cif(archive: Path) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(_member(archive, "initial.tar.gz"))) as tar:
        first = tar.extractfile(next(member for member in tar if member.isfile()))
        assert first is not None
        return first.read()


def _structures(archive: Path) -> list[Reader]:
    import ase.db
    import ase.io

    from defectdb.ingest.forces.load_configurations import frame_of_file
    from defectdb.ingest.readers import ase as ase_files
    from defectdb.ingest.readers import pymatgen_json, structures

    cif = _cif(archive)
    atoms = ase.io.read(io.StringIO(cif.decode()), format="cif")
    poscar, frames = io.StringIO(), io.StringIO()
    ase.io.write(poscar, atoms, format="vasp", direct=True)
    atoms.info["energy"] = -1.0
    ase.io.write(frames, [atoms, atoms], format="extxyz")
    moving = atoms[:6]
    moving.arrays["forces"] = moving.positions * 0.01
    forces = io.StringIO()
    ase.io.write(forces, [moving] * 2, format="extxyz")
    database = archive.parent / "seed.db"
    if not database.exists():
        with ase.db.connect(database) as connection:
            for _ in range(3):
                connection.write(atoms, homo=-1.0)
    sites = [
        {"species": [{"element": atom.symbol, "occu": 1}], "abc": atom.scaled_position.tolist()}
        for atom in atoms
    ]
    entry = {"energy": -1.5, "structure": {"lattice": {"matrix": atoms.cell.tolist()}, "sites": sites}}
    entries = json.dumps([entry | {"entry_id": "a"}, entry | {"entry_id": "b"}]).encode()
    return [
        _file("CIF", "x.cif", cif, lambda path: _read(structures.read([path]), "structure", path)),
        _file(
            "POSCAR",
            "x.vasp",
            poscar.getvalue(),
            lambda path: _read(structures.read([path]), "structure", path),
        ),
        _file(
            "extended xyz",
            "x.extxyz",
            frames.getvalue(),
            lambda path: _read(ase_files.read([path]), "ase", path),
        ),
        _file("extended xyz with forces", "x.extxyz", forces.getvalue(), frame_of_file),
        _file(
            "ASE database",
            "x.db",
            database.read_bytes(),
            lambda path: _read(ase_files.read([path]), "ase", path),
        ),
        _file(
            "pymatgen JSON", "x.json", entries, lambda path: _read(pymatgen_json.read([path]), "json", path)
        ),
    ]


def _file(name: str, file: str, content: str | bytes, read: Reading) -> Reader:
    data = content if isinstance(content, bytes) else content.encode()
    return Reader(name, {file: data}, (file,), lambda folder: read(folder / file))


def _runs() -> list[Reader]:
    import numpy as np

    from defectdb.ingest.readers import vasp

    texts = importlib.import_module("support.vasp_files")
    elements = ["B", "B", "B", "N", "N", "N", "N"]
    frac = np.array([[(k % 3) / 3, (k // 3) / 3, 0.5] for k in range(7)])
    lattice = np.diag([7.5, 7.5, 20.0])
    bands = [[(-1.0, 1.0), (1.0, 0.0)]]
    run = texts.vasprun(elements, frac, lattice, energy=-3.0, spins=bands, electrons=29.0).encode()
    old = {
        "OUTCAR": texts.outcar([-3.0], [[(-1.0, 2.0), (1.0, 0.0)]]).encode(),
        "POSCAR": texts.poscar(elements, frac, lattice).encode(),
        "CONTCAR": texts.poscar(elements, frac, lattice).encode(),
    }

    def read(folder: Path) -> None:
        _read(vasp.read([folder]), "vasp", folder)

    return [
        Reader("vasprun.xml", {"vasprun.xml": run}, ("vasprun.xml",), read),
        Reader("OUTCAR", old, ("OUTCAR",), read),
        Reader("OUTCAR with its POSCAR, CONTCAR", old, ("POSCAR", "CONTCAR"), read),
    ]


def _tables(archive: Path) -> list[Reader]:
    import polars as pl

    from defectdb.ingest.readers import mapped

    text = _cif(archive).decode()
    frame = pl.DataFrame({"id": ["a", "b"], "text": [text, text], "E": [-1.0, -2.0]})
    csv, parquet = io.BytesIO(), io.BytesIO()
    frame.write_csv(csv)
    frame.write_parquet(parquet)
    mapping = mapped.Mapping(targets={"energy": "E"}, id="id", cif="text")

    def read(path: Path) -> None:
        _read(mapped.read([path], mapping), "table", path)

    return [
        _file(
            "CSV", "x.csv", csv.getvalue(), lambda path: _read(mapped.read([path], mapping), "table", path)
        ),
        _file(
            "Parquet",
            "x.parquet",
            parquet.getvalue(),
            lambda path: _read(mapped.read([path], mapping), "table", path),
        ),
    ]


def _settings() -> list[Reader]:
    from defectdb.ingest.readers import mapped
    from defectdb.ingest.references import read_references

    mapping = b'id = "a"\nfile = "b"\n[targets]\nenergy = "E"\n'
    energies = b'[potentials]\nMo = -1.0\n[[pristine]]\nmaterial = "BN"\nsupercell = "5x5x1"\nenergy = -4.5\n'
    return [
        _file("mapping (TOML)", "x.toml", mapping, mapped.read_mapping),
        _file("reference energies (TOML)", "x.toml", energies, lambda path: read_references([], path)),
    ]


def _archives(archive: Path) -> list[Reader]:
    """The archive damaged as a file, one of its members, and its inner tar; read into one database of the process."""
    with zipfile.ZipFile(archive) as opened:
        members = {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}
    names = {f"{number:03d}-{name.rpartition('/')[2]}": name for number, name in enumerate(sorted(members))}
    plain = {
        file: gzip.decompress(members[name]) if name.endswith(".gz") else members[name]
        for file, name in names.items()
    }
    stored: list[Any] = []

    def load(path: Path) -> None:
        from defectdb.db import MEMORY, open_database
        from defectdb.db.write import remove_dataset
        from defectdb.errors import DefectDBError
        from defectdb.ingest import Options
        from defectdb.ingest import load as load_paths

        if not stored:
            stored.append(open_database(MEMORY).__enter__())
        db, reports = stored[0], []
        try:
            reports = load_paths(db, [path], options=Options())
        except DefectDBError:
            assert db.value("SELECT count(*) FROM datasets") == 0, "refused, and there all the same"
            raise
        finally:
            held = db.value("SELECT count(*) FROM structures"), db.value("SELECT count(*) FROM rejects")
            for report in reports:
                remove_dataset(db, report.dataset_id)
            said = sum(r.loaded for r in reports), sum(r.n_rejected for r in reports)
            assert held == said, f"holds {held} structures and rejects, says {said}"

    def load_members(folder: Path) -> None:
        packed = folder.parent / "packed.zip"
        with zipfile.ZipFile(packed, "w") as out:
            for file, name in names.items():
                data = (folder / file).read_bytes()
                out.writestr(name, gzip.compress(data, 1, mtime=0) if name.endswith(".gz") else data)
        load(packed)

    return [
        _file("archive (zip)", "x.zip", archive.read_bytes(), load),
        Reader("members of an archive", plain, tuple(plain), load_members),
    ]


def support_at_hand() -> None:
    """Make the files that the tests build importable."""
    tests = str(Path(__file__).resolve().parents[1] / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
