"""Killed processes and full disks: the database opens and holds all of a dataset or nothing of it."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from support.builders import build_archive

from defectdb.db import open_database

WORKER = """
import sys
from pathlib import Path
from defectdb.db import open_database
from defectdb.ingest import load
with open_database(sys.argv[1], create=True) as db:
    print("open", flush=True)
    load(db, [Path(sys.argv[2])], name="whole")
    print("done", flush=True)
"""
KILLS = 20


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("crash") / "a.zip"
    build_archive(path, structures=400, defects=(2, 3))
    return path


def counts(database):
    """Structures, orphaned rows."""
    with open_database(database, read_only=True) as db:
        n = db.value("SELECT count(*) FROM structures")
        orphans = sum(
            db.value(
                f"SELECT count(*) FROM {t} WHERE structure_id NOT IN (SELECT structure_id FROM structures)"
            )
            for t in ("defects", "pairs", "targets")
        )
        listed = db.value("SELECT coalesce(sum(n_structures), 0) FROM datasets")
    return n, orphans, listed


def start(database, archive):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(database), str(archive)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_kill_9_at_any_moment_leaves_all_or_nothing_and_the_next_run_completes(tmp_path, archive):
    database = tmp_path / "d.duckdb"
    process = start(database, archive)
    process.stdout.readline()
    began = time.monotonic()
    process.communicate(timeout=120)
    span = time.monotonic() - began
    assert counts(database) == (400, 0, 400)
    draw, found = random.Random(7), []
    for k in range(0, KILLS, 2):
        victims = [tmp_path / f"{k}.duckdb", tmp_path / f"{k + 1}.duckdb"]
        processes = [start(victim, archive) for victim in victims]
        for process in processes:
            process.stdout.readline()  # the database is open: from here on the moment is random
        for process, wait in zip(processes, (draw.uniform(0.2, 0.6), draw.uniform(0.1, 0.6)), strict=True):
            time.sleep(wait * span)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        for victim in victims:
            n, orphans, listed = counts(victim)
            assert (orphans, listed) == (0, n)
            assert n in (0, 400)
            found.append(n)
    assert len(found) == KILLS
    assert 0 in found
    again = start(victims[0], archive)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert counts(victims[0]) == (400, 0, 400)


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_full_disk_is_a_clear_error_and_the_database_is_as_before(tmp_path, archive):
    database = tmp_path / "d.duckdb"
    with open_database(database, create=True):
        pass
    size = database.stat().st_size
    assert size < 2 << 20
    big = tmp_path / "big.zip"
    build_archive(big, structures=400, defects=(14,), seed=3)
    command = [sys.executable, "-m", "defectdb", "--db", str(database), "ingest", str(big)]
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=limit_file_size, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert counts(database) == (0, 0, 0)
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    assert counts(database) == (400, 0, 400)
