"""Results of a search: counts of every generation, and the final front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from defectdb.engine.finishing.scored import Scored


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of candidates.

    ``made``: candidates written.
    ``unique``: different ones among them.
    ``new``: those of these that were fitted, for the first time.
    ``safe``: those of these that are safe over the domain.
    """

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

    ``generation``: its number; 0 is that of the seeds.
    ``seconds``: time that it took.
    ``n_candidates``: candidates written.
    ``n_unique``: those that differ by more than the order of operands.
    ``n_new``: those of these that were fitted, for the first time.
    ``n_in_domain``: those of these that are safe over the domain.
    ``best_mse``: lowest mean squared error so far.
    ``kl``, ``loss`` (nats): the network's mean KL divergence and loss.
    ``reached``: the complexities at which the lowest mean squared error so far falls, each with that error.
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
    """Result of a search.

    ``front``: formulas of the Pareto front, in order of complexity.
    ``generations``: counts and scores of every generation.
    ``seconds``: time that the search took.
    ``n_fits``: skeletons fitted.
    ``rounded``: further formulas in round numbers, where they were asked for.
    """

    front: list[Scored]
    generations: list[Generation]
    seconds: float
    n_fits: int
    rounded: list[Scored] = field(default_factory=list)
