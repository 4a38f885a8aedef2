"""A published copy: what it holds is what the database holds, units are in the files, nothing is half there."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.db.access.locks import hold, let_go
from defectdb.errors import DatabaseError


@pytest.fixture(scope="module")
def published(toy_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "copy"
    assert run(["--quiet", "--db", str(toy_template), "publish", str(folder)]) == 0
    return folder


def test_the_copy_predicts_what_the_database_predicts(published: Path, toy_template: Path) -> None:
    sql = "SELECT * EXCLUDE (missing) FROM predictions ORDER BY ALL"
    with (
        open_database(toy_template, read_only=True) as db,
        open_database(f"file://{published}/defects.duckdb", read_only=True) as copy,
    ):
        assert copy.frame(sql).equals(db.frame(sql))
        assert copy.frame("FROM formulas ORDER BY ALL").equals(db.frame("FROM formulas ORDER BY ALL"))
        predictions = db.frame(sql)
    parquet = pl.read_parquet(published / "parquet" / "predictions.parquet").drop("missing")
    assert parquet.sort(pl.all()).equals(predictions.sort(pl.all()))
    with duckdb.connect() as plain:
        plain.execute(f"ATTACH '{published}/defects.duckdb' AS copy (READ_ONLY)")
        [(tags,)] = plain.sql("SELECT tags FROM duckdb_databases() WHERE database_name = 'copy'").fetchall()
    assert tags["storage_version"].startswith("v1.4")


def test_parquet_files_carry_units_and_meanings(published: Path) -> None:
    schema = pq.read_schema(published / "parquet" / "pairs.parquet")
    distance = schema.field("distance").metadata
    assert distance[b"unit"] == b"angstrom"
    assert distance[b"description"] == b"minimum-image distance"
    assert b"two defects" in schema.metadata[b"description"]


def test_the_description_names_every_file_with_its_hash(published: Path) -> None:
    package = json.loads((published / "datapackage.json").read_text())
    paths = {resource["path"] for resource in package["resources"]}
    there = {p.relative_to(published).as_posix() for p in published.rglob("*") if p.is_file()}
    assert paths == there - {"datapackage.json"}
    for resource in package["resources"]:
        content = (published / resource["path"]).read_bytes()
        assert resource["hash"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert resource["bytes"] == len(content)
    [structures] = [r for r in package["resources"] if r["name"] == "structures"]
    assert {"name": "n_defects", "type": "integer"}.items() <= structures["schema"]["fields"][4].items()
    assert package["sources"]


def test_an_earlier_copy_is_replaced_and_other_folders_are_left_alone(
    toy_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    assert run(["--db", str(toy_path), "publish", str(other)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (other / "thesis.tex").read_text() == "mine"
    for _ in range(2):
        assert run(["--db", str(toy_path), "publish", str(folder), "--json"]) == 0
        files = json.loads(capsys.readouterr().out)["files"]
        assert {"defects.duckdb", "datapackage.json", "parquet/formulas.parquet"} <= set(files)
        with open_database(toy_path) as db, db.transaction():
            db.execute("DELETE FROM targets WHERE target = 'homo_lumo_gap'")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["copy", "other"]
    assert "homo_lumo_gap" not in pl.read_parquet(folder / "parquet" / "targets.parquet")["target"].to_list()


def test_two_that_publish_to_one_folder_write_one_after_the_other(toy_path: Path, tmp_path: Path) -> None:
    lock = tmp_path / ".copy.lock"
    other = hold(lock)
    assert other is not None
    done = threading.Thread(
        target=run, args=(["--quiet", "--db", str(toy_path), "publish", str(tmp_path / "copy")],)
    )
    done.start()
    time.sleep(1.0)
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / ".copy.draft").exists()
    let_go(other, lock)
    done.join()
    assert (tmp_path / "copy" / "datapackage.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".copy")) == []


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("https://zenodo.org/defects.duckdb", "download it"),
        ("s3://group/defects.duckdb", "not on this machine"),
    ],
)
def test_a_database_on_a_web_server_is_an_error_that_says_what_to_do(address: str, match: str) -> None:
    with pytest.raises(DatabaseError, match=match):
        open_database(address, read_only=True)


def test_an_address_of_a_file_is_for_reading(toy_path: Path) -> None:
    with pytest.raises(DatabaseError, match="reading only"):
        open_database(f"file://{toy_path}")
