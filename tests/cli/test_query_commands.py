"""The commands that look, predict, evaluate, query and export, as a shell would call them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import open_database


class Shell:
    """Runs command lines on one database; keeps what they print."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self.capsys.readouterr()
        found = run(["--db", str(self.path), *arguments])
        self.out, self.err = self.capsys.readouterr()
        assert found == code, self.err
        assert "Traceback" not in self.err
        return self.out

    def json(self, *arguments: str):
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def shell(toy_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(toy_path, capsys)


def test_status_counts_structures_and_names_the_active_models(shell: Shell) -> None:
    found = shell.json("status")
    assert (found["structures"], found["pairs"]) == (63, 120)
    assert found["structures_by_defects"] == {"1": 3, "2": 30, "3": 30}
    assert [model["target"] for model in found["active_models"]] == ["formation_energy", "homo_lumo_gap"]
    assert "structures" in shell("status")


def test_schema_lists_tables_and_explains_columns(shell: Shell) -> None:
    assert "pair_energies" in shell("schema")
    columns = {row["column"]: row for row in shell.json("schema", "pairs")}
    assert columns["distance"]["unit"] == "angstrom"
    assert columns["distance"]["type"] == "DOUBLE"
    shell("schema", "pair_energy", code=2)
    assert "did you mean 'pair_energies'" in shell.err


def test_pairs_lists_labels_with_counts_and_distances(shell: Shell) -> None:
    rows = {row["label"]: row for row in shell.json("pairs", "--material", "MoS2")}
    assert sorted(rows) == sorted(toy.LABELS)
    assert rows["Vac_S-Vac_S"]["dz"] == [0.0, 3.12]
    shell("pairs", "--material", "MoSe2", code=2)
    assert "did you mean 'MoS2'" in shell.err
    assert shell("pairs", "--csv").startswith("material_id,label,")


def test_check_finds_nothing_in_a_sound_database_and_what_is_broken_in_another(shell: Shell) -> None:
    assert all(row["n"] == 0 for row in shell.json("check"))
    with open_database(shell.path) as db, db.transaction():
        db.execute("DELETE FROM defects WHERE structure_id = 's0010' AND idx = 0")
        db.execute("UPDATE formulas SET sql = '1' WHERE formula_id = 3")
    shell("check", code=3)
    assert "every pair has its two defects" in shell.err
    assert "the SQL of every formula is that of its tree" in shell.err


def test_migrate_compiles_the_formulas_anew(shell: Shell) -> None:
    with open_database(shell.path) as db, db.transaction():
        db.execute("DROP MACRO f_1")
    assert "f_1" in shell.json("migrate")["macros"]
    assert shell.json("sql", "SELECT f_1(1, 0) AS v")[0]["v"] > 0


def test_formulas_takes_a_label_in_any_order_and_notation(shell: Shell) -> None:
    rows = shell.json("formulas", "v_S-Vac_Mo", "--target", "formation_energy")
    assert [row["infix"] for row in rows] == ["0.2*exp(-r/2)"]
    shell("formulas", "Vac_Mo-Vac_Se", code=2)
    assert "did you mean 'Vac_Mo-Vac_S'" in shell.err
    shell("formulas", "--target", "gap", code=2)
    assert "homo_lumo_gap" in shell.err


def test_a_formula_is_shown_in_every_notation(shell: Shell) -> None:
    shown = shell.json("formulas", "show", "2")
    assert shown["python"] == "from math import exp\n\n\ndef f_Vac_Mo__Vac_S(r):\n    return 0.2*exp(-r/2)\n"
    assert shown["latex"] == r"0.2 e^{- \frac{r}{2}}"
    assert "double f_Vac_Mo__Vac_S(double r)" in shown["c"]
    assert "def f_Vac_Mo__Vac_S(r):" in shell("formulas", "show", "2")
    shell("formulas", "show", "200", code=2)
    shell("formulas", "show", "two", code=2)
    assert "takes one formula id" in shell.err


def test_activate_answers_with_the_model_that_uses_the_formula(shell: Shell) -> None:
    assert shell.json("formulas", "activate", "2") == {"formula_id": 2, "model_id": 1}


def test_predict_writes_the_columns_of_the_contract(shell: Shell, tmp_path: Path) -> None:
    columns = ["structure_id", "target", "value", "unit", "model_id", "n_defects", "extrapolated"]
    columns += ["lower_90", "upper_90"]
    for name, read in (("p.csv", pl.read_csv), ("p.parquet", pl.read_parquet)):
        shell("predict", "--target", "formation_energy", "--output", str(tmp_path / name))
        frame = read(tmp_path / name)
        assert frame.columns == columns
        assert frame.height == 63
        assert "63 predictions" in shell.err
    shell("predict", "--output", str(tmp_path / "p.yaml"), code=2)
    assert "try .csv or .parquet" in shell.err
    shell("predict", "--output", str(tmp_path / "no" / "p.csv"), code=3)
    shell("predict", "--target", "energy", code=2)
    assert "formation_energy" in shell.err
    assert len(shell.json("predict", "--model", "2", "--target", "homo_lumo_gap")) == 63


def test_evaluate_gives_errors_in_ev_as_json_and_in_mev_as_a_table(shell: Shell) -> None:
    rows = shell.json("evaluate", "--by", "n_defects")
    assert {row["group"] for row in rows} == {"1", "2", "3"}
    assert all(row["unit"] == "eV" and row["mae"] < 1e-12 for row in rows)
    assert "mae [meV]" in shell("evaluate", "--against", "targets")


def test_sql_reads_with_bound_values_and_refuses_to_write(shell: Shell, tmp_path: Path) -> None:
    query = "SELECT count(*) AS n FROM structures WHERE n_defects = $n"
    assert shell.json("sql", query, "-p", "n", "3") == [{"n": 30}]
    assert shell("sql", query, "-p", "n", "3", "--format", "csv") == "n\n30\n"
    shell("sql", query, "-p", "n", "3", "-o", str(tmp_path / "n.parquet"))
    assert pl.read_parquet(tmp_path / "n.parquet").item() == 30
    shell("sql", query, "-p", "n", "3", "-o", str(tmp_path / "n.json"))
    assert json.loads((tmp_path / "n.json").read_text()) == [{"n": 30}]
    shell("sql", "DELETE FROM structures", code=2)
    assert "read-only" in shell.err
    shell("sql", "SELECT 1", "--format", "yaml", code=2)
    assert "known: csv, json, parquet, table" in shell.err
    shell("sql", "SELECT 1", "--format", "parquet", code=2)
    shell("sql", "SELEC 1", code=2)
    assert "SELEC 1" in shell.err


def test_sql_writes_when_told_to(shell: Shell) -> None:
    shell("sql", "CREATE TABLE remarks AS SELECT 'mine' AS note", "--write")
    assert shell.json("sql", "FROM remarks") == [{"note": "mine"}]


def test_export_writes_what_the_file_name_asks_for(shell: Shell, tmp_path: Path) -> None:
    shell("export", "formulas", "--to", "latex", "-o", str(tmp_path / "formulas.tex"))
    text = (tmp_path / "formulas.tex").read_text()
    assert r"Vac\_Mo-Vac\_S & formation\_energy & $0.2 e^{- \frac{r}{2}}$ & 7 & 9" in text
    assert text.count(r"\\") == 14
    shell("export", "SELECT 1 AS one", "-o", str(tmp_path / "one.md"))
    assert (tmp_path / "one.md").read_text() == "| one |\n| ---: |\n| 1 |\n"
    shell("export", "formula", code=2)
    assert "did you mean 'formulas'" in shell.err
    shell("export", "formulas", "--to", "yaml", code=2)
    shell("export", "formulas", "-o", str(tmp_path / "x.docx"), code=2)
    assert ".tex" in shell.err
    shell("export", "formulas", "--to", "parquet", code=2)


def test_a_missing_database_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path / "none.duckdb", capsys)
    shell("status", code=4)
    assert "there is no database" in shell.err


@pytest.mark.parametrize("style", ["cif", "poscar"])
def test_written_candidates_are_predicted_with_the_values_they_were_chosen_by(
    shell: Shell, tmp_path: Path, style: str
) -> None:
    cell = ["--material", "MoS2", "--supercell", "8x8", "--defects", "Vac_Mo,Vac_S,W_Mo"]
    target = ["--target", "formation_energy"]
    chosen = shell.json("enumerate", *cell, *target, "--top", "5", "--structures", str(tmp_path / "next"),
                        "--format", style)  # fmt: skip
    found = shell.json("predict", str(tmp_path / "next"), *target)
    assert len(found) == 5
    assert [row["value"] for row in found] == pytest.approx([row["value"] for row in chosen], abs=1e-6)
    assert [row["extrapolated"] for row in found] == [row["extrapolated"] for row in chosen]


def test_a_source_that_is_no_structure_is_exit_code_3(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    shell("predict", str(tmp_path / "broken.cif"), code=3)
    assert "broken.cif" in shell.err
    shell("predict", str(tmp_path / "absent.cif"), code=3)
    assert "absent.cif" in shell.err


def test_formulas_fit_eighty_columns_and_wide_shows_the_rest(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = shell("formulas").splitlines()
    assert max(map(len, rows)) <= 80
    assert rows[0].split()[:3] == ["id", "pair", "tokens"]
    assert "no room for" in shell.err
    assert "material" in shell("formulas", "--wide").splitlines()[0]
    assert shell("formulas", "--columns", "pair,id").splitlines()[0].split() == ["pair", "id"]
    shell("formulas", "--columns", "sum", code=2)
    assert "unknown column 'sum'" in shell.err
