"""Run the searches of a model side by side, seeded and watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from defectdb.db import Database
from defectdb.learn.job import Job
from defectdb.learn.material.fit_model import Learn
from defectdb.learn.outcome import Progress
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.pairs.warm_start import warm_tasks
from defectdb.learn.pairs.workers import learn_kernels


def searches(db: Database, job: Job, progress: Progress, log: list[Kernel]) -> Learn:
    """A function that turns tasks into kernels with the job's options; ``log`` keeps all kernels.

    Tasks are seeded with stored formulas where the job asks for it.
    """
    config = job.config

    def learn(tasks: Sequence[KernelTask]) -> Iterator[Kernel]:
        own = [
            replace(t, config=config, device=job.device, islands=max(t.islands, config.islands))
            for t in tasks
        ]
        warm = warm_tasks(db, own, job)
        db.release()
        progress.kernel(None, 0, len(warm))
        found = learn_kernels(
            warm, progress.generation, progress.worker_generation, job.executor, progress.note
        )
        for done, kernel in enumerate(found, start=1):
            progress.kernel(kernel, done, len(warm))
            log.append(kernel)
            yield kernel

    return learn
