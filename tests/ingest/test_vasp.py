"""VASP folders with any of vasprun.xml, OUTCAR, POSCAR and CONTCAR: which structure, which numbers, which end."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from support.builders import crystal, shared
from support.vasp_files import outcar, poscar, vasprun

from defectdb.db import MEMORY, open_database
from defectdb.ingest import Options, load

PAIRED = [[(-3.0, 2.0), (-1.0, 2.0), (0.5, 0.0), (2.0, 0.0)]]
SPINS = [
    [(-3.0, 1.0), (-1.0, 1.0), (0.5, 0.0), (2.0, 0.0)],
    [(-3.0, 1.0), (-0.8, 0.0), (0.7, 0.0), (2.0, 0.0)],
]


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture
def vacancy():
    """A 5x5x1 cell of h-BN without its first boron: elements, places, lattice."""
    host = crystal("BN", (5, 5, 1))
    return host.elements[1:], host.frac[1:], host.lattice


def relaxed(structure, angstrom=0.25, atom=5):
    """The same with one atom moved along x, and all of it shifted rigidly."""
    elements, frac, lattice = structure
    moved = frac + np.array([0.01, 0.02, 0.0])
    moved[atom] += np.array([angstrom, 0, 0]) @ np.linalg.inv(lattice)
    return elements, moved, lattice


@pytest.fixture
def ingest(db, tmp_path):
    """Load folders with these files, on h-BN; the report, and the one structure's row if it was loaded."""

    def go(files, **options):
        folder = tmp_path / "runs" / "one"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in files.items():
            data = text.encode()
            (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        shutil.copy(shared("unit_cells", "BN.cif"), tmp_path / "BN.cif")
        [report] = load(
            db, [tmp_path / "runs"], options=Options(unit_cells=(tmp_path / "BN.cif",)), **options
        )
        rows = db.frame(
            "SELECT relaxed, max_displacement, label, frac_x, frac_y, detail FROM structures "
            "JOIN defects USING (structure_id) FULL JOIN rejects ON TRUE"
        )
        return report, rows.row(0, named=True) if rows.height else None

    return go


def run_text(structure, **options):
    return vasprun(*structure, energy=-430.0, spins=SPINS, **options)


def targets(db):
    return {(t, s): v for t, s, v in db.frame("SELECT target, spin, value FROM targets").iter_rows()}


def test_defects_are_found_in_the_poscar_and_displacements_in_the_contcar(ingest, vacancy):
    files = {
        "vasprun.xml": run_text(relaxed(vacancy)),  # a run that was continued: it knows the end alone
        "POSCAR": poscar(*vacancy),
        "CONTCAR": poscar(*relaxed(vacancy)),
    }
    report, row = ingest(files)
    assert (report.loaded, row["label"], row["relaxed"]) == (1, "Vac_B", True)
    assert row["max_displacement"] == pytest.approx(0.25, abs=1e-5)
    _, plain = ingest({**files, "CONTCAR": poscar(*vacancy), "vasprun.xml": run_text(vacancy)})
    assert (plain["relaxed"], plain["max_displacement"]) == (False, pytest.approx(0, abs=1e-5))
    assert (plain["frac_x"], plain["frac_y"]) == (row["frac_x"], row["frac_y"])


def test_a_vacancy_stays_where_the_poscar_has_it_though_a_neighbour_jumps_into_it(ingest, vacancy):
    elements, frac, lattice = vacancy
    hole = crystal("BN", (5, 5, 1)).frac[0]
    jumped = frac.copy()
    second = elements.index("B")
    jumped[second] = hole
    files = {
        "vasprun.xml": run_text(vacancy, final=jumped),
        "POSCAR": poscar(*vacancy),
        "CONTCAR": poscar(elements, jumped, lattice),
    }
    report, row = ingest(files, max_displacement=9.0)
    assert (report.loaded, row["label"]) == (1, "Vac_B")
    assert np.allclose((row["frac_x"], row["frac_y"]), hole[:2], atol=1e-6)
    assert row["max_displacement"] > 2.0
    report, _ = ingest(files)
    assert report.rejected == {"displaced too far": 1}


def test_an_adatom_may_settle_without_counting_as_displaced(ingest):
    host = crystal("BN", (5, 5, 1))
    frac = np.vstack([host.frac, host.frac[0] + [0.0, 0.0, 2.8 / host.lattice[2, 2]]])
    settled = frac.copy()
    settled[-1, 2] -= 1.4 / host.lattice[2, 2]
    start = ([*host.elements, "C"], frac, host.lattice)
    report, row = ingest({"vasprun.xml": run_text(start, final=settled), "POSCAR": poscar(*start)})
    assert (report.rejected, row["label"]) == ({}, "Ad_C")
    assert row["max_displacement"] == pytest.approx(0, abs=1e-5)


def test_a_run_whose_output_is_a_link_to_elsewhere_is_named_by_its_place_in_the_tree(
    db, ingest, vacancy, tmp_path
):
    (tmp_path / "elsewhere.xml").write_text(run_text(vacancy))
    (tmp_path / "runs" / "linked").mkdir(parents=True)
    (tmp_path / "runs" / "linked" / "vasprun.xml").symlink_to(tmp_path / "elsewhere.xml")
    report, _ = ingest({"vasprun.xml": run_text(vacancy, fermi=0.0)})
    assert report.loaded == 2
    assert db.frame("SELECT structure_id FROM structures ORDER BY ALL")["structure_id"].to_list() == [
        "linked",
        "one",
    ]


def test_files_of_different_runs_in_one_folder_are_a_reject(ingest, vacancy):
    host = crystal("BN", (5, 5, 1))
    whole = (host.elements, host.frac, host.lattice)
    report, row = ingest({"vasprun.xml": run_text(vacancy), "POSCAR": poscar(*whole)})
    assert report.rejected == {"unreadable run": 1}
    assert "do not hold the same atoms" in row["detail"]


def test_an_empty_contcar_or_a_poscar_without_symbols_is_passed_over_where_the_run_repeats_it(
    ingest, vacancy
):
    lines = poscar(*vacancy).splitlines()
    old = "\n".join(lines[:5] + lines[6:])
    report, row = ingest({"vasprun.xml": run_text(vacancy), "CONTCAR": "", "POSCAR": old})
    assert (report.loaded, row["label"]) == (1, "Vac_B")


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_folder_with_outcar_and_structures_alone_is_a_run(ingest, db, vacancy, packed):
    files = {
        f"OUTCAR{packed}": outcar([-429.0, -430.0], SPINS, mag=1.25, nsw=20),
        f"POSCAR{packed}": poscar(*vacancy, selective=True),
        f"CONTCAR{packed}": poscar(*relaxed(vacancy), selective=True),
    }
    report, row = ingest(files)
    assert (report.format, report.loaded, report.rejected) == ("vasp", 1, {})
    assert (row["label"], row["relaxed"]) == ("Vac_B", True)
    found = targets(db)
    assert found["energy", ""] == -430.0
    assert found["energy_per_atom", ""] == -430.0 / 49
    assert found["fermi_level", ""] == -0.5
    assert found["total_mag", ""] == 1.25
    assert found["homo", "majority"] == pytest.approx(-0.9)  # the second k-point lies higher by 0.1
    assert found["lumo", "majority"] == pytest.approx(0.5)
    assert found["lumo", "minority"] == pytest.approx(-0.8)


def test_an_outcar_of_paired_spins_counts_two_electrons_a_state(ingest, db, vacancy):
    report, _ = ingest({"OUTCAR": outcar([-429.0, -430.0], PAIRED, nsw=20), "CONTCAR": poscar(*vacancy)})
    assert report.loaded == 1
    found = targets(db)
    assert found["homo", ""] == pytest.approx(-0.9)
    assert found["homo_lumo_gap", ""] == pytest.approx(1.4)
    assert found["fermi_level", ""] == -0.5
    assert ("total_mag", "") not in found


def test_an_outcar_without_bands_brings_no_levels(ingest, db, vacancy):
    text = outcar([-430.0], PAIRED)
    start, end = text.index(" k-point "), text.index("  FREE ENERGIE")
    report, _ = ingest({"OUTCAR": text[:start] + text[end:], "POSCAR": poscar(*vacancy)})
    assert report.loaded == 1
    assert {t for t, _ in targets(db)} == {"energy", "energy_per_atom", "fermi_level"}


@pytest.mark.parametrize(
    ("options", "reason", "detail"),
    [
        ({"electrons": False}, "unconverged run", "the electrons did not converge"),
        ({"ions": False, "nsw": 2}, "unconverged run", "the ions did not converge"),
        ({"end": False}, "unreadable run", "ends before the run did"),
    ],
)
def test_an_outcar_that_did_not_converge_or_end_is_a_reject(ingest, vacancy, options, reason, detail):
    report, row = ingest({"OUTCAR": outcar([-429.0, -430.0], SPINS, **options), "POSCAR": poscar(*vacancy)})
    assert (report.loaded, report.rejected) == (0, {reason: 1})
    assert detail in row["detail"]


def test_a_molecular_dynamics_or_static_run_needs_no_relaxed_ions(ingest, vacancy):
    text = outcar([-430.0], SPINS, nsw=5, ions=False).replace("IBRION =       2", "IBRION =       0")
    report, _ = ingest({"OUTCAR": text, "POSCAR": poscar(*vacancy)})
    assert report.loaded == 1


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({}, "an OUTCAR needs a POSCAR or CONTCAR beside it"),
        ({"POSCAR": "nonsense"}, "POSCAR: no POSCAR"),
    ],
)
def test_an_outcar_without_a_structure_says_what_is_missing(ingest, files, detail):
    report, row = ingest({"OUTCAR": outcar([-430.0], SPINS), **files})
    assert report.rejected == {"unreadable run": 1}
    assert detail in row["detail"]


def test_the_numbers_of_an_outcar_are_those_of_the_vasprun_of_the_same_run(ingest, db, vacancy):
    ingest({"vasprun.xml": run_text(vacancy), "OUTCAR": "not looked at"})
    expected = targets(db)
    text = outcar([-430.0], SPINS, mag=1.0)
    start = text.index(" k-point     2", text.index(" k-point     1"))
    second = text.index(" spin component 2")
    end = text.index(" k-point     2", second)
    tail = text.index("\n-----", end)
    one_point = text[:start] + text[second:end] + text[tail:]
    ingest({"OUTCAR": one_point, "POSCAR": poscar(*vacancy)})
    assert targets(db) == pytest.approx(expected)
