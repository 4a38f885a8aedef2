"""Searches in jobs whose tasks and submitting processes are ended at moments drawn by chance, and what they leave."""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.fault_jobs import ended, forked
from benchmarks.fork_workers import ALGEBRA, Workers
from defectdb.cli import run
from defectdb.engine.finishing import sympy_process

SEARCH = ("learn", "--pair", "Vac_B-Vac_N", "--islands", "3", "--generations", "0", "--population", "64",
          "--max-tokens", "5", "--time-limit", "3600")  # fmt: skip
DAY = 86400.0
PATIENCE = 90.0
"""Seconds after which a worker counts as an orphan: one that begins when all is done looks for its job for a minute."""
COLUMNS = ("faults", "went_on", "refused", "lost", "different", "half", "running", "wrong", "orphans")
HELD = {
    "formulas": "SELECT pair_label, dz_min, infix, constants, complexity, mae_train, mae_cv, status FROM formulas",
    "terms": 'SELECT m.status, "order", label, t.value, infix FROM model_terms AS t JOIN models AS m USING (model_id) '
    "LEFT JOIN formulas USING (formula_id)",
    "runs": "SELECT status, count(*) FROM runs GROUP BY ALL",
}


def looked_at(database: Path) -> dict[str, object]:
    """Rows of formulas and terms as texts, runs by status, and failed checks; empty where it does not open."""
    report = database.with_name("report.json")
    report.unlink(missing_ok=True)

    def look() -> None:
        from defectdb.db import open_database
        from defectdb.db.check import check

        with open_database(database, read_only=True) as db:
            found: dict[str, object] = {
                name: sorted(repr(row) for row in db.frame(sql).rows()) for name, sql in HELD.items()
            }
            frame = check(db)
            found["wrong"] = frame.filter(frame["n"] > 0)["check"].to_list()
            report.write_text(json.dumps(found))

    ended(forked(look, database.with_name("look.log")))
    return dict(json.loads(report.read_text())) if report.exists() else {}


class Trials:
    """Trials on one kind of executor; ``counts`` of each fault by its name."""

    def __init__(self, place: str, base: Path, workers: Workers, seed: int = 0) -> None:
        self.place, self._base, self._workers = place, base, workers
        self._random = random.Random(f"{place} {seed}")
        self.counts: dict[str, dict[str, int]] = {}
        here = self._prepared("alone")
        self._demand_done(ended(forked(lambda: run(["--db", str(here / "a.duckdb"), *SEARCH, "--workers", "1"]),
                                       here / "log")), here)  # fmt: skip
        self.whole = looked_at(here / "a.duckdb")
        here = self._prepared("undisturbed")
        begin = time.monotonic()
        self._demand_done(ended(self._begin(here)), here)
        self.seconds = time.monotonic() - begin
        self._judge(here, self._count("none"))

    def _demand_done(self, code: int, here: Path) -> None:
        if code:
            raise RuntimeError(f"{self.place} fails by itself: {(here / 'log').read_text()[-1500:]}")

    def _count(self, fault: str) -> dict[str, int]:
        return self.counts.setdefault(fault, dict.fromkeys(COLUMNS, 0))

    def _prepared(self, name: str) -> Path:
        here = self._base / "trial" / self.place / name
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        shutil.copyfile(self._base / "ingested.duckdb", here / "a.duckdb")
        return here

    def _begin(self, here: Path, *more: str, log: str = "log") -> int:
        """The submitting process; with ``--resume`` it takes up a run again."""
        asked = ("learn",) if "--resume" in more else (*SEARCH, "--executor", self.place, "--workers", "2")
        command = ["--db", str(here / "a.duckdb"), *asked, "--tasks", str(here / "tasks"), *more]

        def submit() -> int:
            sys.executable = str(self._workers.python)
            os.environ["PATH"] = self._workers.path
            return run(command)

        return forked(submit, here / log)

    def trial(self, fault: str) -> None:
        """One trial: begin, wait for a moment drawn by chance, do what ``fault`` says, take up again, compare."""
        here, count = self._prepared("disturbed"), self._count(fault)
        happened: Callable[[Path, dict[str, int]], bool] = getattr(self, f"_{fault.replace(' ', '_')}")
        count["faults"] += happened(here, count)
        self._judge(here, count)

    def _moment(self) -> None:
        time.sleep(self._random.uniform(0, self.seconds))

    def _task(self, submitter: int, end: Callable[[int], None]) -> bool:
        """End one task that is at work; whether there was one. The submitting process must get over it."""
        self._moment()
        while not (alive := self._workers.alive()):
            if os.waitpid(submitter, os.WNOHANG) != (0, 0):
                return False
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            end(self._random.choice(sorted(alive)))
            return True
        return False

    def _disturbed(self, here: Path, count: dict[str, int], end: Callable[[int], None]) -> bool:
        submitter = self._begin(here)
        done = self._task(submitter, end)
        with suppress(ChildProcessError):
            count["refused"] += ended(submitter) != 0
        return done

    def _task_killed(self, here: Path, count: dict[str, int]) -> bool:
        return self._disturbed(here, count, lambda pid: os.kill(pid, signal.SIGKILL))

    def _task_out_of_memory(self, here: Path, count: dict[str, int]) -> bool:
        limit = (1 << 20, 1 << 20)  # bytes: every further allocation fails
        return self._disturbed(here, count, lambda pid: resource.prlimit(pid, resource.RLIMIT_AS, limit))

    def _task_out_of_time(self, here: Path, count: dict[str, int]) -> bool:
        def end(pid: int) -> None:
            """As SLURM does: a warning, a request to end, and the end."""
            for name in (signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL):
                os.kill(pid, name)
                time.sleep(0.05)

        return self._disturbed(here, count, end)

    def _submitter_killed(self, here: Path, count: dict[str, int]) -> bool:
        submitter = self._begin(here)
        self._moment()
        os.kill(submitter, signal.SIGKILL)
        killed = ended(submitter) == -signal.SIGKILL
        before = _results(here)
        self._moment()
        count["went_on"] += max(0, len(_results(here) - before))
        _set_clocks(here, self._random)
        if killed:
            count["refused"] += self._resumed(here) != 0
        return killed

    def _resumed(self, here: Path) -> int:
        kept = any((here / "tasks").glob("run-*.json"))
        return ended(self._begin(here, *(("--resume",) if kept else ())))

    def _disk_full(self, here: Path, count: dict[str, int]) -> bool:
        with _small_disk(here / "tasks"):
            submitter = self._begin(here)
            self._moment()
            _fill(here / "tasks" / "filler")
            failed = ended(submitter) != 0
            (here / "tasks" / "filler").unlink()
            if failed:
                count["refused"] += self._resumed(here) != 0
            shutil.rmtree(here / "tasks" / "jobs", ignore_errors=True)
            return failed

    def _other_version(self, here: Path, count: dict[str, int]) -> bool:
        self._workers.version.touch()
        refused = ended(self._begin(here)) != 0 and "0.0.1" in (here / "log").read_text()
        self._workers.version.unlink()
        if refused:
            count["refused"] += self._resumed(here) != 0
        else:
            count["wrong"] += 1
        return refused

    def _two_submitters(self, here: Path, count: dict[str, int]) -> bool:
        both = [self._begin(here, log=f"log{k}") for k in range(2)]
        count["refused"] += sum(ended(pid) != 0 for pid in both)
        return True

    def _judge(self, here: Path, count: dict[str, int]) -> None:
        until = time.monotonic() + PATIENCE
        while (left := self._workers.alive()) and time.monotonic() < until:
            time.sleep(0.1)
        count["orphans"] += len(left)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        found = looked_at(here / "a.duckdb")
        bad = _differences(found, self.whole)
        for name, number in bad.items():
            count[name] += number
        count["half"] += (here / "tasks").exists() and any((here / "tasks").rglob("*"))
        if any(bad.values()) or count["refused"] or count["half"]:
            print((here / "log").read_text()[-500:], sorted((here / "tasks").rglob("*"))[:8], file=sys.stderr)


def _differences(found: dict[str, object], whole: dict[str, object]) -> dict[str, int]:
    """Formulas that are lost or were not there, runs that seem to be at work, checks that fail."""
    if not found:
        return {"wrong": 1}
    mine, theirs = ({name: set(map(str, _rows(one, name))) for name in HELD} for one in (found, whole))
    one_model = {row.replace("'candidate'", "'active'") for row in mine["formulas"]}
    return {
        "lost": len({r.replace("'candidate'", "'active'") for r in theirs["formulas"]} - one_model),
        "different": len({r for r in mine["terms"] if "'active'" in r} ^ theirs["terms"]),
        "running": sum("'running'" in row for row in mine["runs"]),
        "wrong": len(_rows(found, "wrong")),
    }


def _rows(found: dict[str, object], name: str) -> list[object]:
    rows = found[name]
    assert isinstance(rows, list)
    return rows


def _results(here: Path) -> set[str]:
    return {path.name for path in (here / "tasks" / "results").glob("[!.]*")}


def _set_clocks(here: Path, draw: random.Random) -> None:
    """Times of the tasks' files as machines with other clocks would have written them."""
    for path in (here / "tasks").rglob("*"):
        with suppress(FileNotFoundError):
            moment = time.time() + draw.uniform(-DAY, DAY)
            os.utime(path, (moment, moment))


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


MODULES = ("torch", "sympy", "submitit.local.local", "defectdb.db.catalogue", "defectdb.learn.job",
           "defectdb.learn.cluster.submitted", "defectdb.learn.cluster.worker",
           ALGEBRA)  # fmt: skip
"""Loaded once: everything forks."""


def two_publishers(base: Path, rounds: int) -> None:
    """Two processes that write one shared copy at the same time: both say done, and the copy is whole."""
    refused = broken = left = 0
    whole = looked_at(base / "one.duckdb")
    for number in range(rounds):
        here = base / "published" / str(number)
        here.mkdir(parents=True)
        command = ["--db", str(base / "one.duckdb"), "publish", str(here / "copy")]
        pids = [forked(partial(run, command), here / f"log{k}") for k in range(2)]
        refused += sum(ended(pid) != 0 for pid in pids)
        broken += looked_at(here / "copy" / "defects.duckdb").get("terms") != whole["terms"]
        left += sum(path.name.startswith(".") for path in here.iterdir())
    print(f"two publishers at once, {rounds} rounds: {refused} refused, {broken} copies broken, {left} leftovers",
          flush=True)  # fmt: skip


FAULTS = (("submitter killed", 5), ("task killed", 4), ("task out of time", 2), ("task out of memory", 2),
          ("two submitters", 1), ("other version", 1), ("disk full", 1))  # fmt: skip
"""Faults, and how often each comes in one round."""


def kills(base: Path, rounds: int, seconds: float) -> None:
    """A line for every fault on every kind of executor; no trial begins after so many seconds."""
    for module in MODULES:
        importlib.import_module(module)
    workers = Workers(base)
    algebra = (str(workers.python), "-m", ALGEBRA)
    sympy_process.Algebra.__init__.__defaults__ = (sympy_process.SECONDS, algebra)
    try:
        both = [Trials(place, base, workers, seed=rounds) for place in ("slurm", "local")]
        until = time.monotonic() + seconds
        for trials in (t for _ in range(rounds) for t in both):
            for fault in (name for name, often in FAULTS for _ in range(often)):
                if time.monotonic() < until:
                    trials.trial(fault)
    finally:
        workers.close()
    print(f"{'executor':<9} {'fault':<20} " + " ".join(f"{name:>9}" for name in COLUMNS))
    for trials in both:
        for fault, count in trials.counts.items():
            line = " ".join(f"{count[name]:>9}" for name in COLUMNS)
            print(f"{trials.place:<9} {fault:<20} {line}", flush=True)
    two_publishers(base, 2 * rounds)


if __name__ == "__main__":
    kills(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
