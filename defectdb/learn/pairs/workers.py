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

Heard = Callable[[KernelTask, Generation], None]
"""What hears of every generation of a search, and of which task it is."""

Told = SimpleQueue["tuple[int, Generation] | None"]


def learn_kernels(
    tasks: Sequence[KernelTask],
    report: Heard | None = None,
    beside: Heard | None = None,
) -> Iterator[Kernel]:
    """Kernels as they are done, each from ``config.islands`` searches with seeds of their own.

    On the CPU in worker processes (``config.workers``, 0: one for every core); which process does what changes
    nothing in the results. ``report`` hears of every generation of a search in this process, ``beside`` (in a thread
    of its own) of those in worker processes.
    """
    if not tasks:
        return
    config = tasks[0].config
    workers = min(config.workers or os.cpu_count() or 1, len(tasks) * config.islands)
    if workers < 2 or tasks[0].device != "cpu":
        for task in tasks:
            yield merge_islands([learn_kernel(t, report and partial(report, t)) for t in _islands(task)])
        return
    waiting: dict[tuple[str, float], list[Kernel]] = {}
    spawn = get_context("spawn")
    parts = [part for task in sorted(tasks, key=lambda t: -t.x.size) for part in _islands(task)]
    with (
        _heard(parts, beside) as queue,
        ProcessPoolExecutor(workers, spawn, initializer=_begin, initargs=(os.getpid(), queue)) as pool,
    ):
        futures = [pool.submit(_learn_aloud, at, part) for at, part in enumerate(parts)]
        try:
            for future in as_completed(futures):
                kernel = future.result()
                done = waiting.setdefault((kernel.task.label, kernel.task.dz_min), [])
                done.append(kernel)
                if len(done) == config.islands:
                    yield merge_islands(sorted(done, key=lambda k: k.task.island))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_spoken: list[Told] = []
"""Where a worker process tells its generations, if anybody listens."""


def _begin(parent: int, queue: Told | None) -> None:
    """What a worker process does first."""
    end_with(parent)
    if queue is not None:
        _spoken.append(queue)


def _learn_aloud(at: int, task: KernelTask) -> Kernel:
    """Search one kernel in a worker process and tell of its generations as those of the search number ``at``."""
    return learn_kernel(task, (lambda g: _spoken[0].put((at, g))) if _spoken else None)


@contextmanager
def _heard(parts: Sequence[KernelTask], beside: Heard | None) -> Iterator[Told | None]:
    """A queue for the generations of these searches, each handed to ``beside`` by a thread."""
    if beside is None:
        yield None
        return
    queue: Told = get_context("spawn").SimpleQueue()

    def listen() -> None:
        while (told := queue.get()) is not None:
            beside(parts[told[0]], told[1])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield queue
    finally:
        queue.put(None)
        listener.join()
        queue.close()


def _islands(task: KernelTask) -> list[KernelTask]:
    return [replace(task, island=i) for i in range(task.config.islands)]
