"""Generation 0 of a search: the caller's seeds, sparse sums and every small skeleton."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch

from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.search.absorb import absorb
from defectdb.engine.search.outcome import Counts, Generation
from defectdb.engine.search.state import SearchState
from defectdb.engine.seeds.seeding import small_skeletons, sparse_sums

_LATE_TOKENS = 4  # size of the skeletons that are tried although the time is over
_BATCH = 4096  # skeletons fitted between two looks at the clock


def first_generation(state: SearchState) -> Generation:
    """Fit the caller's seeds, sparse sums and all small skeletons, until the time is over."""
    begin = time.monotonic()
    counts = _given_seeds(state) + _sparse_sums(state)
    counts += _small_skeletons(state)
    state.seeds_cut_off = state.seconds_left() < 0 and state.best_mse() > state.inputs.config.target_mse
    return state.record(begin, counts)


def _given_seeds(state: SearchState) -> Counts:
    """Fit the caller's seeds, thoroughly."""
    seeds, config = state.inputs.seeds, state.inputs.config
    if seeds is None or not len(seeds) or state.enough():
        return Counts()
    made = Candidates.of(seeds.to(config.device), state.inputs.grammar)
    source = torch.zeros(len(made), dtype=torch.long, device=config.device)
    return absorb(state, made, source, source.bool(), thorough=True)


def _sparse_sums(state: SearchState) -> Counts:
    """Fit sums of few small functions, with and without offset."""
    inputs, counts = state.inputs, Counts()
    if not inputs.config.sparse_size or state.enough():
        return counts
    made = sparse_sums(inputs.problem, inputs.grammar, inputs.config, inputs.domain, state.fit_until)
    source = torch.zeros(len(made), dtype=torch.long, device=inputs.config.device)
    for no_offset in (False, True) if inputs.problem.offset else (False,):
        counts += absorb(state, made, source, torch.full_like(source, no_offset).bool(), starts=2)
    return counts


def _small_skeletons(state: SearchState) -> Counts:
    """Fit every small skeleton; only the smallest where the time is over or an exact formula is known.

    Some are fitted whatever the time, where nothing was found before: a search has a result.
    """
    config, counts = state.inputs.config, Counts()
    if state.enough():
        config = replace(config, exhaustive_size=min(_LATE_TOKENS, config.exhaustive_size))
    tokens, no_offset = small_skeletons(state.inputs.problem, state.inputs.grammar, config)
    for part, flags in zip(tokens.split(_BATCH), no_offset.split(_BATCH), strict=True):
        if not state.empty and state.enough():
            break
        state.fit_until = math.inf if state.empty else state.stop_at
        source = torch.zeros(len(part), dtype=torch.long, device=config.device)
        counts += absorb(state, Candidates.of(part, state.inputs.grammar), source, flags)
    state.fit_until = state.stop_at
    return counts
