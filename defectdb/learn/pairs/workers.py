"""Learn many kernels in worker processes, with progress from each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue

from defectdb.engine.search.outcome import Generation
from defectdb.engine.search.worker_lifetime import end_with
from defectdb.learn.pairs.kernel_search import learn_kernel, merge_islands
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask

GenerationCallback = Callable[[KernelTask, Generation], None]
"""Progress callback: called with (task, generation)."""

GenerationQueue = SimpleQueue["tuple[int, Generation] | None"]
"""Generations of worker processes with the number of their task; None ends it."""


def learn_kernels(
    tasks: Sequence[KernelTask],
    report: GenerationCallback | None = None,
    worker_report: GenerationCallback | None = None,
) -> Iterator[Kernel]:
    """Kernels as they are done, each from ``task.islands`` searches with seeds of their own.

    On the CPU in worker processes (``config.workers``, 0: one for every core); which process does what changes
    nothing in the results. ``report`` is called with every generation of a search in this process,
    ``worker_report`` (in a thread of its own) with those of worker processes.
    """
    if not tasks:
        return
    config = tasks[0].config
    workers = min(config.workers or os.cpu_count() or 1, sum(task.islands for task in tasks))
    if workers < 2 or tasks[0].device != "cpu":
        for task in tasks:
            yield merge_islands([learn_kernel(t, report and partial(report, t)) for t in _islands(task)])
        return
    waiting: dict[tuple[str, float], list[Kernel]] = {}
    spawn = get_context("spawn")
    parts = [part for task in sorted(tasks, key=lambda t: -t.x.size) for part in _islands(task)]
    with (
        _listening(parts, worker_report) as queue,
        ProcessPoolExecutor(workers, spawn, initializer=_start_worker, initargs=(os.getpid(), queue)) as pool,
    ):
        futures = [pool.submit(_learn_and_report, at, part) for at, part in enumerate(parts)]
        try:
            for future in as_completed(futures):
                kernel = future.result()
                done = waiting.setdefault((kernel.task.label, kernel.task.dz_min), [])
                done.append(kernel)
                if len(done) == kernel.task.islands:
                    yield merge_islands(sorted(done, key=lambda k: k.task.island))
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
