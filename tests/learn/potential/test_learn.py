"""A small search end to end: from synthetic configurations to stored rows, errors, properties and exported tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.units import GPa, _amu, _e
from support.copper_frames import TRUTH, WINDOW, copper_frames
from support.doc_pages import json_keys

from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.check import check
from defectdb.db.potentials.models import stored_potential
from defectdb.errors import SelectionError
from defectdb.ingest import load
from defectdb.learn.potential.evaluate import evaluate_potential, reference_properties
from defectdb.learn.potential.fitting.baselines import formula
from defectdb.learn.potential.learn import Learned, PotentialConfig, learn_potential
from defectdb.learn.potential.output.calculator import PotentialCalculator
from defectdb.learn.potential.output.export import exported
from defectdb.learn.potential.output.properties import Crystal, birch_murnaghan
from defectdb.learn.potential.stored import potential_of


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Learned]]:
    """Copper cells whose energies and forces are those of a Gupta potential, and what is learned from them."""
    path = tmp_path_factory.mktemp("forces") / "cu.extxyz"
    copper_frames(path, count=20, seed=0)
    db = open_database(path.with_suffix(".duckdb"), create=True, shared=True)
    load(db, [path], energy_zero="atoms")
    config = PotentialConfig("Cu", cutoff=WINDOW.cutoff, width=WINDOW.width, playouts=25, time_limit=60.0)
    yield db, learn_potential(db, config)
    db.close()


def test_what_is_learned_is_stored_active_and_consistent(learned: tuple[Database, Learned]) -> None:
    db, found = learned
    rows = db.frame("SELECT role, pair_label, status, r_max FROM formulas ORDER BY formula_id").rows()
    assert [row[:3] for row in rows] == [
        ("phi", "Cu-Cu", "active"),
        ("rho", "Cu-Cu", "active"),
        ("F", "Cu", "active"),
    ]
    assert db.value("SELECT kind FROM models WHERE model_id = ?", [found.model_id]) == "potential"
    assert check(db)["n"].sum() == 0
    assert len(found.potential.constants) <= 6


def test_errors_are_those_of_the_stored_rows_and_stand_beside_fixed_forms(
    learned: tuple[Database, Learned],
) -> None:
    db, found = learned
    table = evaluate_potential(db)
    own = table.filter((table["potential"] == "learned") & (table["split"] == "test")).to_dicts()[0]
    stored = db.frame("SELECT * FROM potential_errors WHERE split = 'test'").to_dicts()[0]
    assert own["force_mae"] == pytest.approx(stored["force_mae"])
    gupta = table.filter((table["potential"] == "Gupta") & (table["split"] == "test")).to_dicts()[0]
    assert gupta["force_mae"] < 1e-3  # the form that made the data
    assert own["force_mae"] < 0.1
    assert len(found.front) >= 1


def test_elastic_constants_and_phonons_agree_with_energies_of_strained_and_shaken_cells() -> None:
    crystal = Crystal(TRUTH, "Cu")
    values = crystal.elastic() | crystal.phonons()
    assert 3.4 < crystal.a0 < 3.8

    def energy(strain: np.ndarray) -> float:
        atoms = bulk("Cu", "fcc", a=crystal.a0, cubic=True)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        atoms.calc = PotentialCalculator(TRUTH, "Cu")
        return float(atoms.get_potential_energy())

    step, volume = 2e-3, crystal.a0**3
    for constant, factor, strain in (
        ("B", 9.0, np.eye(3)),
        ("C11", 1.0, np.diag([1.0, 0, 0])),
        ("C44", 1.0, np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]])),
    ):  # fmt: skip
        bend = (
            (energy(step * strain) + energy(-step * strain) - 2 * energy(0 * strain)) / step**2 / volume / GPa
        )
        assert values[constant] == pytest.approx(bend / factor, rel=5e-3)
    atoms = bulk(
        "Cu", "fcc", a=crystal.a0, cubic=True
    )  # the longitudinal mode at X: planes along x move in turn
    atoms.calc = PotentialCalculator(TRUTH, "Cu")
    rest = float(atoms.get_potential_energy())
    sign = np.cos(2 * np.pi * atoms.positions[:, 0] / crystal.a0)
    atoms.positions[:, 0] += 5e-3 * sign
    rate = 2 * (float(atoms.get_potential_energy()) - rest) / 4 / 5e-3**2  # eV/angstrom^2 of every atom
    hertz = np.sqrt(rate * _e / 1e-20 / (atoms.get_masses()[0] * _amu)) / (2 * np.pi)
    assert values["X_L"] == pytest.approx(hertz / 1e12, rel=5e-3)
    assert values["X_L"] > values["X_T"] > 0


def test_a_potential_that_binds_no_crystal_has_no_properties() -> None:
    repelling = replace(TRUTH, embedding=formula("mul c0 sqrt rho", 1.0))
    with pytest.raises(SelectionError, match=r"binds no face-centred cubic crystal between 2\.8 and 6\.5"):
        Crystal(repelling, "Cu")


def test_the_equation_of_state_has_the_bulk_modulus_of_the_elastic_constants_and_pressures_of_its_energies() -> (
    None
):
    crystal = Crystal(TRUTH, "Cu")
    curve = crystal.equation_of_state(points=41)
    modulus, derivative = birch_murnaghan(curve)
    assert modulus == pytest.approx(crystal.elastic()["B"], rel=0.02)
    assert 3.0 < derivative < 9.0
    pressure = -np.gradient(curve["energy"].to_numpy(), curve["volume"].to_numpy()) / GPa
    assert np.allclose(pressure[1:-1], curve["pressure"].to_numpy()[1:-1], atol=0.1)
    assert curve["volume"][20] == pytest.approx(crystal.a0**3 / 4)


def test_crystals_of_fixed_forms_and_splines_stand_beside_the_learned_one(
    learned: tuple[Database, Learned],
) -> None:
    db, _ = learned
    table = reference_properties(db, stored_potential(db))
    assert table.columns[1:5] == [
        "Sutton-Chen, published",
        "Sutton-Chen, refitted",
        "Gupta",
        "exp, Gauss, root",
    ]
    assert table.columns[5].startswith("splines")
    truth = Crystal(TRUTH, "Cu")
    row = dict(zip(table["property"], table["Gupta"], strict=True))
    assert row["a0"] == pytest.approx(truth.a0, rel=1e-4)  # the form that made the data
    assert row["C44"] == pytest.approx(truth.elastic()["C44"], rel=1e-2)


def test_tables_hold_the_functions_and_reach_four_times_the_density(
    learned: tuple[Database, Learned],
) -> None:
    db, _ = learned
    stored = stored_potential(db)
    lines = exported(stored, "setfl").splitlines()
    assert lines[3] == "1 Cu"
    n_rho, drho, n_r, dr, cutoff = lines[4].split()
    assert float(drho) * (int(n_rho) - 1) == pytest.approx(4 * stored.density_max)
    numbers = np.array(" ".join(lines[6:]).split(), dtype=float)
    assert len(numbers) == int(n_rho) + 2 * int(n_r)
    r = float(dr) * np.arange(int(n_r))
    far = r > 1.5
    potential = potential_of(stored)
    assert np.allclose(numbers[int(n_rho) : -int(n_r)][far], potential.density(r[far])[0])
    assert np.allclose(
        numbers[-int(n_r) :][far], (r * potential.pair_term(np.maximum(r, 0.1))[0])[far], atol=1e-12
    )
    assert float(cutoff) == WINDOW.cutoff
    assert "eam/alloy" in exported(stored, "lammps")
    assert exported(stored, "latex").startswith("\\begin{align}")


def test_the_command_says_what_it_exported(
    learned: tuple[Database, Learned], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, found = learned
    command = ["potential", "export", "--to", "latex", "-o", str(tmp_path / "cu.tex"), "--json"]
    db.release()
    assert run(["-q", "--db", str(db.path), *command]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == json_keys("`potential export`")
    assert (said["model_id"], said["material"]) == (found.model_id, "Cu")
    assert (tmp_path / "cu.tex").read_text() == exported(stored_potential(db), "latex")
    assert said["bytes"] == (tmp_path / "cu.tex").stat().st_size


def test_a_cutoff_before_the_first_shell_is_refused(learned: tuple[Database, Learned]) -> None:
    db, _ = learned
    with pytest.raises(
        SelectionError, match="fewer than 6 neighbours; take a cutoff beyond the first shells"
    ):
        learn_potential(db, PotentialConfig("Cu", cutoff=2.0))
    with pytest.raises(SelectionError, match="between 0 and 12 angstrom"):
        learn_potential(db, PotentialConfig("Cu", cutoff=40.0))


def test_the_calculator_reads_the_stored_potential(learned: tuple[Database, Learned], tmp_path: Path) -> None:
    db, found = learned
    atoms = bulk("Cu", cubic=True)
    atoms.calc = PotentialCalculator(potential_of(stored_potential(db)), "Cu")
    assert np.isfinite(atoms.get_potential_energy())
    assert np.abs(atoms.get_forces()).max() < 1e-8
    assert atoms.get_stress().shape == (6,)
    del found, tmp_path
