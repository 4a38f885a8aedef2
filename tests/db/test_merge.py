"""Joined databases: nothing counted twice, nothing mixed up, contradictions named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.db.check import check
from defectdb.db.models.formulas import finish_run
from defectdb.errors import InputDataError
from defectdb.schema.stored_tables import STORED_TABLES


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two databases with the same structures, each with a model of its own, and one with other structures."""
    folder = tmp_path_factory.mktemp("parts")
    first, second, third = (folder / f"{name}.duckdb" for name in ("first", "second", "third"))
    with open_database(first, create=True) as db:
        toy.fill(db, n=40)
    shutil.copyfile(first, second)
    shutil.copyfile(first, third)
    for path in (first, second):
        with open_database(path) as db:
            toy.publish_energy_model(db)
    with open_database(third) as db, db.transaction():
        for table in ("structures", "defects", "pairs", "targets"):
            db.execute(f"UPDATE {table} SET structure_id = 'new-' || structure_id")
        db.execute("UPDATE structures SET dataset_id = 'third'")
        db.execute("UPDATE datasets SET dataset_id = 'third', name = 'third'")
    return first, second, third


def merged(output: Path, *sources: Path) -> dict[str, object]:
    assert run(["--quiet", "--db", "none", "merge", *map(str, sources), "-o", str(output)]) == 0
    with open_database(output, read_only=True) as db:
        assert check(db)["n"].sum() == 0
        return {table.name: db.value(f'SELECT count(*) FROM "{table.name}"') for table in STORED_TABLES}


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with open_database(path, read_only=True) as db:
        return db.frame(sql).rows()


def test_all_rows_of_all_databases_are_there_once(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, second, third = parts
    output = tmp_path / "all.duckdb"
    counts = merged(output, first, second, third)
    with open_database(first, read_only=True) as db:
        one = {table.name: db.value(f'SELECT count(*) FROM "{table.name}"') for table in STORED_TABLES}
    for table in ("structures", "defects", "pairs", "targets", "datasets"):
        assert counts[table] == 2 * one[table], table
    for table in ("runs", "formulas", "models", "model_terms"):
        assert counts[table] == 2 * one[table], table
    assert counts["hosts"] == one["hosts"]
    assert merged(output, third, second, first, first) == counts  # once more: nothing is new


def test_predictions_are_those_of_the_parts(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, _, third = parts
    output = tmp_path / "all.duckdb"
    merged(output, third, first)  # structures and formulas get other numbers than they had
    sql = "SELECT structure_id, target, round(value, 9) FROM predictions WHERE structure_id LIKE 's%' ORDER BY ALL"
    assert rows(output, sql) == rows(first, sql) != []
    twins = "SELECT target, count(*), sum(value) FROM predictions WHERE structure_id LIKE '{}%' GROUP BY 1 ORDER BY 1"
    new, old = (rows(output, twins.format(start)) for start in ("new-", "s"))
    assert [row[:2] for row in new] == [row[:2] for row in old]
    assert [row[2] for row in new] == pytest.approx([row[2] for row in old], abs=1e-9)
    pairs = "SELECT count(*) FROM pairs JOIN structures USING (structure_key, structure_id)"
    assert rows(output, pairs) == rows(output, "SELECT count(*) FROM pairs")


def test_of_two_active_models_the_first_stays_so_and_versions_count_on(
    parts: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, second, _ = parts
    output = tmp_path / "all.duckdb"
    merged(output, first, second)
    models = rows(output, "SELECT target, version, status FROM models ORDER BY ALL")
    targets = sorted({row[0] for row in models})
    assert models == [row for t in targets for row in ((t, 1, "active"), (t, 2, "candidate"))]
    active = "SELECT count(*) FROM formulas WHERE status = 'active'"
    assert rows(output, active) == rows(first, active)
    twice = "SELECT 1 FROM formulas GROUP BY material_id, pair_label, target, version HAVING count(*) > 1"
    assert rows(output, twice) == []


def test_databases_that_contradict_each_other_are_refused_and_nothing_is_written(
    parts: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, _ = parts
    other = Path(shutil.copyfile(second, tmp_path / "other.duckdb"))
    with open_database(other) as db, db.transaction():
        db.execute("UPDATE hosts SET energy = coalesce(energy, 0) + 0.5")
        db.execute("UPDATE structures SET content_hash = 'x' || content_hash WHERE structure_key = 1")
    output = tmp_path / "all.duckdb"
    assert run(["merge", str(first), str(other), "-o", str(output)]) == InputDataError.exit_code
    said = capsys.readouterr().err
    assert "host " in said
    assert "differs in energy" in said
    assert "differs in content_hash" in said
    assert "other.duckdb" in said
    assert not output.exists()
    assert run(["merge", str(first), "-o", str(first)]) == 2


def test_a_run_that_goes_on_elsewhere_is_not_running_here(
    parts: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copyfile(parts[0], tmp_path / "copy.duckdb"))
    with open_database(copy) as db, db.transaction():
        finish_run(db, 1, "running")
    output = tmp_path / "all.duckdb"
    assert run(["merge", str(copy), "-o", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"][0]["structures"] > 0
    assert ("failed",) in rows(output, "SELECT status FROM runs")
