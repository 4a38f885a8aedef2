"""The records of one formula to search for, by what its rows are, and of one that was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.search.outcome import Generation
from defectdb.expressions.arrays import Floats
from defectdb.learn.config import LearnConfig
from defectdb.schema.records import EVERY_DZ

CUTOFF = 30.0
"""A kernel must be finite and quiet up to this distance, angstrom."""

MIN_ROWS = 4
"""Fewer distinct distances than this give a constant, not a curve."""


@dataclass(frozen=True, kw_only=True)
class KernelTask:
    """One formula to search for; the four kinds of rows are the subclasses.

    Attributes:
        label: pair label, or three labels joined by ``-``
        dz_min, dz_max: |dz| window in angstrom, upper end excluded
        x: values of the variables [variable, point], angstrom
        y: what rows should add up to [row], eV
        weight: weights of the squared errors [row]
        config: the options of the search
        device: ``cpu`` or ``cuda``
        cutoff: the formula must be finite and quiet up to this distance, angstrom
        ends: the formula is nothing from this distance on, angstrom
        variables: names of the rows of ``x``
        offset: whether a constant may be added
        islands: number of independent searches whose fronts are merged
        island: which of several independent searches this is, from 0
        seeds: token rows that the search tries first
    """

    label: str
    dz_min: float = 0.0
    dz_max: float = EVERY_DZ
    x: Floats
    y: Floats
    weight: Floats
    config: LearnConfig = field(default_factory=LearnConfig)
    device: str = "cpu"
    cutoff: float = CUTOFF
    ends: float = inf
    variables: tuple[str, ...] = ("r",)
    offset: bool = True
    islands: int = 1
    island: int = 0
    seeds: tuple[tuple[str, ...], ...] = ()

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


@dataclass(frozen=True, kw_only=True)
class PairTask(KernelTask):
    """A pair kernel whose rows are structures with two defects, each at one point: the nearest image.

    Attributes:
        hosts: host of every structure [row]
        shift: mean host offset taken off ``y`` less that of view ``host_offsets``, eV
    """

    hosts: tuple[str, ...] = ()
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LatticeTask(PairTask):
    """A pair kernel whose rows are sums over the periodic images of structures with two defects.

    Attributes:
        mixing: how often every structure has every distance [row, point]
    """

    mixing: Floats


@dataclass(frozen=True, kw_only=True)
class TableTask(KernelTask):
    """A function near a table of fitted values, with the metric that the structures give its values.

    Attributes:
        mixing: root of the metric [row, point]: ``y`` is ``mixing @ values``
        values: the table [point], eV
        frequency: how often every point occurs in the structures [point]
        spare: squared error that a simpler formula may add to the best one's
        price: squared error that every token must save; 0 where ``spare`` decides alone
        copies: how often its term holds the function, or one as long
        overhead: tokens of the term beside these
    """

    mixing: Floats
    values: Floats
    frequency: Floats
    spare: float
    price: float = 0.0
    copies: int = 1
    overhead: int = 0

    def longest(self) -> int:
        """Tokens that the function may have, so that its term is no longer than ``config.max_term``; 4 at least."""
        if self.config.max_term is None:
            return self.config.max_tokens
        return min(self.config.max_tokens, max(4, (self.config.max_term - self.overhead) // self.copies))


@dataclass(frozen=True, kw_only=True)
class TripleTask(KernelTask):
    """A three-body formula whose rows are triples.

    Attributes:
        spare: squared error that a simpler formula may add to the best one's
    """

    spare: float


def mixing_of(task: KernelTask) -> Floats | None:
    """How points add up to rows [row, point]; None where every row is one point."""
    return task.mixing if isinstance(task, LatticeTask | TableTask) else None


STEADY = 0.8
"""Share of several searches that find a family which counts as steady."""

LONE = 1.2
"""Factor of the error of a formula of any other family, where formulas are chosen."""


def handicap(found_by: int, islands: int) -> float:
    """Factor of the error of a formula whose family so many of several searches found."""
    return 1.0 if found_by >= STEADY * islands else LONE


@dataclass(frozen=True)
class Kernel:
    """A learned formula.

    Attributes:
        task: what was searched for
        front: the best formula of every complexity, shortest first
        chosen: index of the formula to use
        generations: the search's log
        seconds: wall time of the search
        n_fits: fitted candidates
        found_by: of every formula the number of islands whose front holds its family; empty for a single island
    """

    task: KernelTask
    front: list[Scored]
    chosen: int
    generations: list[Generation]
    seconds: float
    n_fits: int
    found_by: tuple[int, ...] = ()

    @property
    def best(self) -> Scored:
        """The formula to use."""
        return self.front[self.chosen]
