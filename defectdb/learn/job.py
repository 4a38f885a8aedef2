"""What every learning job returns, and the callbacks that watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from defectdb.learn.pairs.kernel_task import Kernel
from defectdb.learn.pairs.workers import Heard


@dataclass(frozen=True)
class Learned:
    """What one job wrote: run, model, kernels with the ids of their chosen formulas, seconds of wall time."""

    run_id: int
    model_id: int
    material: str
    kernels: list[Kernel]
    formula_ids: list[int]
    seconds: float


def _silent(*_: object) -> None:
    """No display."""


@dataclass(frozen=True)
class Progress:
    """Hooks that a display may give: kernels found so far of how many, and every generation of the search in progress.

    ``beside`` hears of the generations of searches in worker processes, in a thread of its own; ``note`` of what a user
    must know of a run that goes on, in one line.
    """

    kernel: Callable[[Kernel | None, int, int], None] = _silent
    generation: Heard | None = None
    beside: Heard | None = None
    note: Callable[[str], None] = _silent
