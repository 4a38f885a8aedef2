"""`defectdb demo` from an empty folder to predictions that agree with what was computed."""

import json

import pytest

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.errors import ExitCode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A demonstration run with the quickest search, in a small supercell."""
    folder = tmp_path_factory.mktemp("run") / "demo"
    assert run(["--quiet", "demo", str(folder), "--cell", "6", "--generations", "0"]) == ExitCode.DONE
    return folder


@pytest.fixture
def database(folder):
    with open_database(folder / "demo.duckdb", read_only=True) as db:
        yield db


def test_the_demonstration_predicts_three_defects_from_pairs(database):
    errors = database.frame(
        "SELECT descriptor, avg(abs(error)) AS mae FROM prediction_errors "
        "WHERE target = 'formation_energy_per_site' AND n_defects = 3 GROUP BY descriptor"
    )
    assert errors.height == 8
    simple = errors.filter(errors["descriptor"] != "BCC")  # the donors' own pair decays slowly: see the model
    assert simple["mae"].max() < 0.003


def test_the_dataset_is_labelled_as_a_model_wherever_it_is_named(database):
    [row] = database.frame("SELECT dataset_id, name, licence, citation FROM datasets").to_dicts()
    assert "tight-binding" in row["dataset_id"]
    assert all("not DFT" in row[key] for key in ("name", "licence", "citation"))
    assert database.value("SELECT material_id FROM materials") == "BN_tb"


def test_one_kernel_is_drawn(folder):
    assert (folder / "kernel-Vac_B-Vac_N.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_of_the_demonstration_is_rejected_and_every_energy_is_reproduced(database):
    assert database.value("SELECT count(*) FROM rejects") == 0
    assert database.value("SELECT count(*) FROM structures WHERE n_defects IN (1, 2, 3)") > 300


def test_every_pair_of_the_three_defects_has_a_formula(database):
    labels = database.frame("SELECT DISTINCT pair_label FROM formulas WHERE status = 'active' ORDER BY ALL")
    assert labels["pair_label"].to_list() == [
        "C_B-C_B", "C_B-Vac_B", "C_B-Vac_N", "Vac_B-Vac_B", "Vac_B-Vac_N", "Vac_N-Vac_N",
    ]  # fmt: skip


def test_running_again_in_the_same_folder_adds_a_version_and_keeps_the_data(folder, capsys):
    with open_database(folder / "demo.duckdb", read_only=True) as db:
        before = db.value("SELECT count(*) FROM structures")
    command = ["--quiet", "demo", str(folder), "--cell", "6", "--generations", "0", "--json"]
    assert run(command) == ExitCode.DONE
    report = json.loads(capsys.readouterr().out)
    assert report["mae_meV_per_site"] < report["without_pairs_meV_per_site"] / 3
    with open_database(folder / "demo.duckdb", read_only=True) as db:
        assert db.value("SELECT count(*) FROM structures") == before
        assert db.value("SELECT max(version) FROM models") == 2
        assert db.value("SELECT count(*) FROM models WHERE status = 'active'") == 1


def test_a_file_in_the_way_is_named(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert run(["--quiet", "demo", str(tmp_path / "taken")]) == ExitCode.BAD_USAGE
    assert "taken" in capsys.readouterr().err
