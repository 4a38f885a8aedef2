"""Islands searched in processes of their own leave none behind when the process that asked is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SEARCHING = 5.0
"""Seconds of processor time after which a worker has loaded its libraries and searches."""

SCRIPT = """
import numpy as np
from defectdb.engine import SymbolicRegressor

if __name__ == "__main__":
    r = np.linspace(1.0, 9.0, 40)
    noise = np.random.default_rng(0).normal(size=40)
    SymbolicRegressor(islands=2, generations=500, time_limit=90).fit(r, noise)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked for in /proc")
def test_islands_end_with_the_process_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    workers: list[int] = []
    while len(workers) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        workers = [pid for pid in _children(parent.pid) if _processor_time(pid) > SEARCHING]
    parent.kill()
    parent.wait()
    assert len(workers) >= 2
    deadline = time.monotonic() + 15  # the searches themselves would take longer
    while any(_read(pid, "cmdline") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(_read(pid, "cmdline") for pid in workers)


def _children(pid: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _processor_time(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _read(pid: int, what: str) -> str:
    """What the system knows of a process, empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
