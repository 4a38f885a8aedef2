"""The real archive from the zip to predictions, through the command line alone."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import duckdb
import pytest

from defectdb.cli import run
from defectdb.errors import ExitCode


def test_from_the_archive_to_predictions_through_the_command_line(
    real_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "defects.duckdb"
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path / "cache"))
    assert run(["--db", str(path), "-q", "ingest", str(real_archive)]) == ExitCode.DONE
    learn = ["learn", "--pair", "Vac_S-Vac_S", "--pair", "W_Mo-Vac_S", "--generations", "0", "--json"]
    assert run(["--db", str(path), "-q", *learn]) == ExitCode.DONE
    capsys.readouterr()
    _predicts_better_than_published_networks(path, capsys)
    _a_plain_client_reads_the_same_predictions(path, capsys)
    _active_formulas_are_macros(path)
    _structure_files_are_predicted_as_their_stored_twins(path, real_archive, tmp_path, capsys)


def _predicts_better_than_published_networks(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """W_Mo + 2 Vac_S, no structure of which was learned from: the best published graph network errs by 4 meV."""
    assert run(["--db", str(database), "evaluate", "--by", "descriptor", "--json"]) == ExitCode.DONE
    rows = json.loads(capsys.readouterr().out)
    [row] = [r for r in rows if r["target"] == "formation_energy_per_site" and r["group"] == "S3"]
    assert row["n"] > 500
    assert row["mae"] < 4e-3


def _a_plain_client_reads_the_same_predictions(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = (
        "SELECT structure_id, target, value FROM predictions WHERE n_defects = 3 AND value IS NOT NULL "
        "ORDER BY ALL LIMIT 50"
    )
    assert run(["--db", str(database), "sql", query, "--format", "json"]) == ExitCode.DONE
    ours = json.loads(capsys.readouterr().out)
    with duckdb.connect(str(database), read_only=True) as plain:
        theirs = plain.execute(query).fetchall()
    assert len(ours) == 50
    assert [(r["structure_id"], r["target"]) for r in ours] == [row[:2] for row in theirs]
    assert [r["value"] for r in ours] == pytest.approx([row[2] for row in theirs], rel=1e-15)


def _active_formulas_are_macros(database: Path) -> None:
    with duckdb.connect(str(database), read_only=True) as plain:
        value, stored = plain.execute(
            "SELECT v_Vac_S__W_Mo(CAST(4.0 AS DOUBLE), CAST(1.56 AS DOUBLE)), sql FROM formulas "
            "WHERE status = 'active' AND pair_label = 'Vac_S-W_Mo'"
        ).fetchone()
        again = plain.execute(f"SELECT {stored} FROM (SELECT CAST(4.0 AS DOUBLE) AS r)").fetchone()
    assert value == pytest.approx(again[0], rel=1e-12)


def _structure_files_are_predicted_as_their_stored_twins(
    database: Path, real_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with duckdb.connect(str(database), read_only=True) as plain:
        wanted = plain.execute(
            "SELECT structure_id FROM structures WHERE descriptor = 'S3' ORDER BY ALL LIMIT 3"
        ).fetchall()
    names = {f"{name}.cif" for (name,) in wanted}
    with zipfile.ZipFile(real_archive) as outer:
        inner_name = next(n for n in outer.namelist() if n.endswith("initial.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner_name))) as inner:
            for member in inner:
                if Path(member.name).name in names:
                    (tmp_path / Path(member.name).name).write_bytes(inner.extractfile(member).read())
    output = tmp_path / "out.csv"
    files = sorted(str(p) for p in tmp_path.glob("*.cif"))
    target = ["--target", "formation_energy_per_site", "--output", str(output)]
    assert run(["--db", str(database), "-q", "predict", *files, *target]) == ExitCode.DONE
    capsys.readouterr()
    with duckdb.connect(str(database), read_only=True) as plain:
        both = plain.execute(
            "SELECT n.value, p.value FROM read_csv(?) AS n JOIN predictions AS p "
            "ON p.structure_id = n.structure_id AND p.target = n.target",
            [str(output)],
        ).fetchall()
    assert len(both) == 3
    assert [a for a, _ in both] == pytest.approx([b for _, b in both], rel=1e-9)


def test_wrong_requests_end_with_a_message_and_the_agreed_exit_code(
    real_database: Path, tmp_path: Path
) -> None:
    database = real_database

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "defectdb", "--db", str(database), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    unknown = call("learn", "--pair", "Vac_Mo-Vac_Se")
    assert unknown.returncode == ExitCode.BAD_USAGE
    assert "Vac_Mo-Vac_S" in unknown.stderr
    torn = tmp_path / "torn.zip"
    torn.write_bytes(b"PK\x03\x04 not an archive")
    broken = call("ingest", str(torn))
    assert broken.returncode == ExitCode.BAD_DATA
    assert "torn.zip" in broken.stderr
    with duckdb.connect(str(database)):
        locked = call("status")
    assert locked.returncode == ExitCode.DATABASE_UNUSABLE
    assert "process" in locked.stderr
    for result in (unknown, broken, locked):
        assert "Traceback" not in result.stderr
