"""A tenth of the benchmark of faults: kills of the quick commands, and nonsense for every grammar."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import sys
from pathlib import Path
from benchmarks.bench_faults import prepare
from benchmarks.fault_fuzz import fuzz
from benchmarks.fault_jobs import JOBS, Trials
base = Path(sys.argv[1])
dataset = prepare(base)
quick = {"ingest, new database", "formulas activate"}
for job in JOBS:
    if job.name in quick:
        trials = Trials(job, base, dataset, seed=1)
        for _ in range(2):
            trials.kill_one()
        counts = trials.counts
        bad = (counts.unopened, counts.wrong, counts.lost, counts.half, counts.orphans, counts.leftovers)
        print(job.name, counts.kills, *bad, sep="|")
fuzz(base / "learned.duckdb", 30)
"""


@pytest.mark.skipif(
    not hasattr(os, "fork") or not Path("/proc/self").exists(), reason="forks, and reads /proc"
)
def test_nothing_is_lost_or_half_done_and_nonsense_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False, env=environment
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    kills = [line.split("|") for line in ended.stdout.splitlines() if "|" in line]
    assert len(kills) == 2
    assert sum(int(line[1]) for line in kills) > 0
    assert {tuple(line[2:]) for line in kills} == {("0",) * 6}
    fuzzed = [
        line.split() for line in ended.stdout.splitlines() if line.startswith(("labels", "select", "--where"))
    ]
    assert [line[3:5] for line in fuzzed] == [["0", "0"]] * 3, ended.stdout
