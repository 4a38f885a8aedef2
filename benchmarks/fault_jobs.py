"""Start a command, kill it at a moment drawn by chance, and look at what it left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defectdb.cli import run

QUICK = ("--generations", "0", "--population", "64", "--max-tokens", "5", "--time-limit", "3")
PATIENCE = 20.0  # seconds after which a worker whose parent was killed counts as an orphan


@dataclass(frozen=True, slots=True)
class Job:
    """A command that is killed.

    name      what the table calls it
    command   its arguments; ``{here}`` is the folder of one trial, ``{base}`` that of the prepared files
    base      prepared database that it starts from, None for a new one
    output    file or folder that it writes beside the database, None for none
    """

    name: str
    command: tuple[str, ...]
    base: str | None = "learned"
    output: str | None = None


JOBS = (
    Job("ingest, new database", ("ingest", "{base}/first.zip"), base=None),
    Job("ingest, update", ("ingest", "{base}/second/first.zip")),
    Job("learn --pair", ("learn", "--pair", "Vac_B-Vac_N", *QUICK), base="ingested"),
    Job("learn --all-pairs --workers 2", ("learn", "--all-pairs", "--workers", "2", *QUICK), base="ingested"),
    Job("learn --model", ("learn", "--model", *QUICK), base="ingested"),
    Job("formulas activate", ("formulas", "activate", "1")),
    Job("remove", ("remove", "{dataset}")),
    Job("predict", ("predict", "--target", "formation_energy", "-o", "{here}/p.parquet"), output="p.parquet"),
    Job("enumerate", ("enumerate", "--material", "BN_tb", "--supercell", "4x4", "--defects", "Vac_B,Vac_N",
                      "-o", "{here}/e.parquet"), output="e.parquet"),
    Job("export paper", ("export", "paper", "{here}/paper"), output="paper"),
    Job("migrate", ("migrate",)),
    Job("merge", ("merge", "{base}/other.duckdb", "-o", "{here}/a.duckdb")),
    Job("merge, new database", ("merge", "{base}/ingested.duckdb", "{base}/other.duckdb", "-o", "{here}/a.duckdb"),
        base=None),
    Job("publish", ("publish", "{here}/copy"), output="copy"),
    Job("learn --executor local", ("learn", "--pair", "Vac_B-Vac_N", "--executor", "local", "--workers", "1",
                                   "--tasks", "{here}/tasks", *QUICK), base="ingested"),
)  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What all trials of one kind of job left.

    kills      commands killed at work (those that ended before are not counted)
    unopened   databases that do not open
    wrong      databases that contradict themselves
    lost       databases that hold less than before and not what the command would have left
    half       databases or output files that are neither as before nor as after the command
    orphans    processes that outlive the killed one
    leftovers  drafts and runs said to be running after the next command that writes
    """

    kills: int = 0
    unopened: int = 0
    wrong: int = 0
    lost: int = 0
    half: int = 0
    orphans: int = 0
    leftovers: int = 0


def forked(action: Callable[[], object], log: Path | None = None) -> int:
    """Run an action in a process and session of its own; its process id. The parent's threads are not needed."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        code = int(action() or 0)  # type: ignore[call-overload]
        sys.stdout.flush()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Exit code of a process once it has ended, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def looked_at(database: Path) -> dict[str, object] | None:
    """What a database holds, found out in a process of its own; None where it does not open."""
    report = database.parent / "report.json"
    report.unlink(missing_ok=True)
    code = ended(forked(lambda: _look(database, report), database.parent / "look.log"))
    found: dict[str, object] | None = json.loads(report.read_text()) if code == 0 else None
    report.unlink(missing_ok=True)
    return found


def _look(database: Path, report: Path) -> None:
    from defectdb.db import open_database
    from defectdb.db.check import check

    with open_database(database, read_only=True) as db:
        tables = (
            "datasets",
            "structures",
            "defects",
            "pairs",
            "targets",
            "formulas",
            "models",
            "model_terms",
        )
        held = {table: db.value(f'SELECT count(*) FROM "{table}"') for table in tables}
        held |= {"active": db.value("SELECT count(*) FROM formulas WHERE status = 'active'"),
                 "running": db.value("SELECT count(*) FROM runs WHERE status = 'running'")}  # fmt: skip
        frame = check(db)
        report.write_text(
            json.dumps({"held": held, "wrong": frame.filter(frame["n"] > 0)["check"].to_list()})
        )


class Trials:
    """Trials of one job: what it leaves where nobody kills it, and how long it takes, are found out first."""

    def __init__(self, job: Job, base: Path, dataset: str, seed: int) -> None:
        self._job, self._base, self._dataset = job, base, dataset
        self._random = random.Random(f"{job.name} {seed}")
        self.counts = Counts()
        self._before = None if job.base is None else looked_at(base / f"{job.base}.duckdb")
        here = self._prepared("whole")
        started = time.monotonic()
        code = ended(self._start(here))
        self.seconds = time.monotonic() - started
        if code:
            raise RuntimeError(f"{job.name} fails by itself: {(here / 'log').read_text()[-500:]}")
        self._after = looked_at(here / "a.duckdb")
        self._output = _size(here / job.output) if job.output else 0

    def _prepared(self, name: str) -> Path:
        here = self._base / "trial" / name
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        if self._job.base is not None:
            shutil.copyfile(self._base / f"{self._job.base}.duckdb", here / "a.duckdb")
        return here

    def _start(self, here: Path) -> int:
        places = {"here": str(here), "base": str(self._base), "dataset": self._dataset}
        arguments = ["--db", str(here / "a.duckdb"), *(word.format(**places) for word in self._job.command)]
        return forked(lambda: run(arguments), here / "log")

    def kill_one(self) -> None:
        """One trial: start, wait for a moment drawn by chance, kill, look."""
        here = self._prepared("killed")
        pid = self._start(here)
        time.sleep(self._random.uniform(0, self.seconds))
        os.kill(pid, signal.SIGKILL)
        if ended(pid) != -signal.SIGKILL:
            return
        self.counts.kills += 1
        self.counts.orphans += _orphans(pid)
        self._judge(here)

    def _judge(self, here: Path) -> None:
        database = here / "a.duckdb"
        if database.exists():
            found = looked_at(database)
            self.counts.unopened += found is None
            if found is not None:
                self._compare(found)
        elif self._job.base is not None:
            self.counts.lost += 1
        output = here / self._job.output if self._job.output else None
        self.counts.half += output is not None and output.exists() and _size(output) < 0.9 * self._output
        self._next(here)

    def _compare(self, found: dict[str, object]) -> None:
        self.counts.wrong += bool(found["wrong"])
        ways = [_held(way) for way in (self._before, self._after, _EMPTY) if way is not None]
        held = _held(found)
        if held in ways or (self._job.name.startswith("learn") and _learned_whole(held, ways)):
            return
        self.counts.half += 1
        self.counts.lost += (
            self._before is not None and held["structures"] < _held(self._before)["structures"]
        )

    def _next(self, here: Path) -> None:
        """The next command that writes clears up what a killed one left."""
        database = here / "a.duckdb"
        again = ["migrate"] if database.exists() else ["ingest", str(self._base / "first.zip")]
        if ended(forked(lambda: run(["--db", str(database), *again]))) or (
            self._job.output and ended(self._start(here))
        ):
            self.counts.unopened += 1
            return
        found = looked_at(database)
        running = found is None or _held(found)["running"] > 0
        drafts = [path for path in here.iterdir() if ".draft" in path.name or path.name.endswith(".tmp")]
        self.counts.leftovers += running + len(drafts)


_EMPTY: dict[str, object] = {"held": dict.fromkeys(
    ("datasets", "structures", "defects", "pairs", "targets", "formulas", "models", "model_terms", "active"), 0
)}  # fmt: skip


def _held(found: dict[str, object]) -> dict[str, int]:
    held = found["held"]
    assert isinstance(held, dict)
    return {"running": 0, **{name: int(number) for name, number in held.items()}}


def _learned_whole(held: dict[str, int], ways: list[dict[str, int]]) -> bool:
    """Whether formulas and models are as before or a whole result: searches may find more or fewer formulas."""
    before = ways[0]
    return held["models"] in {way["models"] for way in ways} and (held["formulas"] == before["formulas"]) == (
        held["models"] == before["models"]
    )


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _orphans(session: int) -> int:
    """Processes of the killed one's session that are there after the time a worker may take to notice."""
    until = time.monotonic() + PATIENCE
    while (left := _in_session(session)) and time.monotonic() < until:
        time.sleep(0.2)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


def _in_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(own) == session and state != "Z":
                found.append(int(entry.name))
    return found
