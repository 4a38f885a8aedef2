"""What people have besides the public archive: VASP runs, ASE files, tables, JSON, loose structures."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import polars as pl
import pytest
from support.builders import cif, crystal, make_archive, shared
from support.vasp_files import vasprun

from defectdb.db import MEMORY, open_database
from defectdb.errors import InputDataError, UsageError
from defectdb.ingest import Options, load

REFERENCE = """
[potentials]
B = -6.704
N = -8.324
C = -9.226

[[pristine]]
material = "BN"
supercell = "5x5x1"
energy = -440.0
"""
ENERGIES = {"vacancy": -430.0, "carbon": -441.0}
"""One boron vacancy, one carbon on nitrogen."""
EXPECTED = {"vacancy": -430.0 + 440.0 - 6.704, "carbon": -441.0 + 440.0 - 8.324 + 9.226}


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture
def own(tmp_path):
    """A unit cell and energies of one's own, and two defective 5x5x1 cells of h-BN."""
    (tmp_path / "energies.toml").write_text(REFERENCE)
    shutil.copy(shared("unit_cells", "BN.cif"), tmp_path / "BN.cif")
    host = crystal("BN", (5, 5, 1))
    vacancy = (host.elements[1:], host.frac[1:], host.lattice)
    carbon = (["C" if k == 30 else e for k, e in enumerate(host.elements)], host.frac, host.lattice)
    options = Options(unit_cells=(tmp_path / "BN.cif",), reference=tmp_path / "energies.toml")
    return options, {"vacancy": vacancy, "carbon": carbon}


def check(db, report, names=("vacancy", "carbon")):
    """Both structures are in, with the right defects and formation energies."""
    assert report.rejected == {}
    assert report.loaded == 2
    rows = db.frame(
        "SELECT s.structure_id, d.label, w.formation_energy FROM structures AS s "
        "JOIN defects AS d USING (structure_id) JOIN targets_wide AS w USING (structure_id) "
        "ORDER BY d.label DESC"
    ).rows()
    vacancy, carbon = rows
    assert vacancy == (names[0], "Vac_B", pytest.approx(EXPECTED["vacancy"], abs=1e-9))
    assert carbon == (names[1], "C_N", pytest.approx(EXPECTED["carbon"], abs=1e-9))
    assert db.frame("SELECT host_id, supercell FROM hosts").rows() == [("BN-5x5x1", "5x5x1")]


def write_runs(folder, structures, **options):
    spins = [
        [(-3.0, 1.0), (-1.0, 1.0), (0.5, 0.0), (2.0, 0.0)],
        [(-3.0, 1.0), (-0.8, 0.0), (0.7, 0.0), (2.0, 0.0)],
    ]
    for name, (elements, frac, lattice) in structures.items():
        (folder / name).mkdir(parents=True)
        text = vasprun(elements, frac, lattice, energy=ENERGIES[name], spins=spins, **options)
        (folder / name / "vasprun.xml").write_text(text)


def test_vasp_runs_give_energies_levels_per_spin_and_magnetisation(db, tmp_path, own):
    options, structures = own
    write_runs(tmp_path / "runs", structures)
    [report] = load(db, [tmp_path / "runs"], options=options)
    assert report.format == "vasp"
    check(db, report)
    rows = db.frame("SELECT target, spin, value FROM targets WHERE structure_id = 'carbon'").rows()
    found = {(target, spin): value for target, spin, value in rows}
    assert found["homo", "majority"] == -1.0
    assert found["lumo", "minority"] == -0.8
    assert found["homo", ""] == -1.0
    assert found["homo_lumo_gap", "majority"] == 1.5
    assert found["total_mag", ""] == 1.0
    assert found["fermi_level", ""] == -0.5


def test_gzipped_runs_in_parallel_processes_are_the_same(db, tmp_path, own):
    from defectdb.ingest.readers import vasp

    _, structures = own
    write_runs(tmp_path / "runs", structures)
    plain = list(vasp.read([tmp_path / "runs"]))
    for file in list((tmp_path / "runs").rglob("vasprun.xml")):
        file.with_suffix(".xml.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    parallel = list(vasp.read([tmp_path / "runs"], processes=2))
    assert [(e.structure_id, e.digest, e.numbers) for e in plain] == [
        (e.structure_id, e.digest, e.numbers) for e in parallel
    ]


def test_the_relaxed_structure_of_a_run_is_matched_and_its_displacement_kept(db, tmp_path, own):
    options, structures = own
    elements, frac, lattice = structures["vacancy"]
    moved = frac.copy()
    moved[5] += np.array([0.25, 0, 0]) @ np.linalg.inv(lattice)
    write_runs(tmp_path / "runs", {"vacancy": (elements, frac, lattice)}, final=moved)
    load(db, [tmp_path / "runs"], options=options)
    assert db.frame("SELECT relaxed, max_displacement FROM structures").row(0) == (
        True,
        pytest.approx(0.25, abs=1e-3),
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[: len(text) // 2], "unreadable run"),
        (lambda text: "", "unreadable run"),
        (
            lambda text: text.replace("<modeling>", '<!DOCTYPE x [<!ENTITY a "b">]><modeling>'),
            "unreadable run",
        ),
        (lambda text: text.replace('name="NELM">60', 'name="NELM">2'), "unconverged run"),
    ],
)
def test_truncated_hostile_and_unconverged_runs_are_rejects(db, tmp_path, own, change, reason):
    options, structures = own
    write_runs(tmp_path / "runs", structures)
    file = tmp_path / "runs" / "carbon" / "vasprun.xml"
    file.write_text(change(file.read_text()))
    [report] = load(db, [tmp_path / "runs"], options=options)
    assert (report.loaded, report.rejected) == (1, {reason: 1})


def test_levels_take_the_occupation_as_an_option():
    from defectdb.ingest.readers.vasprun import levels

    states = np.array([[[-1.0, 1.0], [-0.2, 0.3], [1.0, 0.0]]])
    assert levels(states) == {"homo": -1.0, "lumo": -0.2, "homo_lumo_gap": 0.8}
    assert levels(states, 0.1)["homo"] == -0.2
    assert levels(states[:, :1]) == {}


def test_ase_databases_and_extended_xyz(db, tmp_path, own):
    import ase.db
    import ase.io
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    options, structures = own
    frames = []
    with ase.db.connect(tmp_path / "mine.db") as connection:
        for name, (elements, frac, lattice) in structures.items():
            atoms = Atoms(elements, scaled_positions=frac, cell=lattice, pbc=[True, True, False])
            atoms.calc = SinglePointCalculator(atoms, energy=ENERGIES[name])
            connection.write(atoms, name=name, homo=-1.5)
            atoms.info["name"] = name
            frames.append(atoms)
    [report] = load(db, [tmp_path / "mine.db"], options=options)
    assert report.format == "ase"
    check(db, report)
    assert db.value("SELECT count(*) FROM targets WHERE target = 'homo'") == 2
    ase.io.write(tmp_path / "mine.extxyz", frames)
    with open_database(MEMORY) as other:
        [report] = load(other, [tmp_path / "mine.extxyz"], options=options)
        check(other, report)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["file", "cif"])
def test_tables_with_a_mapping(db, tmp_path, own, kind, column):
    options, structures = own
    rows = []
    for name, (elements, frac, lattice) in structures.items():
        text = cif(type(crystal("BN", (5, 5, 1)))(lattice, elements, frac), []).decode()
        (tmp_path / f"{name}.cif").write_text(text)
        rows.append({"label": name, "where": f"{name}.cif", "text": text, "E_tot": ENERGIES[name]})
    frame = pl.DataFrame(rows)
    path = tmp_path / f"mine.{kind}"
    frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
    source = "where" if column == "file" else "text"
    (tmp_path / "columns.toml").write_text(
        f'id = "label"\n{column} = "{source}"\n[targets]\nenergy = "E_tot"\n'
    )
    with_mapping = Options(**{**_fields(options), "mapping": tmp_path / "columns.toml"})
    [report] = load(db, [path], options=with_mapping)
    assert report.format == "table"
    check(db, report)


def _fields(options):
    return {name: getattr(options, name) for name in ("unit_cells", "reference")}


def test_a_table_without_a_mapping_or_with_a_wrong_one_says_what_is_needed(db, tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="needs --mapping"):
        load(db, [tmp_path / "mine.csv"])
    (tmp_path / "m.toml").write_text('file = "a"\ncif = "b"\n')
    with pytest.raises(InputDataError, match="write file = COLUMN or cif = COLUMN"):
        load(db, [tmp_path / "mine.csv"], options=Options(mapping=tmp_path / "m.toml"))
    (tmp_path / "m.toml").write_text('file = "x"\n')
    with pytest.raises(InputDataError, match="lacks the column x; it has"):
        load(db, [tmp_path / "mine.csv"], options=Options(mapping=tmp_path / "m.toml"))


def test_a_table_reads_no_file_outside_its_folder(db, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.cif").write_text("data_x")
    (tmp_path / "in" / "mine.csv").write_text("f\n../secret.cif\n/etc/passwd\n")
    (tmp_path / "m.toml").write_text('file = "f"\n')
    [report] = load(db, [tmp_path / "in" / "mine.csv"], options=Options(mapping=tmp_path / "m.toml"))
    assert report.rejected == {"broken row": 2}


@pytest.mark.parametrize("packed", [False, True])
def test_pymatgen_json_is_read_by_shape_and_imports_nothing(db, tmp_path, own, packed):
    from pymatgen.core import Structure

    options, structures = own
    entries = []
    for name, (elements, frac, lattice) in structures.items():
        data = Structure(lattice, elements, frac).as_dict()
        entries.append(
            {
                "@module": "os",
                "@class": "system",
                "entry_id": name,
                "energy": ENERGIES[name],
                "structure": data,
            }
        )
    text = json.dumps(entries).encode()
    path = tmp_path / ("mine.json.gz" if packed else "mine.json")
    path.write_bytes(gzip.compress(text) if packed else text)
    [report] = load(db, [path], options=options)
    assert report.format == "json"
    check(db, report)


def test_structures_without_energies_of_their_own_get_no_formation_energy(db, tmp_path, own):
    """Neither the stored host's energy nor another dataset's potentials are mixed in."""
    load(db, [make_archive("BN", structures=2, size=(5, 5, 1)).write(tmp_path / "a.zip")])
    _, structures = own
    write_runs(tmp_path / "runs", structures)
    [report] = load(db, [tmp_path / "runs"])
    assert report.loaded == 2
    assert db.value("SELECT count(*) FROM targets JOIN structures USING (structure_id) "
                    "WHERE target LIKE 'formation%' AND dataset_id = 'runs'") == 0  # fmt: skip
    assert db.value("SELECT count(*) FROM targets WHERE target = 'energy' AND structure_id = 'carbon'") == 1


@pytest.mark.parametrize("matrix", [[[4, 1], [-1, 3]], [[5, 0], [2, 4]], [[3, 3], [-3, 6]]])
def test_a_supercell_that_is_no_diagonal_multiple_is_inferred_also_when_rotated(db, tmp_path, matrix):
    from pymatgen.core import Structure

    cell = crystal("BN", (1, 1, 1))
    structure = Structure(cell.lattice, cell.elements, cell.frac)
    structure.make_supercell([[*matrix[0], 0], [*matrix[1], 0], [0, 0, 1]])
    first = next(k for k, site in enumerate(structure) if site.specie.symbol == "N")
    structure.replace(first, "C")
    structure.remove_sites([next(k for k, site in enumerate(structure) if site.specie.symbol == "B")])
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned = Structure(structure.lattice.matrix @ turn, structure.species, structure.frac_coords)
    (tmp_path / "turned.vasp").write_text(turned.to(fmt="poscar"))
    shutil.copy(shared("unit_cells", "BN.cif"), tmp_path / "BN.cif")
    [report] = load(db, [tmp_path / "turned.vasp"], options=Options(unit_cells=(tmp_path / "BN.cif",)))
    assert (report.loaded, report.rejected) == (1, {})
    assert db.frame("SELECT label FROM defects ORDER BY idx")["label"].to_list() == ["C_N", "Vac_B"]
    assert db.value("SELECT n_sites FROM hosts") == 2 * round(abs(np.linalg.det(matrix)))
    assert db.value("SELECT material_id FROM hosts") == "BN"


def test_a_folder_of_cif_files_is_matched_to_stored_hosts(db, tmp_path):
    archive = make_archive("GaSe", structures=6)
    load(db, [archive.write(tmp_path / "a.zip")])
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in archive.cifs.items():
        (folder / f"my_{name}").write_bytes(text)
    (folder / "broken.cif").write_text("data_")
    [report] = load(db, [folder])
    assert (report.dataset_id, report.format, report.loaded) == ("mine", "structure", 6)
    assert report.rejected == {"broken structure file": 1}
    pairs = db.frame(
        "SELECT dataset_id, label, round(distance, 6) AS d FROM pairs JOIN structures USING (structure_id)"
    ).partition_by("dataset_id", include_key=False)
    assert pairs[0].sort("label", "d").equals(pairs[1].sort("label", "d"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[potentials]\nXx = 1.0", "must give a number"),
        ("[potentials]\nMo = 'x'", "must give a number"),
        ("[[pristine]]\nmaterial = 'BN'\nsupercell = '5'", "in .*pristine.* of BN"),
        ("[other]\nx = 1", r"write functional = .*\[potentials\]"),
        ("not toml", "no TOML"),
    ],
)  # fmt: skip
def test_a_wrong_reference_file_says_what_is_right(db, tmp_path, text, match):
    (tmp_path / "r.toml").write_text(text)
    (tmp_path / "x.cif").write_text("data_x")
    with pytest.raises(InputDataError, match=match):
        load(db, [tmp_path / "x.cif"], options=Options(reference=tmp_path / "r.toml"))
