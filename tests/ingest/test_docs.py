"""Every command of docs/ingest.md, run in order on small files of the formats it names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile

import ase.db
import ase.io
import numpy as np
import polars as pl
import pytest
from ase import Atoms
from support.builders import ROOT, Crystal, cif, crystal, make_archive, shared
from support.vasp_files import vasprun

from defectdb.cli import run
from defectdb.db import open_database

PAGE = (ROOT / "docs" / "ingest.md").read_text()
COMMANDS = re.findall(r"^    defectdb (.+)$", PAGE, re.MULTILINE)
FILES = re.findall(r"`([\w-]+\.toml)`:\n\n```toml\n(.*?)```", PAGE, re.DOTALL)


def structures(prefix):
    """A vacancy and a carbon in h-BN, named with the prefix."""
    host = crystal("BN", (5, 5, 1))
    yield f"{prefix}-vacancy", host.elements[1:], host.frac[1:], host.lattice
    yield (
        f"{prefix}-carbon",
        ["C" if k == 30 else e for k, e in enumerate(host.elements)],
        host.frac,
        host.lattice,
    )


def write_runs(folder, prefix="run"):
    for name, elements, frac, lattice in structures(prefix):
        (folder / name).mkdir(parents=True)
        text = vasprun(elements, frac, lattice, energy=-430.0, spins=[[(-1.0, 1.0), (1.0, 0.0)]])
        (folder / name / "vasprun.xml").write_text(text)


def write_cifs(folder, prefix):
    folder.mkdir()
    for name, elements, frac, lattice in structures(prefix):
        (folder / f"{name}.cif").write_bytes(cif(Crystal(lattice, elements, np.array(frac)), []))


def write_ase(folder):
    with ase.db.connect(folder / "mine.db") as connection:
        for name, elements, frac, lattice in structures("row"):
            connection.write(
                Atoms(elements, scaled_positions=frac, cell=lattice), name=name, energy_ev=-430.0
            )
    frames = [
        Atoms(elements, scaled_positions=frac, cell=lattice, info={"name": name})
        for name, elements, frac, lattice in structures("frame")
    ]
    ase.io.write(folder / "mine.extxyz", frames)


def write_table_and_json(folder):
    from pymatgen.core import Structure

    rows = []
    for name, elements, frac, lattice in structures("table"):
        (folder / f"{name}.cif").write_bytes(cif(Crystal(lattice, elements, np.array(frac)), []))
        rows.append({"label": name, "where": f"{name}.cif", "E_tot": -430.0, "gap_eV": 1.5})
    pl.DataFrame(rows).write_csv(folder / "mine.csv")
    entries = [
        {"entry_id": name, "energy": -430.0, "structure": Structure(lattice, elements, frac).as_dict()}
        for name, elements, frac, lattice in structures("entry")
    ]
    (folder / "entries.json").write_text(json.dumps(entries))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything the page speaks of."""
    folder = tmp_path_factory.mktemp("page")
    public = [make_archive("MoS2", structures=4), make_archive("P", structures=4, density="high", prefix="p")]
    for archive in public:
        archive.write(folder / "all")
    with zipfile.ZipFile(folder / "2d-materials-point-defects-all.zip", "w") as packed:
        for file in sorted((folder / "all").rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(folder / "all"))
    make_archive("GaSe", structures=3, prefix="u").write(folder / "unpacked")
    shutil.copy(shared("unit_cells", "BN.cif"), folder / "BN.cif")
    for name, text in FILES:
        (folder / name).write_text(text)
    write_runs(folder / "runs")
    write_runs(folder / "everything" / "runs", "other")
    write_cifs(folder / "everything" / "cifs", "loose")
    write_cifs(folder / "new", "new")
    write_ase(folder)
    write_table_and_json(folder)
    return folder


def test_every_command_of_the_page_does_what_it_says(folder, monkeypatch, capfd):
    assert [name for name, _ in FILES] == ["energies.toml", "columns.toml"]
    assert len(COMMANDS) >= 12
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DEFECTDB_PATH", raising=False)
    for command in COMMANDS:
        assert run(shlex.split(command)) == 0, command
        printed = capfd.readouterr()
        if "--bibtex" in command:
            assert "@article{Kazeev2023" in printed.out
    with open_database(folder / "defects.duckdb", read_only=True) as db:
        counts = dict(db.frame("SELECT dataset_id, n_structures FROM datasets").rows())
        assert db.value("SELECT count(*) FROM rejects") == 0
        energies = db.frame(
            "SELECT dataset_id, count(*) AS n FROM targets JOIN structures USING (structure_id) "
            "WHERE target = 'formation_energy' GROUP BY ALL"
        )
    assert counts == {
        "2dmd-low-MoS2": 4, "2dmd-high-BP_spin_500": 4, "unpacked": 3, "my-runs": 2, "mine": 2, "frames": 2,
        "entries": 2, "everything": 2, "everything-structure": 2,
    } | {"mine": 4}  # fmt: skip
    assert dict(energies.rows())["my-runs"] == 2


def test_the_page_names_every_reason_for_a_reject():
    """Reasons are found where they are written: in the ingest package."""
    text = "".join(file.read_text() for file in sorted((ROOT / "defectdb" / "ingest").rglob("*.py")))
    reasons = set(re.findall(r'Reject\([^"()]*(?:\([^()]*\)[^"()]*)*"([a-z ]+)"', text))
    assert {"no row", "duplicate id", "unknown host", "broken row"} <= reasons
    table = PAGE[PAGE.index("| Reason |") :]
    assert [reason for reason in sorted(reasons) if reason not in table] == []
