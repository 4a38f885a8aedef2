"""Files of somebody else: nothing stored in them runs, reads another file or writes one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.check import added, check
from defectdb.db.compile import compile_formulas
from defectdb.db.write import remove_dataset
from defectdb.errors import DatabaseError, QueryError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with an active model."""
    file = tmp_path / "theirs.duckdb"
    with open_database(file, create=True) as db:
        toy.fill(db)
        toy.publish_energy_model(db)
    return file


def tamper(path: Path, *statements: str) -> None:
    """Change a file with a plain client, as anybody can."""
    with duckdb.connect(str(path)) as plain:
        for statement in statements:
            plain.execute(statement)


def contradictions(db: Database) -> dict[str, str]:
    frame = check(db)
    return dict(frame.filter(frame["n"] > 0).select("check", "example").iter_rows())


INJECTED = "x\"(r) AS 1; COPY (SELECT ''pwned'') TO ''{out}''; CREATE MACRO \"y"


@pytest.mark.parametrize("command", [["migrate"], ["formulas", "activate", "1"]])
def test_a_pair_label_that_is_sql_is_not_run(path: Path, tmp_path: Path, command: list[str], capsys) -> None:
    out = tmp_path / "pwned.csv"
    tamper(
        path,
        f"UPDATE formulas SET pair_label = '{INJECTED.format(out=out)}' WHERE formula_id = 1",
        "UPDATE models SET status = 'candidate'",
    )
    assert run(["--db", str(path), *command]) == 4
    assert "none that defectdb wrote (pair_label" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [("target = 'x''; DROP TABLE runs; --'", "target"), ("pair_label = 'Vac_Mo'", "pair_label"),
     ("dz_min = 'NaN'", "dz_min"), ("images = 'all'", "images"),
     ("ast = '{\"var\": \"secret\"}'", "variable 'secret'")],
)  # fmt: skip
def test_rows_that_no_learner_writes_are_not_compiled(path: Path, change: str, why: str) -> None:
    with duckdb.connect(str(path)) as plain:
        columns = "* REPLACE (CAST(images AS VARCHAR) AS images)"
        plain.execute(f"CREATE TABLE copy AS SELECT {columns} FROM formulas")
        plain.execute("DROP TABLE formulas")
        plain.execute("ALTER TABLE copy RENAME TO formulas")
        plain.execute(f"UPDATE formulas SET {change} WHERE formula_id = 2")
    with open_database(path) as db:
        with (
            pytest.raises(DatabaseError, match=f"formula 2 is none that defectdb wrote.*{why}"),
            db.transaction(),
        ):
            compile_formulas(db)
        assert "views and macros" in " ".join(contradictions(db))


def test_formula_ids_that_are_text_do_not_become_sql(path: Path) -> None:
    tamper(
        path,
        "CREATE TABLE copy AS SELECT * REPLACE ('1 THEN 1 END; DROP TABLE runs; --' AS formula_id) FROM formulas",
        "DROP TABLE formulas",
        "ALTER TABLE copy RENAME TO formulas",
    )
    with (
        open_database(path) as db,
        pytest.raises(QueryError, match=r"BIGINT|INT64|compare"),
        db.transaction(),
    ):
        compile_formulas(db)


def test_a_material_with_quotes_in_its_name_gets_a_macro_and_nothing_else(path: Path) -> None:
    name = 'Mo"S2'
    tamper(path, *(f"UPDATE {t} SET material_id = '{name}'" for t in ("formulas", "models")))
    with open_database(path) as db, db.transaction():
        assert "v_Mo_S2__Vac_Mo__Vac_S" in compile_formulas(db)


def test_a_view_that_reads_a_local_file_reads_nothing(path: Path, tmp_path: Path, capsys) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    tamper(
        path,
        "CREATE OR REPLACE VIEW predictions AS SELECT content AS structure_id, 'formation_energy' AS target, "
        "1.0 AS value, 'eV' AS unit, 1 AS model_id, 1 AS n_defects, FALSE AS extrapolated, [''] AS missing "
        f"FROM read_text('{secret}')",
    )
    assert run(["--db", str(path), "predict", "--target", "formation_energy", "--json"]) != 0
    told = capsys.readouterr()
    assert "password" not in told.out + told.err
    assert "without access to other files" in told.err
    assert run(["--db", str(path), "check"]) == 3
    assert "view predictions" in capsys.readouterr().out
    assert run(["--db", str(path), "migrate"]) == 0
    assert run(["--db", str(path), "check"]) == 0
    assert run(["--db", str(path), "predict", "--target", "formation_energy"]) == 0


def test_a_database_without_models_holds_what_defectdb_writes(empty_database: Database) -> None:
    assert not contradictions(empty_database)
    with empty_database.transaction():
        compile_formulas(empty_database)
    assert not contradictions(empty_database)


def test_views_and_macros_of_somebody_else_are_named(path: Path, capsys) -> None:
    with open_database(path, read_only=True) as db:
        assert not contradictions(db)
        assert not added(db)
    tamper(path, "CREATE VIEW own AS SELECT 1", "CREATE MACRO helper(x) AS x + 1")
    assert run(["--db", str(path), "check"]) == 0
    assert "not of defectdb: macro helper, view own" in capsys.readouterr().err
    tamper(path, "CREATE MACRO abs(x) AS 0", "CREATE OR REPLACE MACRO f_1(r, dz) AS 42")
    with open_database(path, read_only=True) as db:
        found = contradictions(db)
    assert found["no macro stands for one of DuckDB's functions"] == "macro abs"
    assert (
        "macro f_1" in found["views and macros are those that defectdb writes (`migrate` writes them anew)"]
    )


def test_views_stay_as_written_when_data_go(path: Path) -> None:
    with open_database(path) as db:
        [dataset] = db.frame("SELECT dataset_id FROM datasets")["dataset_id"]
        remove_dataset(db, dataset)
        assert not contradictions(db)


# ---------------------------------------------------------------- statements of the user


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    file = tmp_path / "numbers.csv"
    file.write_text("a,b\n1,2\n")
    return file


def test_a_query_reads_other_files_only_when_told(path: Path, numbers: Path, capsys) -> None:
    query = f"SELECT a + b AS total FROM '{numbers}'"
    assert run(["--db", str(path), "sql", query, "--json"]) == 2
    assert run(["--db", str(path), "sql", f"FROM read_text('{numbers}')"]) == 2
    assert "--files" in capsys.readouterr().err
    assert run(["--db", str(path), "sql", query, "--json", "--files"]) == 0
    assert '"total": 3' in capsys.readouterr().out


@pytest.mark.parametrize(
    "statement", ["COPY (SELECT 1) TO '{out}'", "EXPORT DATABASE '{out}'", "ATTACH '{out}' AS other",
                  "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "SELECT 1; COPY (SELECT 1) TO '{out}'"],
)  # fmt: skip
@pytest.mark.parametrize("options", [[], ["--files"], ["--write"]])
def test_a_statement_writes_files_only_with_both_permissions(
    path: Path, tmp_path: Path, statement: str, options: list[str], capsys
) -> None:
    out = tmp_path / "out"
    assert run(["--db", str(path), "sql", statement.format(out=out), *options]) == 2
    assert "--files" in capsys.readouterr().err or options == ["--files"]
    assert not out.exists()


def test_a_statement_writes_files_with_both_permissions(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run(["--db", str(path), "sql", f"COPY (SELECT 7 AS a) TO '{out}'", "--files", "--write"]) == 0
    assert out.read_text() == "a\n7\n"


@pytest.mark.parametrize(
    "statement",
    ["SET enable_external_access = true", "RESET lock_configuration", "INSTALL httpfs", "LOAD httpfs"],
)
def test_nothing_loosens_an_open_database(path: Path, statement: str) -> None:
    with (
        open_database(path, read_only=True) as db,
        pytest.raises((QueryError, DatabaseError), match=r"locked|disabled"),
    ):
        db.frame(statement)


def test_only_select_is_let_near_other_files(path: Path) -> None:
    with open_database(path, read_only=True, files=True) as db:
        db.demand_select("SELECT 1; FROM structures")
        with pytest.raises(UsageError, match="COPY beside files needs --write"):
            db.demand_select("COPY (SELECT 1) TO 'x'")
