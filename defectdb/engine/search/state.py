"""What a running search knows so far."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.network.data_encoder import network_points
from defectdb.engine.network.pretrained import pretrained
from defectdb.engine.network.segvae import SEGVAE
from defectdb.engine.search.inputs import SearchInputs
from defectdb.engine.search.offspring import SOURCES
from defectdb.engine.search.outcome import Counts, Generation


@dataclass
class SearchState:
    """What a running search knows so far; with its inputs this decides how it goes on.

    ``inputs``: data, grammar and settings.
    ``generator``: the random numbers of the search.
    ``fitted_keys`` [skeleton]: canonical keys of the skeletons fitted so far.
    ``archive``: the best safe formulas of every complexity; None before the first fit.
    ``rounded``: the same with all constants rounded, where round numbers are asked for.
    ``n_fits``: skeletons fitted.
    ``new_fits`` [source]: skeletons fitted among the last candidates, by their source.
    ``yields`` [source]: new elites per fit, relative to the mean of all sources.
    ``idle``: generations without progress at the end.
    ``generations``: counts and scores of every generation.
    ``seeds_cut_off``: whether the clock ended generation 0 before every seed was fitted.
    ``stop_at``: when the search must end, in seconds of the monotonic clock.
    ``fit_until``: the same for fits; infinite while nothing is known that could be a result.
    """

    inputs: SearchInputs
    generator: torch.Generator
    fitted_keys: Tensor
    archive: Archive | None = None
    rounded: Archive | None = None
    n_fits: int = 0
    new_fits: Tensor = field(default_factory=lambda: torch.zeros(len(SOURCES), dtype=torch.long))
    yields: Tensor = field(default_factory=lambda: torch.ones(len(SOURCES), dtype=torch.float64))
    idle: int = 0
    generations: list[Generation] = field(default_factory=list)
    seeds_cut_off: bool = False
    stop_at: float = math.inf
    fit_until: float = math.inf

    @classmethod
    def of(cls, inputs: SearchInputs) -> SearchState:
        """The state before anything is fitted."""
        device = inputs.config.device
        generator = torch.Generator(device=device).manual_seed(inputs.config.seed)
        return cls(inputs, generator, torch.zeros(0, dtype=torch.long, device=device))

    @cached_property
    def network(self) -> tuple[SEGVAE, torch.optim.Optimizer]:
        """The autoencoder and its optimiser, made when the first generation needs them."""
        config = self.inputs.config
        return pretrained(self.inputs.grammar, config.model, config.device)

    @cached_property
    def network_data(self) -> Tensor | None:
        """The data as a conditional network reads them, [1, point, feature]; None for one that does not."""
        return network_points(self.inputs.problem) if self.inputs.config.model.conditional else None

    @property
    def elites(self) -> Archive:
        """The archive, where there is one with formulas in it."""
        assert self.archive is not None
        return self.archive

    @property
    def empty(self) -> bool:
        """Whether no formula was found yet."""
        return self.archive is None or not len(self.archive)

    def best_mse(self) -> float:
        """Lowest mean squared error so far; infinite where there is no formula."""
        if self.empty:
            return math.inf
        return float(self.elites.fit.sse.min()) / float(self.inputs.problem.weight.sum())

    def worst_elite(self, complexity: Tensor) -> Tensor | None:
        """The error [formula] that a formula of each complexity must beat; None where all are welcome."""
        if self.empty:
            return None
        config = self.inputs.config
        return self.elites.worst(config.per_complexity, config.max_complexity)[complexity]

    def seconds_left(self) -> float:
        """Seconds until the search must end."""
        return self.stop_at - time.monotonic()

    def enough(self) -> bool:
        """Whether the time is over or the error asked for is reached."""
        return self.seconds_left() < 0 or self.best_mse() <= self.inputs.config.target_mse

    def record(self, begin: float, counts: Counts, kl: float = 0.0, loss: float = 0.0) -> Generation:
        """Append a generation that began at ``begin`` on the monotonic clock, and return it."""
        weight = float(self.inputs.problem.weight.sum())
        steps = () if self.archive is None else self.archive.reached()
        generation = Generation(
            len(self.generations), time.monotonic() - begin, counts.made, counts.unique, counts.new, counts.safe,
            self.best_mse(), kl, loss, tuple((size, sse / weight) for size, sse in steps),
        )  # fmt: skip
        self.generations.append(generation)
        return generation
