"""The main loop of the engine: seeds first, then generations of new candidates, and at the end the front.

A generation trains the autoencoder on the best formulas so far, draws candidates from it and by moving subtrees
between these formulas, fits every new skeleton's constants in one batch and keeps, for every complexity, the best
formulas that are safe over the domain. How many candidates each source gives follows its yield.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from defectdb.engine.finishing.cross_validation import make_folds
from defectdb.engine.finishing.final_front import final_front
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.network.training import train
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.absorb import absorb
from defectdb.engine.search.checkpoint import restore, save
from defectdb.engine.search.first_generation import first_generation
from defectdb.engine.search.inputs import SearchInputs
from defectdb.engine.search.offspring import SOURCES, breed, shares
from defectdb.engine.search.outcome import Generation, Outcome
from defectdb.engine.search.round_formulas import round_formulas, round_pairs
from defectdb.engine.search.state import SearchState
from defectdb.engine.settings import SearchConfig
from defectdb.expressions.expression import Expression

_SEARCH_SHARE = 0.92  # of the time limit; the rest is for the front
_PROGRESS = 0.999  # a generation that lowers no error by this factor is idle
_CANDIDATE_COST = 0.3  # of a fit: what it costs to make one candidate, whether new or not
_OLD_YIELD, _NEW_YIELD = 0.7, 0.3  # weights of the former yields and a generation's


class Search:
    """One search for formulas; ``run`` gives the outcome.

    ``inputs``: data, grammar, settings, domain, seeds and the check of skeletons.
    ``state``: what is known so far.
    ``report``: progress callback, called with every generation.
    ``state_file``: file that keeps the state after every generation, and from which a killed search goes on.
    """

    def __init__(
        self,
        problem: Problem,
        grammar: Grammar,
        config: SearchConfig,
        domain: Domain | None = None,
        report: Callable[[Generation], None] | None = None,
        seeds: Tensor | None = None,
        predicate: Callable[[Expression], bool] | None = None,
        state_file: Path | None = None,
    ) -> None:
        self.inputs = SearchInputs.of(problem, grammar, config, domain, seeds, predicate)
        self.state = SearchState.of(self.inputs)
        self.report = report or (lambda _: None)
        self.state_file = state_file

    def run(self, folds: Tensor | None = None) -> Outcome:
        """Search until the generations, the time or the patience end; then score the front.

        ``folds`` [row] numbers the folds of the cross-validation (default: see ``make_folds``).
        """
        begin, state = time.monotonic(), self.state
        state.stop_at = state.fit_until = begin + _SEARCH_SHARE * self.inputs.config.time_limit
        if self.state_file is not None and self.state_file.exists():
            restore(state, self.state_file)
        if not state.generations:
            self.report(first_generation(state))
        pairs = round_pairs(state)
        while not self._done():
            self._save()
            self.report(next_generation(state))
        self._save()
        front = [] if state.empty else self._front(folds, begin + self.inputs.config.time_limit)
        inexact = not state.empty and state.best_mse() > self.inputs.config.target_mse
        rounded = round_formulas(state, pairs) if inexact else []
        return Outcome(front, state.generations, time.monotonic() - begin, state.n_fits, rounded)

    def _done(self) -> bool:
        state, config = self.state, self.inputs.config
        return (
            state.empty
            or len(state.generations) > config.generations
            or state.seconds_left() < 0
            or state.generations[-1].best_mse <= config.target_mse
            or state.idle >= config.patience
        )

    def _save(self) -> None:
        if self.state_file is not None:
            save(self.state, self.state_file)

    def _front(self, folds: Tensor | None, end: float) -> list[Scored]:
        """The scored front; ``end`` of the time limit, in seconds of the monotonic clock."""
        inputs, state = self.inputs, self.state
        rows = make_folds(inputs.problem) if folds is None else folds.to(inputs.config.device)
        unrestricted = not inputs.grammar.required and inputs.accepts.predicate is None
        return final_front(
            state.elites, inputs.grammar, inputs.problem, inputs.domain, rows, state.generator,
            algebra_until=state.stop_at if inputs.config.algebra else 0.0, polish_until=end, mean=unrestricted,
        )  # fmt: skip


def next_generation(state: SearchState) -> Generation:
    """Train the network, make candidates, fit the new ones and keep the best."""
    config, grammar = state.inputs.config, state.inputs.grammar
    begin = time.monotonic()
    kl, loss = train(
        state.network, state.elites.tokens, state.elites.merit(), state.generator,
        steps=config.train_steps, batch=config.batch, data_points=state.network_data,
    )  # fmt: skip
    before = state.elites.lowest(config.max_complexity)
    asked = shares(state.yields, config.population)
    candidates, source = breed(
        state.elites, state.network[0], grammar, asked, state.generator, state.network_data
    )
    counts = absorb(state, candidates, source, _without_offset(state, len(candidates)))
    _update_yields(state, source)
    generation = state.record(begin, counts, kl, loss)
    improved = bool((state.elites.lowest(config.max_complexity) < before * _PROGRESS).any())
    state.idle = 0 if improved else state.idle + 1
    return generation


def _without_offset(state: SearchState, count: int) -> Tensor:
    """Which of ``count`` candidates do without the offset: as large a share as of the elites, a tenth at least."""
    share = 0.0
    if state.inputs.problem.offset:
        share = min(0.6, max(0.1, float(state.elites.no_offset.double().mean())))
    device = state.elites.tokens.device
    return torch.rand(count, generator=state.generator, device=device) < share


def _update_yields(state: SearchState, candidate_source: Tensor) -> None:
    """Move the sources' shares towards the elites that each gave for what its candidates cost."""
    born = state.elites.source[state.elites.born == len(state.generations)]
    elites = torch.bincount(born, minlength=len(SOURCES)).cpu().double()
    candidates = torch.bincount(candidate_source, minlength=len(SOURCES)).cpu().double()
    cost = state.new_fits.cpu().double() + _CANDIDATE_COST * candidates
    rate = (elites + 1) / (cost + 10)
    state.yields = _OLD_YIELD * state.yields + _NEW_YIELD * rate / rate[1:].mean()
