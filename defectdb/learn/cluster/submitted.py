"""Workers as jobs of submitit: processes of this machine, or arrays of SLURM."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from defectdb.errors import UsageError
from defectdb.learn.cluster.folder_executor import FolderExecutor, Job
from defectdb.learn.cluster.worker import work
from defectdb.learn.config import LearnConfig
from defectdb.version import __version__

Place = Literal["local", "slurm"]

_ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "NODE_FAIL", "PREEMPTED", "DEADLINE",
          "BOOT_FAIL", "FINISHED", "INTERRUPTED", "NO PROCESS AND NO RESULT")  # fmt: skip
"""States of a job that does not work any more, as SLURM and submitit name them."""

_ASK_EVERY = 15.0
"""Seconds between two questions to SLURM about one job: results and claims tell sooner."""

_A_WEEK = 7 * 24 * 60  # minutes
_BESIDE_SEARCHING = 10  # minutes that a job takes for its start and for finishing a front


class _SubmittedJob:
    """A job of submitit, asked for its state now and then."""

    def __init__(self, job: Any, *, local: bool) -> None:
        self._job, self._local = job, local
        self._asked = time.monotonic()
        self._state = ""

    def ended(self) -> str | None:
        if not self._state and (self._local or time.monotonic() - self._asked > _ASK_EVERY):
            self._asked = time.monotonic()
            state = str(self._job.get_info(mode="force").get("State" if not self._local else "jobState", ""))
            self._state = state if state.startswith(_ENDED) else ""
        return f"job {self._job.job_id} ended ({self._state})" if self._state else None

    def cancel(self) -> None:
        self._job.cancel(check=False)


def submitting_executor(
    place: Place, folder: Path, config: LearnConfig, slurm: Mapping[str, str] | None = None
) -> FolderExecutor:
    """An executor of kernel searches through submitit; its files are in ``folder``, which workers must see too.

    ``local``: ``config.workers`` processes (0: one for every core) that share the tasks. ``slurm``: an array with a
    job for every task; ``slurm`` are parameters of sbatch such as partition, mem or time (minutes). Raises UsageError
    where submitit is missing, there is no SLURM here or it does not know a parameter.
    """
    try:
        import submitit
    except ImportError as cause:
        raise UsageError("--executor needs submitit: pip install 'defectdb[cluster]'") from cause
    logs = folder / "jobs"
    if place == "local":
        return FolderExecutor(
            folder, _local(submitit.LocalExecutor(logs, python=sys.executable), folder, config)
        )
    if submitit.SlurmExecutor.affinity() < 0:
        raise UsageError("there is no srun on this machine: submit where SLURM is, or write --executor local")
    executor = submitit.SlurmExecutor(logs, python=sys.executable, max_num_timeout=0)
    minutes = math.ceil(2 * config.time_limit / 60) + _BESIDE_SEARCHING
    given = {name: _number(text) for name, text in (slurm or {}).items()}
    parameters = {
        "time": minutes,
        "cpus_per_task": 1,
        "mem": "2GB",
        "job_name": "defectdb",
        "array_parallelism": 1000,
    }
    try:
        executor.update_parameters(**{**parameters, **given})
    except (TypeError, ValueError, NotImplementedError) as cause:
        first = str(cause).strip().splitlines()[0]
        raise UsageError(f"--slurm {', '.join(given)}: {first}") from cause

    def submit(names: Sequence[str]) -> dict[str, list[Job]]:
        jobs = executor.map_array(work, *_arguments(folder, [[name] for name in names]))
        return {name: [_SubmittedJob(job, local=False)] for name, job in zip(names, jobs, strict=True)}

    return FolderExecutor(folder, submit)


def _local(executor: Any, folder: Path, config: LearnConfig) -> Any:
    """Starts workers that take one task after another until none is left."""
    executor.update_parameters(timeout_min=_A_WEEK)

    def submit(names: Sequence[str]) -> dict[str, list[Job]]:
        workers = min(config.workers or os.cpu_count() or 1, len(names))
        orders = [list(names[k:]) + list(names[:k]) for k in range(workers)]
        jobs: list[Job] = [
            _SubmittedJob(executor.submit(work, *arguments), local=True)
            for arguments in zip(*_arguments(folder, orders), strict=True)
        ]
        return dict.fromkeys(names, jobs)

    return submit


def _arguments(folder: Path, names: Sequence[Sequence[str]]) -> tuple[list[str], list[str], list[list[str]]]:
    """The arguments of ``work`` for every job."""
    n = len(names)
    return [str(folder.resolve())] * n, [__version__] * n, [list(part) for part in names]


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text
