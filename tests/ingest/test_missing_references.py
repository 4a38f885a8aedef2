"""Runs loaded without reference energies: ingest says what is missing, and so does learning from them."""

from __future__ import annotations

import pytest
from support.builders import crystal, shared
from support.vasp_files import vasprun

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.errors import ExitCode
from defectdb.ingest import Options, load

BANDS = [[(-2.0, 1.0), (1.0, 0.0)]]
POTENTIALS = "[potentials]\nB = -6.7\nN = -8.3\n"
CARBON = "C = -9.2\n"
PRISTINE = '[[pristine]]\nmaterial = "BN"\nsupercell = "4x4x1"\nenergy = -280.0\n'
GIVE = "give them in a file with `defectdb ingest ... --reference energies.toml`"


@pytest.fixture
def runs(tmp_path):
    """A pristine 4x4x1 cell of h-BN, and the same with one and with two carbon atoms on boron sites."""
    host = crystal("BN", (4, 4, 1))
    boron = [k for k, element in enumerate(host.elements) if element == "B"]
    for name, carbon in (("pristine", 0), ("one", 1), ("two", 2)):
        elements = ["C" if k in boron[:carbon] else e for k, e in enumerate(host.elements)]
        (tmp_path / "runs" / name).mkdir(parents=True)
        text = vasprun(elements, host.frac, host.lattice, energy=-280.0 - carbon, spins=BANDS)
        (tmp_path / "runs" / name / "vasprun.xml").write_text(text)
    return tmp_path / "runs"


@pytest.fixture
def ingest(runs, tmp_path):
    """Load the runs with this text as their reference energies, or with none; the sentences about what is missing."""

    def go(reference):
        path = None if reference is None else tmp_path / "energies.toml"
        if path is not None:
            path.write_text(reference)
        options = Options(unit_cells=(shared("unit_cells", "BN.cif"),), reference=path)
        with open_database(tmp_path / "d.duckdb", create=True) as db:
            [report] = load(db, [runs], options=options)
        return report.unreferenced

    return go


def formation_energies(folder):
    sql = "SELECT structure_id, round(value, 6) FROM targets WHERE target = 'formation_energy' ORDER BY ALL"
    with open_database(folder / "d.duckdb", read_only=True) as db:
        return [row for row in db.frame(sql).iter_rows() if row[0] != "pristine"]


@pytest.mark.parametrize(
    ("reference", "missing"),
    [
        (None, "the energy of pristine BN-4x4x1 and the chemical potentials of B, C are not known"),
        (POTENTIALS + CARBON, "the energy of pristine BN-4x4x1 is not known"),
        (POTENTIALS + PRISTINE, "the chemical potential of C is not known"),
    ],
)
def test_what_a_formation_energy_lacks_is_said_for_every_host(ingest, reference, missing):
    [sentence] = ingest(reference)
    assert sentence == f"2 structures have an energy and no formation energy: {missing}; {GIVE}"


def test_the_same_runs_loaded_again_with_what_was_missing_have_formation_energies(ingest, tmp_path):
    assert ingest(None)
    assert formation_energies(tmp_path) == []
    assert ingest(POTENTIALS + CARBON + PRISTINE) == ()
    # -281 + 280 - (-9.2) + (-6.7) = 1.5 for one carbon on boron, and twice that for two
    assert formation_energies(tmp_path) == [("one", 1.5), ("two", 3.0)]


def test_learning_without_formation_energies_says_what_they_lack(ingest, tmp_path, capsys):
    ingest(POTENTIALS + CARBON)
    assert run(["--db", str(tmp_path / "d.duckdb"), "learn", "--all-pairs"]) == ExitCode.BAD_DATA
    told = " ".join(capsys.readouterr().err.split())
    assert "no 2-defect structure of BN has formation_energy for C_B-C_B; 2 structures have an energy" in told
    assert "the energy of pristine BN-4x4x1 is not known; give them in a file" in told
