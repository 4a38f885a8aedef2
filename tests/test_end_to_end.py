"""The real archive from the zip to predictions, through the command line alone."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import pytest

from defectdb.cli import run
from defectdb.errors import ExitCode


@pytest.fixture(scope="module")
def database(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive ingested and every pair label learned, with a short search."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "defects.duckdb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFECTDB_CACHE", str(folder / "cache"))
        assert run(["--db", str(path), "-q", "ingest", str(real_archive)]) == ExitCode.DONE
        learn = ["learn", "--all-pairs", "--target", "formation_energy", "--generations", "0", "--time-limit", "15", "--json"]
        assert run(["--db", str(path), "-q", *learn]) == ExitCode.DONE
    return path


def test_formulas_of_pairs_predict_three_defects_better_than_published_graph_networks(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(database), "evaluate", "--by", "n_defects", "--json"]) == ExitCode.DONE
    rows = json.loads(capsys.readouterr().out)
    [row] = [r for r in rows if r["target"] == "formation_energy_per_site" and str(r["group"]) == "3"]
    assert row["n"] == 4365
    assert next(v for k, v in row.items() if k.startswith("mae")) < (6.0 if "mae [meV]" in row else 6e-3)


def test_a_plain_client_reads_the_same_predictions(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT structure_id, target, value FROM predictions WHERE n_defects = 3 ORDER BY ALL LIMIT 50"
    assert run(["--db", str(database), "sql", query, "--format", "json"]) == ExitCode.DONE
    ours = json.loads(capsys.readouterr().out)
    with duckdb.connect(str(database), read_only=True) as plain:
        theirs = plain.execute(query).fetchall()
    assert [(r["structure_id"], r["target"]) for r in ours] == [row[:2] for row in theirs]
    assert [r["value"] for r in ours] == pytest.approx([row[2] for row in theirs], rel=1e-15)


def test_active_formulas_have_kernels_in_sql(database: Path) -> None:
    with duckdb.connect(str(database), read_only=True) as plain:
        value, stored = plain.execute(
            "SELECT v_Vac_Mo__Vac_S(CAST(4.0 AS DOUBLE), CAST(1.56 AS DOUBLE)), sql FROM formulas "
            "WHERE status = 'active' AND pair_label = 'Vac_Mo-Vac_S'"
        ).fetchone()
        again = plain.execute(f"SELECT {stored} FROM (SELECT CAST(4.0 AS DOUBLE) AS r)").fetchone()
    assert value == pytest.approx(again[0], rel=1e-12)


def test_a_structure_file_is_predicted_as_its_stored_twin(
    database: Path, real_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import io
    import tarfile

    with zipfile.ZipFile(real_archive) as outer:
        name = next(n for n in outer.namelist() if n.endswith("initial.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as inner:
            members = [m for m in inner if m.name.endswith(".cif")][-3:]
            for member in members:
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


def test_wrong_requests_end_with_a_message_and_the_agreed_exit_code(database: Path, tmp_path: Path) -> None:
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
