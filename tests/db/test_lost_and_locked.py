"""Nothing is lost: two first writers, Ctrl-C, full disks, folders without rights, killed processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.models.formulas import start_run
from defectdb.errors import DatabaseError, QueryError
from defectdb.schema.records import RunRecord

RUN = RunRecord(
    kind="pair", config="{}", selection_sql="", selection_hash="", n_rows=0, seed=0, device="cpu", version=""
)


def python(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """A process of its own that runs Python code; Ctrl-C ends it also where the test runner's parent ignores it."""
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **options,
    )  # fmt: skip


def test_a_file_that_came_to_be_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    looked = os.path.lexists

    def other_is_faster(file: object) -> bool:
        if not looked(path):
            monkeypatch.undo()
            with open_database(path, create=True) as db:
                toy.fill(db)
            return False
        return looked(file)

    monkeypatch.setattr(os.path, "lexists", other_is_faster)
    with open_database(path, create=True) as db:
        assert db.value("SELECT count(*) FROM structures") > 0
    assert [file.name for file in tmp_path.iterdir()] == ["a.duckdb"]


def test_two_processes_that_make_one_file_both_keep_their_rows_or_one_is_told(tmp_path: Path) -> None:
    code = """
import sys, os, time
from defectdb.db import open_database
from defectdb.errors import DatabaseError
go = float(sys.argv[2])
import polars as pl
time.sleep(max(0, go - time.time()))
try:
    with open_database(sys.argv[1], create=True) as db, db.transaction():
        db.append("rejects", pl.DataFrame([{"dataset_id": sys.argv[3], "source_path": "", "reason": "", "detail": ""}]))
except DatabaseError as error:
    sys.exit(4 if "in use by" in str(error) else 5)
"""
    path = tmp_path / "race.duckdb"
    go = time.time() + 3
    racers = [python(code, path, go, name) for name in ("one", "two")]
    told = [racer.communicate(timeout=120) for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert set(codes) <= {0, 4}, told
    with open_database(path, read_only=True) as db:
        stored = db.frame("SELECT dataset_id FROM rejects ORDER BY ALL")["dataset_id"].to_list()
    assert stored == [name for name, code in zip(("one", "two"), codes, strict=True) if code == 0]
    assert [file.name for file in tmp_path.iterdir()] == ["race.duckdb"]


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads: DuckDB computes in the first one where it has no other."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]
    return int(ticks) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads a process's processor time")
def test_ctrl_c_while_duckdb_works_ends_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    open_database(path, create=True).close()
    code = "import sys; from defectdb.cli import run; sys.exit(run(sys.argv[1:]))"
    long = "SELECT count(*) FROM range(3000000) a, range(3000000) b WHERE (a.range * b.range) % 7 = 3"
    working = python(code, "--db", path, "sql", long)
    until = time.monotonic() + 120
    while working.poll() is None and _cpu_seconds(working.pid) < 5 and time.monotonic() < until:
        time.sleep(0.2)
    working.send_signal(signal.SIGINT)
    try:
        out, told = working.communicate(timeout=60)
    finally:
        working.kill()
    assert (working.returncode, out) == (130, "")
    assert told.strip() == "interrupted"


def test_an_interrupted_query_is_an_interruption(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def sql(self, *_: object, **__: object) -> None:
            raise RuntimeError("Query interrupted")

        def close(self) -> None:
            pass

    monkeypatch.setattr(empty_database, "_connection", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        empty_database.frame("SELECT 1")


def test_a_full_disk_at_commit_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db)
    code = """
import resource, signal, sys
import polars as pl
from defectdb.db import open_database
from defectdb.errors import DefectDBError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = pl.DataFrame({"dataset_id": [f"{k * 2654435761 % 2**32:x}" * 40 for k in range(20000)]}).with_columns(
    source_path=pl.lit(""), reason=pl.lit(""), detail=pl.lit(""))
try:
    with open_database(sys.argv[1]) as db:
        size = int(sys.argv[2])
        with db.transaction():
            db.append("rejects", rows)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
except DefectDBError as error:
    print(error)
    sys.stdout.flush()
    import os
    os._exit(error.exit_code)
"""
    full = python(code, path, path.stat().st_size)
    out, told = full.communicate(timeout=60)
    assert (full.returncode, told) == (4, "")
    assert "could not be written" in out
    assert "the database is as before" in out
    with open_database(path) as db:
        assert db.value("SELECT count(*) FROM rejects") == 0
        assert db.value("SELECT count(*) FROM structures") > 0


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a folder in which root cannot write either"
)
def test_a_folder_that_may_not_be_written_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["--db", "/proc/a.duckdb", "ingest", str(tmp_path)]) == 4
    assert capsys.readouterr().err.startswith("error: cannot make a database at /proc/a.duckdb: ")


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"too long|cannot make a database"):
        open_database(tmp_path / ("a" * 300), create=True)


@pytest.mark.parametrize("target", ["/dev/full", "closed"])
def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, target: str) -> None:
    path = tmp_path / "a.duckdb"
    open_database(path, create=True).close()
    command = f"{sys.executable} -m defectdb --db {path} status"
    shell = f"{command} > /dev/full" if target == "/dev/full" else f"{command} | true"
    ended = subprocess.run(
        ["bash", "-c", f"{shell}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == ("1" if target == "/dev/full" else "0")
    assert ended.stderr.splitlines() == (
        ["error: standard output: No space left on device"] if target == "/dev/full" else []
    )


def test_runs_that_were_killed_are_marked_by_the_next_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with open_database(path, create=True) as db, db.transaction():
        start_run(db, RUN)
    with open_database(path, read_only=True) as db:
        assert db.frame("SELECT status FROM runs").rows() == [("running",)]
    open_database(path).close()
    with open_database(path, read_only=True) as db:
        assert db.frame("SELECT status, finished_at IS NULL FROM runs").rows() == [("failed", False)]


def test_drafts_of_killed_processes_are_removed_by_the_next_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    open_database(path, create=True).close()
    gone = python("pass")
    gone.communicate(timeout=60)
    (tmp_path / f".a.duckdb.{gone.pid}.draft").write_bytes(b"half")
    (tmp_path / f".a.duckdb.{gone.pid}.draft.wal").write_bytes(b"half")
    (tmp_path / f".a.duckdb.{os.getpid()}.draft").write_bytes(b"at work")
    (tmp_path / ".b.duckdb.1.draft").write_bytes(b"of another file")
    open_database(path).close()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [".b.duckdb.1.draft", f".a.duckdb.{os.getpid()}.draft", "a.duckdb"]
    )


def test_a_first_ingest_that_fails_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.duckdb"
    (tmp_path / "source").mkdir()
    assert run(["--db", str(path), "ingest", str(tmp_path / "source")]) == 3
    assert "error:" in capsys.readouterr().err
    assert not path.exists()
    open_database(path, create=True).close()  # an empty database that was there stays
    assert run(["--db", str(path), "ingest", str(tmp_path / "source")]) == 3
    assert path.exists()


# ---------------------------------------------------------------- odd values and odd files


@pytest.mark.parametrize(
    "what",
    ["DATE '290000-01-01'", "TIMESTAMP '290000-01-01'", "'infinity'::DATE", "'-infinity'::TIMESTAMPTZ"],
)
def test_dates_beyond_python_are_an_error_that_says_what_helps(empty_database: Database, what: str) -> None:
    with pytest.raises(QueryError, match="outside the years 1 to 9999; write CAST"):
        empty_database.frame(f"SELECT {what} AS d")
    assert empty_database.frame(f"SELECT CAST({what} AS VARCHAR) AS d").height == 1
    assert (
        empty_database.frame(
            "SELECT DATE '9999-12-31' AS d, TIMESTAMP '0001-01-01' AS t, NULL::DATE AS n"
        ).height
        == 1
    )


def test_text_that_is_no_unicode_is_an_error(empty_database: Database) -> None:
    with pytest.raises(QueryError, match="UTF-8"):
        empty_database.frame("SELECT '\udcff'")
    with pytest.raises(QueryError, match="UTF-8"):
        empty_database.frame("SELECT $x", {"x": "\udcff"})


@pytest.mark.parametrize(
    "table", ["TABLE schema_migrations (x INTEGER)", "TABLE schema_migrations (version VARCHAR)",
              "VIEW schema_migrations AS SELECT 'a' AS version", "MACRO runs() AS 1"],
)  # fmt: skip
def test_a_database_with_other_tables_is_refused_in_one_sentence(tmp_path: Path, table: str) -> None:
    path = tmp_path / "odd.duckdb"
    with duckdb.connect(str(path)) as plain:
        plain.execute(f"CREATE {table}")
        plain.execute("CREATE TABLE other AS SELECT 1 AS version")
    for read_only in (True, False):
        with pytest.raises(DatabaseError, match=r"not one of defectdb's|none of defectdb's"):
            open_database(path, read_only=read_only)
