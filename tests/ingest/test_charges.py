"""Charged runs: the charge is read from every format, and no charge state is averaged with another."""

from __future__ import annotations

import json

import pytest
from support.builders import Crystal, cif, crystal, shared
from support.vasp_files import neutral, outcar, poscar, vasprun

from defectdb.db import MEMORY, open_database
from defectdb.db.check import check
from defectdb.ingest import Options, load

BANDS = [[(-2.0, 1.0), (1.0, 0.0)]]
REFERENCE = """functional = "PBE"
[potentials]
B = -6.704
N = -8.324
[[pristine]]
material = "BN"
supercell = "5x5x1"
energy = -440.0
e1 = -22.0
e_vbm = -4.663
"""


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture
def vacancy():
    """A 5x5x1 cell of h-BN without its first boron: elements, places, lattice."""
    host = crystal("BN", (5, 5, 1))
    return host.elements[1:], host.frac[1:], host.lattice


@pytest.fixture
def ingest(db, tmp_path):
    """Load a path with the unit cell of h-BN and energies of these calculations; the report."""

    def go(path, reference=REFERENCE, **options):
        (tmp_path / "energies.toml").write_text(reference)
        cell = (shared("unit_cells", "BN.cif"),)
        [report] = load(
            db, [path], options=Options(unit_cells=cell, reference=tmp_path / "energies.toml", **options)
        )
        return report

    return go


def stored(db):
    return dict(db.frame("SELECT structure_id, charge FROM structures ORDER BY ALL").rows())


@pytest.fixture
def three_charges(tmp_path, vacancy):
    """A folder of three runs of one vacancy, with one electron more and one less than neutral; their energies."""
    energies = {-1: -425.5, 0: -430.0, 1: -434.25}
    for charge, energy in energies.items():
        folder = tmp_path / "runs" / f"q{charge}"
        folder.mkdir(parents=True)
        run = vasprun(*vacancy, energy=energy, spins=BANDS, electrons=neutral(vacancy[0]) - charge)
        (folder / "vasprun.xml").write_text(run)
    return tmp_path / "runs", energies


def test_runs_of_three_electron_counts_are_three_charge_states(db, ingest, three_charges):
    path, _ = three_charges
    assert ingest(path).loaded == 3
    assert stored(db) == {"q-1": -1, "q0": 0, "q1": 1}
    labels = db.frame(
        "SELECT label, charge, n_structures FROM one_defect_energies WHERE target = 'energy' ORDER BY 2"
    )
    assert labels.rows() == [("Vac_B^-1", -1, 1), ("Vac_B", 0, 1), ("Vac_B^+1", 1, 1)]
    assert db.frame("SELECT DISTINCT label FROM defects").rows() == [("Vac_B",)]


def test_formation_energies_of_charged_runs_hold_the_valence_band_maximum(db, ingest, three_charges):
    path, energies = three_charges
    report = ingest(path)
    values = dict(db.frame("SELECT structure_id, formation_energy FROM targets_wide").rows())
    for charge, energy in energies.items():
        by_hand = energy + 440.0 - 6.704 + charge * -4.663
        assert values[f"q{charge}"] == pytest.approx(by_hand, abs=1e-9)
    notes = {note.structure_id: note.detail for note in report.notes}
    assert set(notes) == {"q-1", "q1"}
    assert "charge -1; " in notes["q-1"]
    assert "without finite-size correction" in notes["q1"]
    checked = dict(check(db).select("check", "n").rows())
    assert checked["stored formation energies follow from energies and chemical potentials"] == 0


def test_without_a_valence_band_maximum_charged_runs_have_no_formation_energy(db, ingest, three_charges):
    path, _ = three_charges
    report = ingest(path, REFERENCE.replace("e_vbm = -4.663\n", ""))
    values = db.frame("SELECT structure_id, formation_energy FROM targets_wide ORDER BY 1").rows()
    assert values == [("q-1", None), ("q0", pytest.approx(3.296)), ("q1", None)]
    assert {note.detail.split("; ")[1] for note in report.notes} == {
        "no formation energy: e_vbm of BN-5x5x1 is not known"
    }


def test_a_pair_of_defects_is_learned_from_neutral_structures_alone(db, tmp_path, ingest):
    host = crystal("BN", (5, 5, 1))
    keep = [k for k in range(len(host.elements)) if k not in (0, 30)]
    pair = [host.elements[k] for k in keep], host.frac[keep], host.lattice
    for charge in (0, 2):
        folder = tmp_path / "runs" / f"q{charge}"
        folder.mkdir(parents=True)
        run = vasprun(*pair, energy=-400.0, spins=BANDS, electrons=neutral(pair[0]) - charge)
        (folder / "vasprun.xml").write_text(run)
    ingest(tmp_path / "runs")
    assert db.frame("SELECT structure_id FROM pair_energies").rows() == [("q0",)]


@pytest.mark.parametrize("charge", [-2, 0, 1])
def test_an_outcar_tells_the_charge(db, ingest, tmp_path, vacancy, charge):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "POSCAR").write_text(poscar(*vacancy))
    (tmp_path / "runs" / "OUTCAR").write_text(
        outcar([-430.0], [[(-2.0, 2.0), (1.0, 0.0)]], elements=vacancy[0], given=neutral(vacancy[0]) - charge)
    )
    assert ingest(tmp_path / "runs").loaded == 1
    assert stored(db) == {"runs": charge}


@pytest.mark.parametrize(
    ("electrons", "why"), [(0.4, "the charge 0.4 is no whole number"), (60, "no point defect's")]
)
def test_an_electron_count_that_is_no_charge_is_a_reject(db, ingest, tmp_path, vacancy, electrons, why):
    (tmp_path / "runs").mkdir()
    run = vasprun(*vacancy, energy=-430.0, spins=BANDS, electrons=neutral(vacancy[0]) - electrons)
    (tmp_path / "runs" / "vasprun.xml").write_text(run)
    report = ingest(tmp_path / "runs")
    assert report.rejected == {"unreadable run": 1}
    assert why in report.rejects[0].detail


def test_a_table_s_column_charge_is_taken_and_another_where_the_mapping_names_it(
    db, ingest, tmp_path, vacancy
):
    elements, frac, lattice = vacancy
    (tmp_path / "vac.cif").write_bytes(cif(Crystal(lattice, elements, frac), []))
    (tmp_path / "map.toml").write_text('id = "id"\nfile = "file"\n[targets]\nenergy = "E"\n')
    (tmp_path / "a.csv").write_text("id,file,E,charge,q\na,vac.cif,-430,-1,2\nb,vac.cif,-430,,0\n")
    ingest(tmp_path / "a.csv", mapping=tmp_path / "map.toml")
    assert stored(db) == {"a": -1, "b": 0}
    (tmp_path / "map.toml").write_text('id = "id"\nfile = "file"\ncharge = "q"\n[targets]\nenergy = "E"\n')
    ingest(tmp_path / "a.csv", mapping=tmp_path / "map.toml")
    assert stored(db) == {"a": 2, "b": 0}
    (tmp_path / "a.csv").write_text("id,file,E,q\na,vac.cif,-430,0.5\nb,vac.cif,-430,0\n")
    assert ingest(tmp_path / "a.csv", mapping=tmp_path / "map.toml").rejected == {"impossible charge": 1}


def test_json_entries_and_extended_xyz_frames_tell_their_charge(db, ingest, tmp_path, vacancy):
    elements, frac, lattice = vacancy
    structure = {
        "lattice": {"matrix": lattice.tolist()},
        "sites": [
            {"species": [{"element": e, "occu": 1}], "abc": place.tolist()}
            for e, place in zip(elements, frac, strict=True)
        ],
    }
    entries = [
        {"entry_id": "of-structure", "structure": structure | {"charge": -1}, "energy": -430.0},
        {
            "entry_id": "of-entry",
            "structure": structure | {"charge": None},
            "data": {"charge": 1},
            "energy": -430.0,
        },
        {"entry_id": "state", "structure": structure, "charge_state": 2, "energy": -430.0},
        {"entry_id": "neutral", "structure": structure, "energy": -430.0},
    ]
    (tmp_path / "e.json").write_text(json.dumps(entries))
    ingest(tmp_path / "e.json")
    assert stored(db) == {"of-structure": -1, "of-entry": 1, "state": 2, "neutral": 0}
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms(elements, scaled_positions=frac, cell=lattice, pbc=True)
    atoms.info = {"name": "frame", "charge": -1}
    atoms.write(str(tmp_path / "f.extxyz"))
    ingest(tmp_path / "f.extxyz")
    assert stored(db)["frame"] == -1


def test_energies_of_one_label_that_scatter_are_told(db, ingest, tmp_path, vacancy):
    for name, energy in (("a", -430.0), ("b", -430.05), ("c", -427.0)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "vasprun.xml").write_text(vasprun(*vacancy, energy=energy, spins=BANDS))
    [sentence] = ingest(tmp_path / "runs").scatter
    assert sentence == (
        "the 3 structures with Vac_B alone on BN-5x5x1 differ by 3.05 eV in formation energy; their mean is used"
    )
