"""Configurations with forces: what is stored of them, and one sentence for each that no potential can learn from."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from defectdb.db import Database, open_database
from defectdb.db.check import check
from defectdb.db.potentials.configurations import configurations_of
from defectdb.db.write import remove_dataset
from defectdb.errors import InputDataError, UsageError
from defectdb.ingest import load
from defectdb.ingest.forces.load_configurations import frame_of_file


@pytest.fixture
def db() -> Database:
    return open_database(":memory:")


def frame(
    seed: int, *, size: int = 1, split: str = "train", energy: float | None = None, forces: bool = True
) -> Atoms:
    """A shaken copper cell with made-up numbers."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True).repeat((size, 1, 1))
    atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
    numbers = {"energy": -3.5 * len(atoms) + 0.01 * seed if energy is None else energy}
    if forces:
        numbers["forces"] = rng.standard_normal((len(atoms), 3))
        numbers["stress"] = rng.standard_normal(6)
    atoms.calc = SinglePointCalculator(atoms, **numbers)
    atoms.info |= {"config_type": "shaken", "split": split}
    return atoms


def test_forces_stress_and_split_are_kept_and_a_second_load_changes_nothing(
    db: Database, tmp_path: Path
) -> None:
    frames = [frame(1), frame(2, size=2, split="test")]
    path = tmp_path / "cu.extxyz"
    write(path, frames)
    packed = tmp_path / "cu.extxyz.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    [report] = load(db, [packed], energy_zero="atoms")
    assert (report.dataset_id, report.loaded) == ("cu", 2)
    [again] = load(db, [packed], energy_zero="atoms")
    assert (again.loaded, again.unchanged) == (0, 2)
    rows = configurations_of(db, "Cu")
    assert rows.select("structure_id", "split", "n_atoms", "energy_zero").rows() == [
        ("cu-1", "train", 4, "atoms"), ("cu-2", "test", 8, "atoms")
    ]  # fmt: skip
    for row, atoms in zip(rows.to_dicts(), frames, strict=True):
        assert row["energy"] == pytest.approx(atoms.get_potential_energy())
        assert np.allclose(row["forces"], atoms.get_forces().ravel(), atol=1e-7)
        assert np.allclose(row["stress"], atoms.get_stress(), atol=1e-7)
        assert np.allclose(row["positions"], atoms.positions.ravel(), atol=1e-7)
    assert check(db)["n"].sum() == 0
    assert remove_dataset(db, "cu") == 2
    assert db.value("SELECT count(*) FROM targets") == 0


def _open(atoms: Atoms) -> Atoms:
    atoms.pbc = (True, True, False)
    return atoms


def _flat(atoms: Atoms) -> Atoms:
    atoms.set_cell([[3.0, 0, 0], [0, 3.0, 0], [3.0, 3.0, 0]])
    return atoms


def _thin(atoms: Atoms) -> Atoms:
    atoms.set_cell([[10.0, 0, 0], [-5.0, 8.66, 8.8], [8.8, 8.8, 8.8]])
    return atoms


def _endless(atoms: Atoms) -> Atoms:
    atoms.cell[0, 0] = 1e39
    return atoms


def _twice(atoms: Atoms) -> Atoms:
    atoms.positions[1] = atoms.positions[0]
    return atoms


def _lost(atoms: Atoms) -> Atoms:
    atoms.calc.results["forces"][2, 1] = np.nan
    return atoms


def _mixed(atoms: Atoms) -> Atoms:
    atoms.numbers[0] = 47
    return atoms


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_open, r"frame 2: is open along some direction; give a cell that is periodic"),
        (_flat, r"frame 2: has a cell without volume"),
        (_thin, r"frame 2: has a cell only 0\.072 angstrom high along one vector"),
        (_endless, r"frame 2: has a cell vector of 1e\+39 angstrom, longer than 100000"),
        (_twice, r"frame 2: atoms 1 and 2 are 0\.000 angstrom apart; give every atom once"),
        (_lost, r"frame 2: an energy, force or stress is not finite"),
        (_mixed, r"holds the elements Cu, Ag; potentials are of one element"),
        (
            lambda atoms: frame(2, energy=-3.5),
            r"frame 2 seems to hold an energy per atom and others the energy",
        ),
        (lambda atoms: frame(2, forces=False), r"1 of 3 frames have no forces, frame 2 is the first"),
        (
            lambda atoms: frame(1, split="test"),
            r"frames 1 \(train\) and 2 \(test\) are the same configuration",
        ),
    ],
)
def test_what_no_potential_can_learn_from_is_refused_whole(
    damage: Callable[[Atoms], Atoms], sentence: str, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "cu.xyz"
    write(path, [frame(1), damage(frame(2, size=2)), frame(3)], format="extxyz")
    with pytest.raises(InputDataError, match=sentence):
        load(db, [path], format="forces")
    assert db.value("SELECT count(*) FROM datasets") == 0


def test_columns_that_no_line_holds_are_refused_before_anything_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "cu.xyz"
    write(path, [frame(1)], format="extxyz")
    text = path.read_text()
    assert ":forces:R:3" in text
    path.write_text(text.replace(":forces:R:3", f":forces:R:{'9' * 39}"))
    with pytest.raises(InputDataError, match=r"line 2 announces 1e\+39 columns, line 3 has 7"):
        frame_of_file(path)
    path.write_text(text.replace(":forces:R:3", ":forces:R:999" * 2))
    with pytest.raises(InputDataError, match=r"line 2 announces 2002 columns, line 3 has 7"):
        frame_of_file(path)


def test_a_truncated_gzip_file_and_energies_per_atom_are_refused(db: Database, tmp_path: Path) -> None:
    write(tmp_path / "cu.xyz", [frame(k, size=3) for k in range(6)], format="extxyz")
    whole = gzip.compress((tmp_path / "cu.xyz").read_bytes())
    broken = tmp_path / "cu.xyz.gz"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputDataError, match="damaged or truncated gzip file"):
        load(db, [broken])
    write(
        tmp_path / "per.xyz",
        [frame(k, size=1 + k, energy=-3.5 - 0.001 * k) for k in range(4)],
        format="extxyz",
    )
    with pytest.raises(InputDataError, match="they seem to be per atom; give total energies"):
        load(db, [tmp_path / "per.xyz"])
    with pytest.raises(UsageError, match="unknown energy zero 'vacuum'; known: own, atoms"):
        load(db, [tmp_path / "per.xyz"], energy_zero="vacuum")
