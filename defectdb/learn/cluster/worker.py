"""Search the kernels of a task folder in a job of its own: what a cluster starts."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from defectdb.db.access.locks import hold, let_go
from defectdb.engine.search.outcome import Generation
from defectdb.errors import DefectDBError
from defectdb.learn.cluster.task_files import generation_text, kernel_text, read_task, write_whole
from defectdb.learn.pairs.executors import demand_version
from defectdb.learn.pairs.kernel_search import learn_kernel

FOLDERS = ("tasks", "claims", "progress", "results", "failed")


def work(folder: str, version: str, names: Sequence[str]) -> int:
    """Search these tasks one after another, those that no other worker has or had; how many.

    ``version`` is that of the process that submits. A search that fails leaves its reason in ``failed``.
    """
    done = 0
    for name in names:
        if (Path(folder) / "results" / name).exists() or not (Path(folder) / "tasks" / name).exists():
            continue
        claim = Path(folder) / "claims" / name
        held = hold(claim)
        if held is None:
            continue
        try:
            if not (Path(folder) / "results" / name).exists():
                _search(Path(folder), version, name)
                done += 1
        finally:
            let_go(held, claim)
    return done


def _search(folder: Path, version: str, name: str) -> None:
    progress = folder / "progress" / name
    progress.unlink(missing_ok=True)

    def report(generation: Generation) -> None:
        with suppress(OSError), progress.open("a", encoding="utf-8") as file:  # a full disk ends no search
            file.write(generation_text(generation))

    try:
        demand_version(version)
        task, written = read_task(folder / "tasks" / name)
        demand_version(written)
        found = learn_kernel(task, report)
        write_whole(folder / "results" / name, kernel_text(found).encode())
    except Exception as error:  # of any kind: the process that submits must hear of it
        why = {
            "kind": type(error).__name__ if isinstance(error, DefectDBError) else "",
            "why": str(error) or type(error).__name__,
            "host": socket.gethostname(),
            "trace": traceback.format_exc(),
        }
        write_whole(folder / "failed" / name, json.dumps(why).encode())
