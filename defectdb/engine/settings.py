"""Settings of the network and of the search."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network and its training constants; ``conditional``: prior and decoder see the data."""

    embedding: int = 32
    hidden: int = 64
    latent: int = 24
    free_bits: float = 0.06  # nats per latent dimension below which the KL costs nothing
    kl_weight: float = 0.3
    entropy_floor: float = 0.4  # nats per token below which the decoder is pushed back to variety
    learning_rate: float = 5e-3
    conditional: bool = False
    condition: int = 16  # numbers that the data become


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
