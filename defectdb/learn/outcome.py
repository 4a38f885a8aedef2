"""What a learning job returns, and the callbacks that follow its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from defectdb.learn.model_front import ModelPoint
from defectdb.learn.pairs.executors import GenerationCallback
from defectdb.learn.pairs.kernel_task import Kernel


@dataclass(frozen=True)
class Learned:
    """What one job wrote.

    Attributes:
        run_id, model_id, material: keys of the new rows
        kernels: every formula in use, with its front
        formula_ids: id of the chosen formula of every kernel
        seconds: wall time of the job
        front: the most accurate models of every total length; empty where kernels were chosen one by one
    """

    run_id: int
    model_id: int
    material: str
    kernels: list[Kernel]
    formula_ids: list[int]
    seconds: float
    front: Sequence[ModelPoint] = ()


def _ignore(*_: object) -> None:
    """No display."""


@dataclass(frozen=True)
class Progress:
    """Progress callbacks of a learning job.

    Attributes:
        kernel: called with (kernel or None, number done, number of all)
        generation: called with (task, generation) of the search in this process
        worker_generation: the same of searches in worker processes, in a thread of its own
        note: called with one line that a user must know of a run that goes on
        begun: called with the run's id when its rows are read and the search begins
    """

    kernel: Callable[[Kernel | None, int, int], None] = _ignore
    generation: GenerationCallback | None = None
    worker_generation: GenerationCallback | None = None
    note: Callable[[str], None] = _ignore
    begun: Callable[[int], None] = _ignore
