"""What the commands say once a correction of the data has made the active model stale, and how it is mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.db.write import mark_stale


@pytest.fixture
def stale(toy_path: Path) -> Path:
    """The toy database after one of its structures was replaced."""
    with open_database(toy_path) as db, db.transaction():
        mark_stale(db, db.frame("SELECT structure_id FROM structures WHERE n_defects = 2 LIMIT 1"))
    return toy_path


@pytest.mark.parametrize("command", ["predict", "evaluate", "status"])
def test_commands_say_that_the_model_went_stale_and_what_helps(stale, capfd, command):
    code = run(["--db", str(stale), command])
    said = " ".join(capfd.readouterr().err.split())
    assert code == (0 if command == "status" else 2)
    assert "went stale because training rows changed or were removed" in said
    assert "defectdb learn --all-pairs --target formation_energy" in said
    assert "defectdb formulas activate ID" in said


def test_status_lists_stale_models_as_json_and_none_on_sound_data(toy_path, stale, capfd):
    assert run(["--db", str(stale), "status", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["active_models"] == []
    assert {row["target"] for row in found["stale_models"]} == {"formation_energy", "homo_lumo_gap"}


def test_a_model_in_order_is_not_called_stale(toy_path, capfd):
    for command in ("predict", "evaluate", "status"):
        assert run(["--db", str(toy_path), command]) == 0
        assert "stale" not in capfd.readouterr().err


def test_activating_a_formula_of_the_stale_model_puts_it_back_to_use(stale, capfd):
    with open_database(stale, read_only=True) as db:
        formula = db.value(
            "SELECT min(formula_id) FROM model_terms JOIN models USING (model_id) WHERE target = 'formation_energy'"
        )
    assert run(["--db", str(stale), "formulas", "activate", str(formula)]) == 0
    capfd.readouterr()
    assert run(["--db", str(stale), "predict"]) == 0
    assert "stale" not in capfd.readouterr().err
    assert run(["--db", str(stale), "predict", "--target", "homo_lumo_gap"]) == 2
    assert run(["--db", str(stale), "evaluate"]) == 0
    assert "homo_lumo_gap) went stale" in " ".join(capfd.readouterr().err.split())
