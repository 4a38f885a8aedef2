"""Folders as people keep them: runs, structure files, tables and notes side by side and below one another."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from support.builders import Crystal, cif, crystal, make_archive, shared
from support.vasp_files import poscar, vasprun

from defectdb.cli import run
from defectdb.db import open_database


def without(site):
    """A 5x5x1 cell of h-BN without one site: elements, places, lattice."""
    host = crystal("BN", (5, 5, 1))
    keep = [i for i in range(len(host.elements)) if i != site]
    return [host.elements[i] for i in keep], host.frac[keep], host.lattice


def cif_text(site):
    elements, frac, lattice = without(site)
    return cif(Crystal(lattice, elements, frac), [])


def write_run(folder, site):
    folder.mkdir(parents=True)
    (folder / "vasprun.xml").write_text(
        vasprun(*without(site), energy=-1.0, spins=[[(-1.0, 1.0), (1.0, 0.0)]])
    )
    (folder / "POSCAR").write_text(poscar(*without(site)))
    (folder / "CONTCAR").write_text(poscar(*without(site)))


@pytest.fixture
def ingest(tmp_path, capfd):
    """Run ingest with the unit cell of h-BN; exit code, the reports, what was said in one line."""
    shutil.copy(shared("unit_cells", "BN.cif"), tmp_path / "BN.cif")

    def go(*words):
        arguments = ["--db", str(tmp_path / "d.duckdb"), "ingest", *map(str, words), "--json"]
        code = run([*arguments, "--unit-cell", str(tmp_path / "BN.cif")])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if out else [], " ".join(err.split())

    return go


def stored(tmp_path):
    with open_database(tmp_path / "d.duckdb", read_only=True) as db:
        return dict(db.frame("SELECT structure_id, dataset_id FROM structures ORDER BY ALL").iter_rows())


def test_runs_and_structure_files_of_one_folder_are_both_taken(ingest, tmp_path):
    root = tmp_path / "work"
    write_run(root / "runs" / "a", 0)
    (root / "loose").mkdir()
    (root / "loose" / "b.cif").write_bytes(cif_text(1))
    (root / "c.vasp").write_text(poscar(*without(30)))
    code, reports, _ = ingest(root)
    assert code == 0
    assert [(r["dataset_id"], r["format"], r["loaded"]) for r in reports] == [
        ("work", "vasp", 1),
        ("work-structure", "structure", 2),
    ]
    assert stored(tmp_path) == {"runs.a": "work", "b": "work-structure", "c": "work-structure"}
    assert [r["unchanged"] for r in ingest(root)[1]] == [1, 2]


def test_structure_files_of_equal_names_in_sub_folders_get_their_folders_names(ingest, tmp_path):
    for site, folder in enumerate(("x", "y")):
        (tmp_path / "all" / folder).mkdir(parents=True)
        (tmp_path / "all" / folder / "vac.cif").write_bytes(cif_text(site))
        (tmp_path / "all" / folder / "._vac.cif").write_bytes(b"a resource fork")
    (tmp_path / "all" / ".git").mkdir()
    (tmp_path / "all" / ".git" / "old.cif").write_bytes(b"hidden")
    code, [report], _ = ingest(tmp_path / "all", "--name", "n")
    assert (code, report["loaded"], report["rejected"]) == (0, 2, {})
    assert stored(tmp_path) == {"vac": "n", "y.vac": "n"}


def test_a_file_given_beside_its_folder_counts_once(ingest, tmp_path, monkeypatch):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "b.cif").write_bytes(cif_text(1))
    monkeypatch.chdir(tmp_path)
    code, [report], _ = ingest(tmp_path / "all", "all", "./all/", "all/b.cif")
    assert (code, report["loaded"], report["rejected"]) == (0, 1, {})


def test_names_that_are_no_text_are_stored_with_escapes(ingest, tmp_path):
    (tmp_path / "all").mkdir()
    for name in (b"\xff.cif", "ü – q.cif".encode(), b"two\nlines.cif", b"\xfe.vasp"):
        (tmp_path / "all" / os.fsdecode(name)).write_bytes(cif_text(1))
    code, [report], said = ingest(tmp_path / "all")
    assert (code, report["loaded"], report["rejected"]) == (0, 3, {"broken structure file": 1})
    assert sorted(stored(tmp_path)) == [r"\udcff", "two\nlines", "ü – q"]
    assert r"\udcfe.vasp: broken structure file" in said
    assert run(["--db", str(tmp_path / os.fsdecode(b"\xff.duckdb")), "ingest", str(tmp_path / "all")]) == 4


def test_extended_xyz_files_below_a_folder_are_taken(ingest, tmp_path):
    ase = pytest.importorskip("ase")
    (tmp_path / "all" / "deep").mkdir(parents=True)
    elements, frac, lattice = without(0)
    atoms = ase.Atoms(elements, scaled_positions=frac, cell=lattice, pbc=True)
    atoms.write(str(tmp_path / "all" / "deep" / "frames.extxyz"))
    (tmp_path / "all" / "b.cif").write_bytes(cif_text(1))
    code, reports, _ = ingest(tmp_path / "all")
    assert (code, [(r["format"], r["loaded"]) for r in reports]) == (0, [("ase", 1), ("structure", 1)])


def test_what_is_left_aside_is_said(ingest, tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "b.cif").write_bytes(cif_text(1))
    for name in ("mine.csv", "more.json", "old.zip", "README.md", "vac.parquet"):
        (tmp_path / "all" / name).write_bytes(b"")
    code, [report], said = ingest(tmp_path / "all")
    assert (code, report["loaded"]) == (0, 1)
    assert report["left_aside"] == [str(tmp_path / "all" / n) for n in
                                    ("README.md", "mine.csv", "more.json", "old.zip", "vac.parquet")]  # fmt: skip
    assert "left aside, in no format that is known: README.md" in said
    assert (
        "left aside: mine.csv, more.json, old.zip and 1 more; such files are read where they are given"
        in said
    )
    (tmp_path / "all" / "b.cif").unlink()
    code, _, said = ingest(tmp_path / "all")
    assert code == 3
    assert "holds mine.csv, more.json, old.zip and 1 more: such files are read where they are given" in said


def test_files_beside_a_2dmd_folder_are_left_aside(ingest, tmp_path):
    make_archive("BN", structures=2, size=(5, 5, 1)).write(tmp_path / "all")
    (tmp_path / "all" / "b.cif").write_bytes(cif_text(1))
    code, [report], said = ingest(tmp_path / "all")
    assert (code, report["loaded"], report["format"]) == (0, 2, "2dmd")
    assert "left aside: b.cif" in said


def test_a_named_format_reads_only_that(ingest, tmp_path):
    write_run(tmp_path / "all" / "a", 0)
    (tmp_path / "all" / "b.cif").write_bytes(cif_text(1))
    code, [report], _ = ingest(tmp_path / "all", "--format", "structure")
    assert (code, report["loaded"], report["rejected"]) == (0, 2, {"duplicate id": 1})
    code, [report], _ = ingest(tmp_path / "all", "--format", "vasp", "--name", "v")
    assert (code, report["format"]) == (0, "vasp")


def test_an_ingest_that_rejects_everything_is_no_success(ingest, tmp_path):
    (tmp_path / "bad").mkdir()
    for name in ("a.cif", "b.cif"):
        (tmp_path / "bad" / name).write_bytes(b"data_broken\n")
    for words in ((), ("--dry-run",)):
        code, [report], said = ingest(tmp_path / "bad", *words)
        assert (code, report["rejected"]) == (3, {"broken structure file": 2})
        assert "error: nothing was loaded: 2 rejects (broken structure file)" in said
    (tmp_path / "bad" / "c.cif").write_bytes(cif_text(1))
    assert ingest(tmp_path / "bad")[0] == 0
    code, [report], _ = ingest(tmp_path / "bad")
    assert (code, report["unchanged"]) == (0, 1)


def test_an_archive_that_is_rejected_as_a_whole_removes_nothing(ingest, tmp_path):
    archive = make_archive("BN", structures=3, size=(5, 5, 1))
    assert ingest(archive.write(tmp_path / "a.zip"))[0] == 0
    before = stored(tmp_path)
    archive.cifs = dict.fromkeys(archive.cifs, b"broken")
    code, _, said = ingest(archive.write(tmp_path / "a.zip"))
    assert code == 3
    assert "all of it was rejected (broken structure file: " in said
    assert "the 3 stored structures stay" in said
    assert stored(tmp_path) == before
