"""Search kernels on an executor that somebody else made: a process pool, dask, a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import replace

from defectdb.engine.search.outcome import Generation
from defectdb.errors import DefectDBError, SearchFailedError, VersionMismatchError
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.version import __version__

TRIES = 3
"""So many times a search is begun whose worker is killed, runs out of memory or of time."""

GenerationCallback = Callable[[KernelTask, Generation], None]
"""Progress callback: called with (task, generation)."""


class ReportingExecutor(Executor):
    """An executor of kernel searches that hands on every generation while a search goes on.

    ``report`` is called with (task, generation), None for no report.
    """

    report: GenerationCallback | None = None


def search_task(version: str, task: KernelTask) -> Kernel:
    """Search one kernel in a worker. Raises VersionMismatchError unless the worker has this version of defectdb."""
    demand_version(version)
    return learn_kernel(task)


def demand_version(version: str) -> None:
    """Raises VersionMismatchError unless this is the version of defectdb here."""
    if version != __version__:
        raise VersionMismatchError(
            f"the tasks are of defectdb {version} and the worker has {__version__}: let workers use the environment "
            "of the process that submits"
        )


def learn_on(
    executor: Executor,
    parts: Sequence[KernelTask],
    report: GenerationCallback | None,
    note: Callable[[str], None],
) -> Iterator[Kernel]:
    """Kernels as they are done. ``note`` is called with a line for every search that failed and is tried again.

    Raises the DefectDBError of a search, and SearchFailedError for one that fails for another reason each time.
    """
    if isinstance(executor, ReportingExecutor):
        executor.report = report
    tries = [1] * len(parts)
    waiting = {_submitted(executor, part): at for at, part in enumerate(parts)}
    try:
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                at = waiting.pop(future)
                error = future.exception()
                if error is None:
                    yield _told(replace(future.result(), task=parts[at]), executor, report)
                    continue
                _demand_another_try(parts[at], error, tries[at])
                tries[at] += 1
                note(f"{_name(parts[at])} failed ({error}); attempt {tries[at]} of {TRIES}")
                waiting[_submitted(executor, parts[at])] = at
    finally:
        for future in waiting:
            future.cancel()


def _submitted(executor: Executor, part: KernelTask) -> Future[Kernel]:
    try:
        return executor.submit(search_task, __version__, part)
    except (BrokenExecutor, RuntimeError) as cause:
        raise SearchFailedError(f"the executor took no search of {_name(part)}: {cause}") from cause


def _told(kernel: Kernel, executor: Executor, report: GenerationCallback | None) -> Kernel:
    """The kernel, its generations told where the executor has not told them while they were made."""
    if report is not None and not isinstance(executor, ReportingExecutor):
        for generation in kernel.generations:
            report(kernel.task, generation)
    return kernel


def _demand_another_try(part: KernelTask, error: BaseException, tried: int) -> None:
    """Raises the error of a search that would come again, and SearchFailedError after the last try."""
    if isinstance(error, DefectDBError):
        raise error
    if tried >= TRIES:
        raise SearchFailedError(f"the search of {_name(part)} failed {tried} times: {error}") from error


def _name(part: KernelTask) -> str:
    return part.name if part.islands == 1 else f"{part.name} #{part.island + 1}"
