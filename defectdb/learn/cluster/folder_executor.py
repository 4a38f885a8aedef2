"""An executor whose searches are files in a folder and whose workers are jobs, here or on a cluster."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from defectdb import errors
from defectdb.db.access.locks import is_held
from defectdb.learn.cluster.task_files import (
    drafts,
    read_generation,
    read_kernel,
    task_bytes,
    task_name,
    write_whole,
)
from defectdb.learn.cluster.worker import FOLDERS
from defectdb.learn.pairs.executors import ReportingExecutor, search_task
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask

TICK = 0.2
"""Seconds between two looks at the folder."""

GRACE = 3
"""So many looks in a row must find a worker gone before its task counts as lost: a shared disk may be late."""


class JobLostError(Exception):
    """A job that ended without a result: killed, out of memory or out of time."""


class Job(Protocol):
    """A submitted job."""

    def ended(self) -> str | None:
        """Why it does not work any more, None while it may."""

    def cancel(self) -> None:
        """Stop it."""


Submit = Callable[[Sequence[str]], dict[str, list[Job]]]
"""Submits jobs that search tasks of these names; the jobs that may search each."""


@dataclass
class _Pending:
    """A search without a result so far: its future, how many lines of progress were read, looks that found it lost."""

    task: KernelTask
    future: Future[Kernel]
    submitted: bool = False
    jobs: list[Job] = field(default_factory=list)
    lines: int = 0
    lost: int = 0


class FolderExecutor(ReportingExecutor):
    """Kernel searches in jobs: tasks are written to ``folder``, results are read from it.

    A result that is there is taken as it is, and a search that another process began is waited for. ``submit_jobs``
    starts workers. Jobs go on where this process is killed.
    """

    def __init__(self, folder: Path, submit_jobs: Submit) -> None:
        self.folder = folder
        self._submit_jobs = submit_jobs
        self._pending: dict[str, _Pending] = {}
        self._names: set[str] = set()
        self._names_before = 0  # at the last look
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._watcher: threading.Thread | None = None
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future kernel of ``search_task(version, task)``; other functions are not for this executor."""
        if fn is not search_task or kwargs:
            raise TypeError(f"this executor searches kernels and nothing else, not {fn!r}")
        task: KernelTask = args[1]
        name = task_name(task)
        write_whole(self.folder / "tasks" / name, task_bytes(task))
        future: Future[Kernel] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor was shut down")
            self._names.add(name)
            self._pending[name] = _Pending(task, future)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the watch; with ``cancel_futures`` the jobs too that are still at work."""
        with self._lock:
            self._closed = True
            pending = list(self._pending.values())
            self._pending = {}
        self._wake.set()
        for one in pending:
            if not one.future.done():
                one.future.set_exception(JobLostError("the executor was shut down"))
        if cancel_futures:
            for job in {id(job): job for one in pending for job in one.jobs}.values():
                job.cancel()
        if wait and self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()

    def __exit__(self, kind: object, *_: object) -> bool | None:
        self.shutdown(cancel_futures=kind is not None)
        return None

    def forget(self) -> None:
        """Remove the files of this executor's tasks, and the folder with its logs where no others are in it."""
        for name in self._names:
            for part in FOLDERS:
                for path in (self.folder / part / name, *drafts(self.folder / part / name)):
                    path.unlink(missing_ok=True)
        with suppress(OSError):  # raised where another run has files here
            for part in FOLDERS:
                (self.folder / part).rmdir()
            shutil.rmtree(self.folder / "jobs", ignore_errors=True)
            self.folder.rmdir()

    def _watch(self) -> None:
        while not self._closed:
            self._wake.wait(TICK)
            with self._lock:
                pending = dict(self._pending)
            try:
                self._look_at_all(pending)
            except Exception as error:  # whoever waits must hear of it
                for name, one in pending.items():
                    self._finish(name, one, error)

    def _look_at_all(self, pending: dict[str, _Pending]) -> None:
        for name, one in pending.items():
            self._look(name, one)
        new = [n for n, p in pending.items() if not p.submitted and not p.future.done()]
        complete, self._names_before = len(self._names) == self._names_before, len(self._names)
        if new and complete:  # one array for all: jobs of this machine share its cores
            for name in new:
                (self.folder / "failed" / name).unlink(missing_ok=True)  # of an earlier process
            for name, jobs in self._submit_jobs(new).items():
                pending[name].jobs, pending[name].submitted = jobs, True

    def _look(self, name: str, one: _Pending) -> None:
        """What has become of one search."""
        claim, result, failed = (self.folder / part / name for part in ("claims", "results", "failed"))
        held, claimed = is_held(claim), claim.exists()
        self._tell(name, one)
        if result.exists():
            try:
                self._finish(name, one, read_kernel(result.read_text(encoding="utf-8"), one.task))
            except (ValueError, KeyError, TypeError, OSError, errors.DefectDBError):
                result.unlink(missing_ok=True)  # none that a worker wrote: searched anew
                one.submitted = False
            return
        if held:
            one.submitted, one.lost = True, 0  # by whomever
            return
        if failed.exists() and one.submitted:
            self._finish(name, one, _failure(failed))
            return
        ended = [job.ended() for job in one.jobs] if one.submitted else []
        gone = one.submitted and (claimed or (all(ended) and bool(ended)) or not one.jobs)
        one.lost = one.lost + 1 if gone else 0
        if one.lost >= GRACE:
            why = next((text for text in ended if text), "its worker was killed")
            claim.unlink(missing_ok=True)
            self._finish(name, one, JobLostError(why))

    def _tell(self, name: str, one: _Pending) -> None:
        """Hand on the generations that came since the last look."""
        with suppress(OSError, ValueError, TypeError):
            lines = (self.folder / "progress" / name).read_text(encoding="utf-8").splitlines(keepends=True)
            for line in lines[one.lines :]:
                if line.endswith("\n"):
                    one.lines += 1
                    if self.report is not None:
                        self.report(one.task, read_generation(line))

    def _finish(self, name: str, one: _Pending, outcome: Kernel | Exception) -> None:
        with self._lock:
            if self._pending.get(name) is one:
                del self._pending[name]
        if one.future.done():
            return
        if isinstance(outcome, Exception):
            one.future.set_exception(outcome)
        else:
            one.future.set_result(outcome)


def _failure(path: Path) -> Exception:
    """The error that a worker left, whose file goes so that the search can be tried again."""
    try:
        left = json.loads(path.read_text(encoding="utf-8"))
        kind, why, host = (str(left.get(part, "")) for part in ("kind", "why", "host"))
    except (ValueError, OSError, AttributeError):
        kind, why, host = "", "its reason cannot be read", ""
    path.unlink(missing_ok=True)
    known = {name: getattr(errors, name) for name in ("SelectionError", "UsageError", "VersionMismatchError")}
    return known[kind](why) if kind in known else JobLostError(f"{why} (on {host})")
