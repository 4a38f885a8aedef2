"""Networks as a shell would ask for them: learn, predict, evaluate, residuals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from support.doc_pages import json_keys

from defectdb.cli import run
from defectdb.db import open_database

QUICK = ("learn", "--network", "--epochs", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def trained(toy_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with formulas, a network of the energy that left out a fifth, and one of what the formulas leave."""
    path = tmp_path_factory.mktemp("net") / "toy.duckdb"
    shutil.copyfile(toy_template, path)
    for more in ((), ("--on-residuals",)):
        assert run(["-q", "--db", str(path), *QUICK, "--hold-out", "--members", "2", *more]) == 0
    return path


class Shell:
    """Runs command lines on one database."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self.capsys.readouterr()
        found = run(["--db", str(self.path), *arguments])
        self.out, self.err = self.capsys.readouterr()
        assert found == code, self.err
        assert "Traceback" not in self.err
        return self.out


@pytest.fixture
def shell(trained: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(trained, capsys)


def test_learning_prints_one_row_and_keeps_its_own_progress_off_stdout(
    toy_path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shell, state = Shell(toy_path, capsys), tmp_path / "state"
    [row] = json.loads(shell(*QUICK, "--json", "--material", "MoS2", "--resume", str(state), "--no-activate"))
    assert (row["n_train"], row["n_held"], row["mae_held"]) == (63, 0, None)
    assert list(row) == json_keys("`learn --network`")
    assert row["n_parameters"] > 100_000
    assert "epoch 2 of 2" in shell.err
    assert not state.exists()
    shell("predict", "--network", code=2)
    assert "no network predicts formation_energy_per_site yet" in shell.err
    assert len(json.loads(shell("predict", "--network-id", str(row["network_id"]), "--json"))) == 63


def test_stored_structures_are_predicted_into_a_file(shell: Shell, tmp_path: Path) -> None:
    shell("predict", "--network", "--output", str(tmp_path / "p.csv"))
    frame = pl.read_csv(tmp_path / "p.csv")
    assert frame.height == 63
    assert frame.columns[:5] == ["structure_id", "target", "value", "unit", "network_id"]
    assert (frame["spread"] > 0).all()
    stored = shell("sql", "FROM network_predictions ORDER BY ALL", "--format", "csv")
    assert stored.startswith(
        "network_id,structure_id,target,value,unit,spread,n_defects,extrapolated,trained"
    )


def test_formulas_and_network_together_are_the_formulas_plus_what_it_learned(shell: Shell) -> None:
    both = json.loads(shell("predict", "--network", "--on-residuals", "--json"))
    formulas = json.loads(shell("predict", "--json"))
    assert [row["structure_id"] for row in both] == [row["structure_id"] for row in formulas]
    differences = [abs(x["value"] - y["value"]) for x, y in zip(both, formulas, strict=True)]
    assert max(differences) < 1e-8  # the toy's formulas are exact: nothing is left for the network to learn


def test_errors_stand_beside_those_of_the_formulas_on_the_same_rows(shell: Shell) -> None:
    rows = json.loads(shell("evaluate", "--network", "--by", "n_defects", "--json"))
    assert {row["rows"] for row in rows} == {"in training", "left out"}
    assert sum(row["n"] for row in rows if row["target"] == "formation_energy_per_site") == 63
    assert all(row["formulas"] < 1e-9 < row["network"] for row in rows)
    assert all(row["both"] is not None for row in rows)
    shell("evaluate", "--network")
    shell("evaluate", "--network", "--published", code=2)
    assert "--network compares stored predictions" in shell.err


def test_residuals_list_configurations_where_the_network_is_better(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toy.duckdb"
    shutil.copyfile(trained, path)
    with (
        open_database(path) as db,
        db.transaction(),
    ):  # a network that is right, and formulas that see a wrong distance
        db.execute(
            "UPDATE network_predictions AS p SET trained = FALSE, value = t.value FROM target_values AS t "
            "WHERE t.structure_id = p.structure_id AND t.target = p.target"
        )
        db.execute("UPDATE pairs SET distance = 5, dz = 0 WHERE label = 'Vac_Mo-Vac_S'")
    shell = Shell(path, capsys)
    rows = json.loads(shell("residuals", "--target", "formation_energy", "--json", "--most", "5"))
    first = rows[0]
    assert (first["kind"], first["label"], first["edges"]) == ("pair", "Vac_Mo-Vac_S", "5.0")
    assert first["n"] > 3
    assert first["gain"] == pytest.approx(first["formulas"], abs=1e-9)
    assert "left out of its training" in shell.err
    shell("residuals", "--target", "homo_lumo_gap", code=2)
    assert "unknown target of a network" in shell.err


def test_options_of_formulas_and_networks_do_not_mix(shell: Shell) -> None:
    shell("learn", "--all-pairs", "--members", "3", code=2)
    assert "--members is about a network: add --network" in shell.err
    shell("learn", "--network", "--population", "100", code=2)
    assert "--population is about formulas, not --network" in shell.err
    shell("learn", "--all-pairs", "--material", "MoS2", "--material", "WSe2", code=2)
    assert "formulas are of one material" in shell.err
    shell("predict", "--network", "--model", "1", code=2)
    assert "--network-id" in shell.err
