"""Files as people and programs write them: what is read, what is refused, and with which words."""

from __future__ import annotations

import bz2
import lzma

import numpy as np
import pytest
from support.builders import Crystal, cif, crystal, shared
from support.vasp_files import outcar, poscar, vasprun

from defectdb.cli import run
from defectdb.db import MEMORY, open_database
from defectdb.errors import InputDataError
from defectdb.ingest import Options, load

BANDS = [(-3.0, 1.0), (-2.0, 1.0), (1.0, 0.0), (2.0, 0.0)]


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture
def vacancy():
    """A 4x4x1 cell of h-BN without its first boron: elements, places, lattice."""
    host = crystal("BN", (4, 4, 1))
    return host.elements[1:], host.frac[1:], host.lattice


@pytest.fixture
def text(vacancy):
    """The same as a CIF."""
    elements, frac, lattice = vacancy
    return cif(Crystal(lattice, elements, frac), [])


@pytest.fixture
def ingest(db, tmp_path):
    """Load files of these names and contents with the unit cell of h-BN; the report."""

    def go(files, **options):
        for name, content in files.items():
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        [report] = load(
            db, [tmp_path / "in"], options=Options(unit_cells=(shared("unit_cells", "BN.cif"),), **options)
        )
        return report

    return go


def labels(db):
    rows = db.frame(
        "SELECT s.structure_id, string_agg(label, ' ' ORDER BY label) FROM structures AS s "
        "LEFT JOIN defects USING (structure_key) GROUP BY ALL"
    )
    return dict(rows.rows())


def levels(db, structure):
    rows = db.frame("SELECT target, value FROM targets WHERE structure_id = ?", [structure]).rows()
    return tuple(dict(rows).get(name) for name in ("homo", "lumo", "homo_lumo_gap"))


# ---------------------------------------------------------------- CIF and POSCAR


def test_a_comment_in_latin_1_does_not_hide_a_structure(db, ingest, vacancy, text):
    title = poscar(*vacancy).replace("made for a test", "für Mühsal").encode("latin-1")
    ingest({"a.cif": "# Gitter für die Prüfung\n".encode("latin-1") + text, "b.vasp": title})
    assert labels(db) == {"a": "Vac_B", "b": "Vac_B"}


def test_a_site_of_occupancy_0_is_vacant_and_one_of_a_half_is_a_reject(db, ingest):
    full = cif(crystal("BN", (4, 4, 1)), []).decode()
    row = next(line for line in full.splitlines() if line.strip().startswith("B "))
    half = row.rpartition("1")[0]
    files = {
        f"{name}.cif": full.replace(row, half + share) for name, share in (("empty", "0.0"), ("half", "0.5"))
    }
    report = ingest(files)
    assert labels(db) == {"empty": "Vac_B"}
    assert report.rejected == {"broken structure file": 1}
    assert "partially occupied" in report.rejects[0].detail


def test_a_site_of_occupancy_0_is_vacant_wherever_symmetry_repeats_it(db, ingest):
    host = crystal("BN", (4, 4, 1))
    keep = np.flatnonzero(host.frac[:, 0] < 0.5)
    assert len(keep) == 16
    full = cif(Crystal(host.lattice, [host.elements[k] for k in keep], host.frac[keep]), []).decode()
    full = full.replace("'x, y, z'\n", "'x, y, z'\n 2 'x+1/2, y, z'\n", 1)
    assert "x+1/2" in full
    row = next(line for line in full.splitlines() if line.strip().startswith("B "))
    report = ingest({"full.cif": full, "empty.cif": full.replace(row, row.rpartition("1")[0] + "0")})
    assert report.rejects == ()
    assert labels(db) == {"full": None, "empty": "Vac_B Vac_B"}


def test_poscars_by_their_usual_names_are_read_and_other_packing_is_told(db, ingest, vacancy):
    plain = poscar(*vacancy).encode()
    names = ("POSCAR-1", "SPOSCAR", "V_B_POSCAR", "poscar", "relaxed.CONTCAR")
    report = ingest(
        dict.fromkeys(names, plain) | {"POSCAR-2.bz2": bz2.compress(plain), "c.vasp.xz": lzma.compress(plain)}
    )
    assert set(labels(db)) == {"POSCAR-1", "SPOSCAR", "V_B_POSCAR", "poscar", "relaxed"}
    assert sorted(reject.detail.partition(";")[0] for reject in report.rejects) == [
        "is packed as .bz2", "is packed as .xz",
    ]  # fmt: skip


def test_every_file_of_a_folder_is_read_refused_or_named(db, tmp_path, vacancy, text):
    run_text = vasprun(*vacancy, energy=-1.0, spins=[BANDS]).encode()
    read = {"a.cif": text, "run/vasprun.xml": run_text}
    of_the_run = ("run/INCAR", "run/POTCAR", "run/OUTCAR", "run/WAVECAR")
    others = ("b.xyz.bak", "notes.txt", "run/job.out", "run/other.cif", "run/vasprun.xml.bz2", "t.csv")
    for name, content in {**read, **dict.fromkeys((*of_the_run, *others), b"x")}.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    reports = load(db, [tmp_path / "in"], options=Options(unit_cells=(shared("unit_cells", "BN.cif"),)))
    assert sum(report.loaded for report in reports) == 2
    aside = {str(path).removeprefix(f"{tmp_path}/in/") for report in reports for path in report.aside}
    assert aside == set(others)


def test_the_forms_of_poscar_that_programs_write(db, ingest, vacancy):
    _, frac, lattice = vacancy
    lines = poscar(*vacancy).splitlines()
    volume = abs(np.linalg.det(lattice))
    negative = [*lines[:1], f"{-volume}", *lines[2:]]
    three = [*lines[:1], "2.0 2.0 0.5", *(" ".join(map(str, v / [2, 2, 0.5])) for v in lattice), *lines[5:]]
    cartesian = [*lines[:7], "Cartesian", *(" ".join(map(str, place)) for place in frac @ lattice)]
    hashes = [*lines[:5], "B/0a9b8c7d6e N_s/", *lines[6:]]
    forms = {"negative": negative, "three": three, "cartesian": cartesian, "hashes": hashes}
    ingest({f"{name}.vasp": "\n".join(form) + "\n" for name, form in forms.items()})
    assert labels(db) == dict.fromkeys(forms, "Vac_B")


def test_cifs_with_charged_symbols_and_with_blocks_without_atoms(db, ingest, text):
    charged = text.decode().replace("\nB ", "\nB3+ ").replace("\nN ", "\nN-3 ")
    assert charged.count("B3+") == 15
    several = "data_global\n_publ_author 'x'\n" + text.decode()
    quoted = text.decode().replace("loop_", "_note\n;\ndata_none\n;\nloop_", 1)
    ingest({"charged.cif": charged, "global.cif": several, "quoted.cif": quoted})
    assert labels(db) == dict.fromkeys(("charged", "global", "quoted"), "Vac_B")


# ---------------------------------------------------------------- VASP


def test_a_run_without_a_finite_energy_is_a_reject(db, ingest, vacancy):
    sound = vasprun(*vacancy, energy=-300.0, spins=[BANDS])
    report = ingest(
        {"ok/vasprun.xml": sound, "stars/vasprun.xml": sound.replace("-300.0", "****************")}
    )
    assert set(labels(db)) == {"ok"}
    assert report.rejected == {"unreadable run": 1}


@pytest.mark.parametrize(("version", "converged"), [("5.4.4", False), ("6.3.0", True)])
def test_a_vasp_5_run_that_used_all_electronic_steps_did_not_converge(ingest, vacancy, version, converged):
    text = outcar([-300.0], [[(-2.0, 2.0), (1.0, 0.0)]], version=version, cycles=60)
    report = ingest({"a/OUTCAR": text, "a/POSCAR": poscar(*vacancy)})
    assert (report.loaded, report.rejected) == ((1, {}) if converged else (0, {"unconverged run": 1}))


def test_a_vasp_5_run_with_steps_to_spare_converged(ingest, vacancy):
    text = outcar([-299.0, -300.0], [[(-2.0, 2.0), (1.0, 0.0)]], version="5.4.4", cycles=59)
    assert ingest({"a/OUTCAR": text, "a/POSCAR": poscar(*vacancy)}).loaded == 1


@pytest.mark.parametrize("occupations", [(1.0, 1.0, 0.0, 0.0), (1.0, 1.02, -0.02, 0.0)])
def test_a_spin_orbit_outcar_has_one_electron_per_state(db, ingest, vacancy, occupations):
    bands = [(energy, full) for (energy, _), full in zip(BANDS, occupations, strict=True)]
    text = outcar([-300.0], [bands], noncollinear=True)
    ingest({"a/OUTCAR": text, "a/POSCAR": poscar(*vacancy)})
    homo, lumo, gap = levels(db, "a")  # the second k-point lies 0.1 eV higher
    assert (homo, lumo, gap) == pytest.approx((-1.9, 1.0, 2.9))


def test_points_of_no_weight_with_occupations_of_their_own_are_left_out(db, ingest, vacancy):
    """Of each band the states at the weighted point and at the other one."""
    path = [(-3.0, 1.0), (-2.9, 1.0), (-2.0, 1.0), (-1.8, 1.0), (1.0, 0.0), (0.7, 0.0)]
    empty = [(energy, full if k % 2 == 0 else 0.0) for k, (energy, full) in enumerate(path)]
    files = {
        f"{name}/vasprun.xml": vasprun(*vacancy, energy=-300.0, spins=[bands], weights=(1.0, 0.0))
        for name, bands in (("path", path), ("empty", empty))
    }
    ingest(files)
    assert levels(db, "path") == pytest.approx((-1.8, 0.7, 2.5))
    assert levels(db, "empty") == pytest.approx((-2.0, 1.0, 3.0))


def test_levels_whose_occupations_contradict_them_are_left_out_with_a_note(db, ingest, vacancy):
    report = ingest(
        {"a/vasprun.xml": vasprun(*vacancy, energy=-300.0, spins=[[(-3.0, 0.0), (-2.0, 1.0), (1.0, 0.0)]])}
    )
    assert levels(db, "a") == (None, None, None)
    assert [note.text for note in report.notes] == [
        "numbers left out: no levels: occupied states lie above empty ones"
    ]
    assert db.value("SELECT count(*) FROM targets WHERE target = 'energy'") == 1


def test_a_band_across_the_fermi_level_is_split_where_it_is_half_full(db, ingest, vacancy):
    bands = [(-3.0, 1.0), (-3.0, 1.0), (-1.6, 1.0), (-0.95, 0.27)]
    ingest({"a/vasprun.xml": vasprun(*vacancy, energy=-300.0, spins=[bands], weights=(0.5, 0.5))})
    assert levels(db, "a") == pytest.approx((-1.6, -0.95, 0.65))


# ---------------------------------------------------------------- tables


@pytest.fixture
def table(db, tmp_path, text):
    """Load a table beside one structure file ``v.cif``, by a mapping of energy and gap; the report."""
    (tmp_path / "v.cif").write_bytes(text)
    (tmp_path / "map.toml").write_text(
        'id = "label"\nfile = "where"\n[targets]\nenergy = "E_tot"\nhomo_lumo_gap = "gap"\n'
    )

    def go(content):
        (tmp_path / "t.csv").write_text(content)
        [report] = load(
            db, [tmp_path / "t.csv"],
            options=Options(mapping=tmp_path / "map.toml", unit_cells=(shared("unit_cells", "BN.cif"),)),
        )  # fmt: skip
        return report

    return go


def values(db):
    return db.frame(
        "SELECT structure_id, energy, homo_lumo_gap FROM structures LEFT JOIN targets_wide USING (structure_id) "
        "ORDER BY ALL"
    ).rows()


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_separators_and_decimal_commas_is_read(db, table, mark):
    lines = ["label;where;E_tot;gap", "a;v.cif;-300,25;1,5", "b;v.cif;-3,0125e2;2"]
    table("\n".join(lines).replace(";", mark) + "\n")
    assert values(db) == [("a", -300.25, 1.5), ("b", -301.25, 2.0)]


def test_a_column_that_is_there_twice_is_an_error(table):
    with pytest.raises(InputDataError, match="the column gap is there more than once"):
        table("label,where,E_tot,gap,gap\na,v.cif,-300,1.0,2.0\n")


def test_numbers_that_are_none_are_left_out_with_a_note(db, table):
    report = table("label,where,E_tot,gap\na,v.cif,nan,1.5\nb,v.cif,-300,-0.2\nc,v.cif,-300,\n")
    assert values(db) == [("a", None, 1.5), ("b", -300.0, None), ("c", -300.0, None)]
    assert [(note.structure_id, note.detail) for note in report.notes] == [
        ("a", "E_tot is nan"), ("b", "homo_lumo_gap -0.2 eV is below zero"),
    ]  # fmt: skip


def test_notes_are_listed_by_a_command_and_counted_in_the_report(table, db, tmp_path, capfd):
    table("label,where,E_tot,gap\na,v.cif,nan,1.5\n")
    assert db.frame("SELECT dataset_id, structure_id, note FROM notes").rows() == [
        ("t", "a", "numbers left out: E_tot is nan")
    ]
    words = [
        "--db",
        str(tmp_path / "d.duckdb"),
        "ingest",
        str(tmp_path / "t.csv"),
        "--mapping",
        str(tmp_path / "map.toml"),
    ]
    assert run([*words, "--unit-cell", str(shared("unit_cells", "BN.cif"))]) == 0
    assert "noted: numbers left out (1); `defectdb notes` lists them" in capfd.readouterr().err
    assert run(["--db", str(tmp_path / "d.duckdb"), "notes"]) == 0
    assert "E_tot is nan" in capfd.readouterr().out
