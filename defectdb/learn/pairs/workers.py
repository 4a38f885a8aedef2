"""Learn many kernels in worker processes, with progress from each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue

from defectdb.engine.search.outcome import Generation
from defectdb.engine.search.worker_lifetime import end_with
from defectdb.errors import SearchFailedError
from defectdb.learn.pairs.executors import TRIES, GenerationCallback, learn_on
from defectdb.learn.pairs.kernel_search import learn_kernel, merge_islands
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask

GenerationQueue = SimpleQueue[tuple[int, Generation] | None]
"""Generations of worker processes with the number of their task; None ends it."""


def _silent(_: str) -> None:
    """No display."""


def learn_kernels(
    tasks: Sequence[KernelTask],
    report: GenerationCallback | None = None,
    worker_report: GenerationCallback | None = None,
    executor: Executor | None = None,
    note: Callable[[str], None] = _silent,
) -> Iterator[Kernel]:
    """Kernels as they are done, each from ``task.islands`` searches with seeds of their own.

    On an ``executor``, or on the CPU in worker processes (``config.workers``, 0: one for every core); which process
    does what changes nothing in the results. ``report`` is called with every generation of a search in this process,
    ``worker_report`` (in a thread of its own) with those of others, ``note`` with a line for a search that failed and
    is tried again. Raises SearchFailedError for one that fails three times.
    """
    if not tasks:
        return
    config = tasks[0].config
    workers = min(config.workers or os.cpu_count() or 1, sum(task.islands for task in tasks))
    if executor is None and (workers < 2 or tasks[0].device != "cpu"):
        for task in tasks:
            yield merge_islands([learn_kernel(t, report and partial(report, t)) for t in _islands(task)])
        return
    parts = [part for task in sorted(tasks, key=lambda t: -t.x.size) for part in _islands(task)]
    if executor is not None:
        found = learn_on(executor, parts, worker_report, note)
    else:
        found = _in_processes(parts, workers, worker_report, note)
    waiting: dict[tuple[str, float], list[Kernel]] = {}
    for kernel in found:
        done = waiting.setdefault((kernel.task.label, kernel.task.dz_min), [])
        done.append(kernel)
        if len(done) == kernel.task.islands:
            yield merge_islands(sorted(done, key=lambda k: k.task.island))


def _in_processes(
    parts: Sequence[KernelTask], workers: int, report: GenerationCallback | None, note: Callable[[str], None]
) -> Iterator[Kernel]:
    """Search in processes of this machine; where one of them is killed, what is left is begun anew in others."""
    left = list(parts)
    for attempt in range(1, TRIES + 1):
        try:
            for kernel in _in_one_pool(left, workers, report):
                left = [p for p in left if _place(p) != _place(kernel.task)]
                yield kernel
        except BrokenProcessPool as cause:
            names = ", ".join(dict.fromkeys(part.name for part in left))
            if attempt == TRIES:
                raise SearchFailedError(
                    f"a worker process was killed {TRIES} times (out of memory?) while these were searched: {names}; "
                    "try fewer --workers"
                ) from cause
            note(f"a worker process was killed; attempt {attempt + 1} of {TRIES} at {names}")
        else:
            return


def _place(task: KernelTask) -> tuple[str, float, int]:
    return task.label, task.dz_min, task.island


def _in_one_pool(
    parts: Sequence[KernelTask], workers: int, report: GenerationCallback | None
) -> Iterator[Kernel]:
    """The kernels as they are done. Raises BrokenProcessPool where a worker is killed."""
    spawn = get_context("spawn")
    with (
        _listening(parts, report) as queue,
        ProcessPoolExecutor(workers, spawn, initializer=_start_worker, initargs=(os.getpid(), queue)) as pool,
    ):
        futures = [pool.submit(_learn_and_report, at, part) for at, part in enumerate(parts)]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_queue: list[GenerationQueue] = []
"""Of a worker process: where its generations go, if anybody listens."""


def _start_worker(parent: int, queue: GenerationQueue | None) -> None:
    """End with the parent process and keep the queue of generations."""
    end_with(parent)
    if queue is not None:
        _queue.append(queue)


def _learn_and_report(at: int, task: KernelTask) -> Kernel:
    """Search one kernel in a worker process and report its generations as those of the search number ``at``."""
    return learn_kernel(task, (lambda g: _queue[0].put((at, g))) if _queue else None)


@contextmanager
def _listening(
    parts: Sequence[KernelTask], report: GenerationCallback | None
) -> Iterator[GenerationQueue | None]:
    """A queue for the generations of these searches, each handed to ``report`` by a thread."""
    if report is None:
        yield None
        return
    queue: GenerationQueue = get_context("spawn").SimpleQueue()

    def listen() -> None:
        while (item := queue.get()) is not None:
            report(parts[item[0]], item[1])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield queue
    finally:
        queue.put(None)
        listener.join()
        queue.close()


def _islands(task: KernelTask) -> list[KernelTask]:
    return [replace(task, island=i) for i in range(task.islands)]
