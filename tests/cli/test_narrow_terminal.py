"""The commands' tables on a terminal of 80 columns: what one looks for is whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import open_database


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_status_counts_structures_of_many_defects_together(
    tmp_path: Path, narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "crowded.duckdb"
    with open_database(path, create=True) as db:
        placed = toy.fill(db, found=[*toy.configurations(4), *toy.crowded(20, 4, 12)])
    assert run(["--db", str(path), "status"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("structures_by")]
    many = [len(defects) for defects in placed if len(defects) > 3]
    assert line.endswith(f"{min(many)} to {max(many)}: {len(many)}")
    assert len(line) <= 80


def test_a_prediction_keeps_its_interval(
    toy_template: Path, narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(toy_template), "predict", "--target", "formation_energy"]) == 0
    head = capsys.readouterr().out.splitlines()[0].split()
    assert {"structure_id", "value", "lower_90", "upper_90"} <= set(head)


def test_datasets_are_named_in_full(
    toy_template: Path, narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(toy_template), "datasets"]) == 0
    with open_database(toy_template, read_only=True) as db:
        names = db.frame("SELECT dataset_id FROM datasets")["dataset_id"].to_list()
    out = capsys.readouterr().out
    assert all(name in out for name in names)


def test_the_tables_of_new_structures_carry_units_and_can_be_wide(
    toy_template: Path, narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = ["--db", str(toy_template), "enumerate", "--supercell", "8,8,1", "--defects", "Vac_S,Vac_S"]
    assert run([*cell, "--target", "formation_energy", "--top", "2"]) == 0
    assert "  value [eV]" in capsys.readouterr().out.splitlines()[0]
    assert run([*cell, "--target", "formation_energy", "--top", "2", "--csv"]) == 0
    assert "value" in capsys.readouterr().out.splitlines()[0].split(",")
    pairs = ["--db", str(toy_template), "suggest", "--supercell", "8,8,1", "--budget", "2", "--wide"]
    assert run(pairs) == 0
    shown = capsys.readouterr()
    head = shown.out.splitlines()[0]
    assert all(
        name in head for name in ("distance [A]", "dz [A]", "disagreement_meV", "nearest_computed [A]")
    )
    assert "no room" not in shown.err
