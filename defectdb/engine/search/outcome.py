"""What a search is told, and what it tells: its settings, its generations, its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from defectdb.engine.finishing.scored import Scored


@dataclass(frozen=True, slots=True)
class Counts:
    """Formulas written, different ones among them, those of these that were fitted for the first time, safe ones."""

    made: int = 0
    unique: int = 0
    new: int = 0
    safe: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.made + other.made, self.unique + other.unique, self.new + other.new, self.safe + other.safe
        )


@dataclass(frozen=True, slots=True)
class Generation:
    """Counts and scores of one generation, for progress displays and the ``generations`` table.

    ``seconds`` that it took. Of ``n_candidates`` written, ``n_unique`` differ by more than the order of operands,
    ``n_new`` of these were never fitted before and are now, and ``n_in_domain`` of these are safe over the domain.
    ``reached`` are the complexities at which the lowest mean squared error so far falls, each with that error.
    """

    generation: int
    seconds: float
    n_candidates: int
    n_unique: int
    n_new: int
    n_in_domain: int
    best_mse: float
    kl: float
    loss: float
    reached: tuple[tuple[int, float], ...] = ()


def islands_of(generations: Sequence[Generation]) -> list[int]:
    """Of which island every generation is, where those of several searches follow one another: all begin with 0."""
    return [begun - 1 for begun in accumulate(int(g.generation == 0) for g in generations)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found: the front in order of complexity, the generations' statistics, its time.

    ``rounded`` are further formulas in round numbers, where they were asked for.
    """

    front: list[Scored]
    generations: list[Generation]
    seconds: float
    n_fits: int
    rounded: list[Scored] = field(default_factory=list)
