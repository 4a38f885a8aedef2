"""What real folders hold: other line ends, byte order marks, upper case, gzip, links, locks, other settings."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import warnings
import zipfile

import pytest
from support.builders import Crystal, cif, crystal, make_archive, shared
from support.vasp_files import poscar

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.ingest.readers.cif import StructureFileError
from defectdb.ingest.readers.structures import parse_poscar

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def vacancy():
    """A 5x5x1 cell of h-BN without its first boron: elements, places, lattice."""
    host = crystal("BN", (5, 5, 1))
    return host.elements[1:], host.frac[1:], host.lattice


@pytest.fixture
def text(vacancy):
    elements, frac, lattice = vacancy
    return cif(Crystal(lattice, elements, frac), [])


@pytest.fixture
def ingest(tmp_path, capfd):
    """Run ingest with the unit cell of h-BN; exit code, the labels stored, what was said in one line."""
    shutil.copy(shared("unit_cells", "BN.cif"), tmp_path / "BN.cif")

    def go(*arguments, cell="BN.cif"):
        database = tmp_path / "d.duckdb"
        words = ["--db", str(database), "ingest", *map(str, arguments), "--unit-cell", str(tmp_path / cell)]
        code = run(words)
        said = " ".join(capfd.readouterr().err.split())
        assert "Traceback" not in said
        labels = []
        if code == 0:
            with open_database(database, read_only=True) as db:
                labels = db.frame("SELECT label FROM defects ORDER BY ALL")["label"].to_list()
        return code, labels, said

    return go


def dos(data):
    return BOM + data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vac.CIF", lambda data: data),
        ("vac.cif", dos),
        ("vac.cif.gz", gzip.compress),
        ("Vac.CIF.GZ", gzip.compress),
    ],
)
def test_cif_files_in_any_wrapping_are_read(ingest, tmp_path, text, name, change):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(change(text))
    assert ingest(tmp_path / "in")[:2] == (0, ["Vac_B"])
    with open_database(tmp_path / "d.duckdb") as db:
        assert db.value("SELECT structure_id FROM structures") == name.split(".")[0]


@pytest.mark.parametrize("name", ["POSCAR", "POSCAR.gz", "x.vasp"])
def test_poscar_files_with_selective_dynamics_and_dos_line_ends_are_read(ingest, tmp_path, vacancy, name):
    data = poscar(*vacancy, selective=True).replace("\n", "\r\n").encode()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert ingest(tmp_path / "in")[:2] == (0, ["Vac_B"])


def test_a_cif_with_symmetry_operations_is_expanded(ingest, tmp_path, vacancy):
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    elements, frac, lattice = vacancy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = CifWriter(Structure(lattice, elements, frac), symprec=1e-3)
        writer.write_file(str(tmp_path / "symmetric.cif"))
    assert len(re.findall(r"^  (?:B|N)  ", (tmp_path / "symmetric.cif").read_text(), re.MULTILINE)) < 49
    assert ingest(tmp_path / "symmetric.cif")[:2] == (0, ["Vac_B"])


def test_a_unit_cell_in_another_setting_finds_the_same_defects(ingest, tmp_path, text):
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell = Structure.from_file(str(tmp_path / "BN.cif"))
    cell.make_supercell([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    cell.to(filename=str(tmp_path / "other.cif"))
    (tmp_path / "vac.cif").write_bytes(text)
    assert ingest(tmp_path / "vac.cif", cell="other.cif")[:2] == (0, ["Vac_B"])


def test_an_archive_with_dos_line_ends_and_byte_order_marks_is_read(ingest, tmp_path):
    archive = make_archive("BN", structures=6, size=(5, 5, 1))
    for name, data in archive.members.items():
        if name.endswith(".csv"):
            archive.members[name] = dos(data)
        if name.endswith(".csv.gz"):
            archive.members[name] = gzip.compress(dos(gzip.decompress(data)))
    code, labels, said = ingest(archive.write(tmp_path / "a.zip"))
    assert (code, len(labels)) == (0, sum(len(s.defects) for s in archive.structures))
    assert "6 formation energies recomputed: 0 differ" in said


def test_a_mapping_with_a_byte_order_mark_and_a_table_with_semicolons(ingest, tmp_path, text):
    (tmp_path / "vac.cif").write_bytes(text)
    (tmp_path / "map.toml").write_bytes(dos(b'id = "label"\nfile = "where"\n'))
    (tmp_path / "mine.csv").write_bytes(dos(b"label,where\nq,vac.cif\n"))
    assert ingest(tmp_path / "mine.csv", "--mapping", tmp_path / "map.toml")[:2] == (0, ["Vac_B"])
    (tmp_path / "mine.csv").write_bytes(b"label;where\nq;vac.cif\n")
    assert ingest(tmp_path / "mine.csv", "--mapping", tmp_path / "map.toml")[0] == 0
    (tmp_path / "mine.csv").write_bytes(b"label;where,\nq;vac.cif,\n")
    code, _, said = ingest(tmp_path / "mine.csv", "--mapping", tmp_path / "map.toml")
    assert code == 3
    assert "separate columns by commas" in said


def test_a_zip_in_a_zip_is_named(ingest, tmp_path):
    make_archive("BN", structures=1, size=(5, 5, 1)).write(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "a.zip", "a.zip")
    code, _, said = ingest(tmp_path / "outer.zip")
    assert code == 3
    assert "holds another archive, a.zip: unpack it and ingest what is in it" in said


def test_empty_folders_devices_and_empty_words_are_named(ingest, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, said = ingest(tmp_path / "empty")
    assert (code, "is an empty folder" in said) == (3, True)
    code, _, said = ingest("/dev/zero")
    assert (code, "is neither a file nor a folder" in said) == (3, True)
    code, _, said = ingest("")
    assert (code, "a SOURCE is empty" in said) == (2, True)


def test_links_in_circles_end(ingest, tmp_path, text):
    folder = tmp_path / "loop"
    folder.mkdir()
    (folder / "again").symlink_to(folder)
    (folder / "vac.cif").write_bytes(text)
    (folder / "itself.cif").symlink_to(folder / "itself.cif")
    assert ingest(folder)[:2] == (0, ["Vac_B"])
    assert ingest(folder / "itself.cif")[0] == 3


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_may_not_be_read_is_named(ingest, tmp_path, text, what):
    (tmp_path / "locked").mkdir()
    file = tmp_path / "locked" / "vac.cif"
    file.write_bytes(text)
    locked = file.parent if what == "folder" else file
    locked.chmod(0)
    try:
        if os.access(locked, os.R_OK):
            pytest.skip("this user may read everything")
        code, _, said = ingest(tmp_path / "locked")
    finally:
        locked.chmod(0o700)
    assert code == 3
    assert "cannot be read (Permission denied)" in said


def test_a_vacuum_along_b_and_an_unknown_lattice_are_told_apart(ingest, tmp_path, vacancy):
    elements, frac, lattice = vacancy
    (tmp_path / "b.vasp").write_text(poscar(elements, frac[:, [0, 2, 1]], lattice[[0, 2, 1]]))
    code, labels, said = ingest(tmp_path / "b.vasp")
    assert (code, labels) == (3, [])
    assert "nothing was loaded: 1 reject (unknown host); `defectdb rejects` lists them" in said
    assert "the vacuum along c" in said
    assert "nothing changed" not in said
    (tmp_path / "big.vasp").write_text(poscar(elements, frac, lattice * 1.13))
    _, _, said = ingest(tmp_path / "big.vasp")
    assert "no multiple of a known unit cell (BN) has its lattice and elements" in said


@pytest.mark.parametrize("lines", [2, 4, 7])
def test_a_poscar_that_breaks_off_says_after_which_line(vacancy, lines):
    text = "\n".join(poscar(*vacancy).splitlines()[:lines])
    with pytest.raises(StructureFileError, match=f"it breaks off after line {lines}$"):
        parse_poscar(text.encode())
