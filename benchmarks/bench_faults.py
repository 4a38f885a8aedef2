"""Kills, races and fuzz: what is lost or half done when commands are killed, race one another or read nonsense.

Kills per kind of job: $DEFECTDB_FAULTS, default 100, or as many as fit into a share of $DEFECTDB_FAULTS_SECONDS.
Rounds of a race: $DEFECTDB_FAULTS of two writers and of eight. Fuzzed texts per grammar and damaged files per reader:
100 times it. $DEFECTDB_FAULTS_ONLY names some kinds of jobs, `races`, `fuzz` and `readers`, joined by semicolons
(default: all).
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fault_fuzz import fuzz
from benchmarks.fault_jobs import JOBS, QUICK, Job, Trials, ended, forked, looked_at
from benchmarks.fault_readers import fuzz_readers, support_at_hand
from defectdb.cli import run

LOADED = (
    "torch",
    "defectdb.db.catalogue",
    "defectdb.ingest",
    "defectdb.learn.job",
    "defectdb.cli.query",
)
"""Loaded once: the trials fork."""

COLUMNS = ("kills", "unopened", "wrong", "lost", "half", "orphans", "leftovers")


def main() -> None:
    """Print a table of kills, one of races and one of fuzzed inputs."""
    count = int(os.environ.get("DEFECTDB_FAULTS", "100"))
    seconds = float(os.environ.get("DEFECTDB_FAULTS_SECONDS", "inf"))
    for module in LOADED:
        importlib.import_module(module)
    named = [name.strip() for name in os.environ.get("DEFECTDB_FAULTS_ONLY", "").split(";") if name.strip()]
    jobs = [job for job in JOBS if not named or job.name in named]
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        base = Path(folder)
        dataset = prepare(base)
        kills(jobs, base, dataset, count, seconds / max(1, len(jobs)))
        if not named or "races" in named:
            races(base, count)
        if not named or "fuzz" in named:
            fuzz(base / "learned.duckdb", 100 * count)
        if not named or "readers" in named:
            support_at_hand()
            fuzz_readers(base, 100 * count)


def prepare(base: Path) -> str:
    """Make the archives and databases that the trials start from; the dataset's id."""
    log = base / "prepare.log"
    if ended(forked(lambda: _prepare(base), log)):
        raise RuntimeError(log.read_text()[-1000:])
    return (base / "dataset").read_text()


def _prepare(base: Path) -> int:
    from defectdb.db import open_database
    from defectdb.demo.archive import write_archive

    for folder in ("second", "third"):
        (base / folder).mkdir()
    write_archive(base / "first.zip", cell=4, triples=10)
    write_archive(base / "second" / "first.zip", cell=4, triples=20, seed=1)
    write_archive(base / "third" / "other.zip", cell=5, triples=10)
    code = run(["--db", str(base / "ingested.duckdb"), "ingest", str(base / "first.zip")])
    shutil.copyfile(base / "ingested.duckdb", base / "learned.duckdb")
    code |= run(
        ["--db", str(base / "other.duckdb"), "ingest", str(base / "third" / "other.zip"), "--name", "other"]
    )
    learned = ["--db", str(base / "learned.duckdb")]
    code |= run([*learned, "learn", "--all-pairs", "--workers", "1", *QUICK])
    with open_database(base / "learned.duckdb") as db, db.transaction():
        (base / "dataset").write_text(db.value("SELECT dataset_id FROM datasets"))
        db.execute("UPDATE models SET status = 'candidate'")  # so that activating has something to do
        db.execute("UPDATE formulas SET status = 'candidate'")
    code |= run([*learned, "formulas", "activate", "1"])
    return code


def kills(jobs: Sequence[Job], base: Path, dataset: str, count: int, seconds: float) -> None:
    """One line per kind of job, of which none takes longer than so many seconds."""
    print(f"{'job':<32} {'s':>5} " + " ".join(f"{name:>9}" for name in COLUMNS), flush=True)
    for job in jobs:
        until = time.monotonic() + seconds
        trials = Trials(job, base, dataset, seed=0)
        tried = 0
        while trials.counts.kills < count and tried < 2 * count and time.monotonic() < until:
            trials.kill_one()
            tried += 1
        line = " ".join(f"{getattr(trials.counts, name):>9}" for name in COLUMNS)
        print(f"{job.name:<32} {trials.seconds:5.1f} {line}", flush=True)


def races(base: Path, rounds: int) -> None:
    """Two and eight first ingests into one file: who says 'loaded' must be in it."""
    print(f"\n{'writers of one new file':<32} {'rounds':>9} {'loaded':>9} {'refused':>9} {'lost':>9}")
    for writers in (2, 8):
        loaded = refused = lost = 0
        for number in range(rounds):
            here = base / "race" / f"{writers}-{number}"
            here.mkdir(parents=True)
            database, begin = str(here / "a.duckdb"), time.time() + 0.3

            def ingest(name: str, database: str = database, begin: float = begin) -> int:
                time.sleep(max(0.0, begin - time.time()))
                return run(["--db", database, "ingest", str(base / "first.zip"), "--name", name])

            codes = [ended(pid) for pid in [forked(lambda n=n: ingest(f"set{n}")) for n in range(writers)]]  # type: ignore[misc]
            done = codes.count(0)
            found = looked_at(here / "a.duckdb")
            held = found["held"] if found else {}
            assert isinstance(held, dict)
            loaded, refused = loaded + done, refused + codes.count(4)
            lost += done - int(held.get("datasets", 0)) if done else 0
        print(f"{writers:<32} {rounds:>9} {loaded:>9} {refused:>9} {lost:>9}", flush=True)
