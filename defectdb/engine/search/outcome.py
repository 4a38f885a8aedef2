"""What a search is told, and what it tells: its settings, its generations, its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from defectdb.engine.finishing.scoring import Scored
from defectdb.engine.network.segvae import ModelConfig


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How long and how wide to search. A search is repeatable when generations, not ``time_limit``, end it.

    ``exhaustive_size`` tokens of the skeletons that are all tried first, up to ``exhaustive_limit`` of them
    (fewer where rows are many); ``sparse_size`` tokens of the functions that sums are made of at the start (0: no
    such sums); ``population`` candidates a generation; ``per_complexity`` elites kept;
    ``starts`` of every fit (``seed_starts`` of the small skeletons); a fit goes on only while its error is
    within ``slack`` times the worst elite's; ``patience`` generations without progress end the search, as
    does a mean squared error of ``target_mse``. ``rounded`` asks for formulas in round numbers beside the front;
    ``algebra`` lets sympy shorten the front's formulas, for some seconds, where the time limit leaves them.
    """

    seed: int = 0
    generations: int = 12
    time_limit: float = 600.0
    population: int = 4000
    exhaustive_size: int = 8
    exhaustive_limit: int = 62_000
    exhaustive_operators: tuple[str, ...] = ()  # none: the grammar's
    sparse_size: int = 6
    max_complexity: int = 25
    per_complexity: int = 40
    train_steps: int = 16
    batch: int = 64
    starts: int = 6
    seed_starts: int = 8
    slack: float = 20.0
    patience: int = 6
    target_mse: float = 0.0
    rounded: bool = False
    algebra: bool = True
    device: str = "cpu"
    model: ModelConfig = field(default_factory=ModelConfig)


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
