"""The records of one kernel to learn and of one learned."""

from __future__ import annotations

from dataclasses import dataclass

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.search.outcome import Generation
from defectdb.expressions.arrays import Floats
from defectdb.learn.config import LearnConfig
from defectdb.schema.records import EVERY_DZ

CUTOFF = 30.0
"""A kernel must be finite and quiet up to this distance, angstrom."""

MIN_ROWS = 4
"""Fewer distinct distances than this give a constant, not a curve."""


@dataclass(frozen=True)
class KernelTask:
    """One formula to learn: label, |dz| window, points ``x`` [variable, point] and values ``y`` [row].

    ``weight`` [row]; ``mixing`` [row, point] sums points into rows, None where rows are points. ``values`` [point]
    are what the formula itself should be near at the points, for its domain (None: ``y``). ``offset`` frees a
    constant. ``spare`` is the squared error that a simpler formula may add to the best one's; None chooses by
    cross-validation instead; ``frequency`` [point] then says how often each point occurs. ``hosts`` [row]; ``shift``
    is by how much the mean host offset in ``y`` differs from that of view ``host_offsets``, eV.
    """

    label: str
    dz_min: float
    dz_max: float
    x: Floats
    y: Floats
    weight: Floats
    mixing: Floats | None
    cutoff: float
    config: LearnConfig
    device: str
    variables: tuple[str, ...] = ("r",)
    values: Floats | None = None
    offset: bool = True
    spare: float | None = None
    frequency: Floats | None = None
    island: int = 0
    seeds: tuple[tuple[str, ...], ...] = ()
    hosts: tuple[str, ...] = ()
    shift: float = 0.0

    @property
    def r(self) -> Floats:
        """The first variable: of a pair kernel the distance, angstrom."""
        first: Floats = self.x[0]
        return first

    @property
    def name(self) -> str:
        """The label and, where it has several kernels, the |dz| window."""
        if self.dz_min == 0 and self.dz_max >= EVERY_DZ:
            return self.label
        return (
            f"{self.label} dz>={self.dz_min:.2f}"
            if self.dz_max >= EVERY_DZ
            else f"{self.label} dz<{self.dz_max:.2f}"
        )


@dataclass(frozen=True)
class Kernel:
    """A learned kernel: its task, the front, the index of the formula to use, the search's log and time."""

    task: KernelTask
    front: list[Scored]
    chosen: int
    generations: list[Generation]
    seconds: float
    n_fits: int
