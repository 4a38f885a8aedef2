"""Settings of the network and of the search."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network and constants of its training.

    ``embedding``, ``hidden``, ``latent``: widths of token vectors, LSTM states and the latent space.
    ``free_bits`` (nats): KL divergence per latent dimension that costs nothing.
    ``kl_weight``: weight of the KL divergence in the loss.
    ``entropy_floor`` (nats per token): entropy below which the decoder is pushed back to variety.
    ``learning_rate``: of the optimiser.
    ``conditional``: whether prior and decoder read the data.
    ``condition``: width of the vector that encodes the data.
    """

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
    """How long and how wide to search; a search is repeatable when generations, not ``time_limit``, end it.

    ``seed``: of the random numbers.
    ``generations``: at the most.
    ``time_limit`` (seconds): of the run.
    ``population``: candidates of a generation.
    ``exhaustive_size``: tokens of the skeletons that are all tried first.
    ``exhaustive_limit``: number of these skeletons, at the most; fewer where rows are many.
    ``exhaustive_operators``: operators of these skeletons; none: the grammar's.
    ``sparse_size``: tokens of the functions that sparse sums are made of; 0 for no such sums.
    ``max_complexity``: tokens of a finished formula, at the most.
    ``per_complexity``: formulas of every complexity kept in the archive.
    ``train_steps``, ``batch``: optimiser steps of the network in a generation, and formulas in each.
    ``starts``, ``seed_starts``: starting points of every fit, and of those of the small skeletons.
    ``slack``: a fit goes on only while its error is within this factor of the worst one kept.
    ``patience``: generations without progress that end the search.
    ``target_mse``: mean squared error that ends the search.
    ``rounded``: whether formulas in round numbers are looked for beside the front.
    ``algebra``: whether sympy may shorten the front's formulas, for some seconds, where the time limit leaves them.
    ``device``: of the tensors.
    ``model``: settings of the network.
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
