"""Skeletons to try before anything is sampled: all small ones, and sums of few small functions."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.safety.domain import Domain
from defectdb.engine.seeds.small_skeletons import skeletons
from defectdb.engine.seeds.sparse_sums import sparse_seeds
from defectdb.engine.settings import SearchConfig

_SUMMED_FUNCTIONS = (
    12_000  # functions that sparse sums are made of; fewer where they must be safe over a domain
)


def small_skeletons(problem: Problem, grammar: Grammar, config: SearchConfig) -> tuple[Tensor, Tensor]:
    """Every small skeleton, the smaller ones without offset as well: tokens, and which are without.

    Of the operators chosen for it up to ``exhaustive_size`` tokens, of all operators up to one token less, without
    offset up to two less.
    """
    limit = int(config.exhaustive_limit * min(1.0, 20.0 / problem.x.shape[1]))
    core = replace(grammar, operators=config.exhaustive_operators or grammar.operators, required=())
    tokens, no_offset = _encoded(grammar, core, config.exhaustive_size, limit)
    if not problem.offset:
        tokens, no_offset = tokens[~no_offset], no_offset[~no_offset]
    return tokens.to(config.device), no_offset.to(config.device)


@lru_cache(maxsize=4)
def _encoded(grammar: Grammar, core: Grammar, size: int, limit: int) -> tuple[Tensor, Tensor]:
    """All skeletons, then the shorter ones once more as those without offset: kept for the next search of a process."""
    found = (*skeletons(core, size, limit), *skeletons(grammar, size - 1, limit))
    small = [s for s in dict.fromkeys(found) if len(s) <= grammar.max_length]
    rows = torch.tensor([grammar.encode(s) for s in small], dtype=torch.long).view(-1, grammar.max_length)
    short = rows[(rows != PAD).sum(1) < size - 1]
    return torch.cat([rows, short]), torch.arange(len(rows) + len(short)) >= len(rows)


def sparse_sums(
    problem: Problem,
    grammar: Grammar,
    config: SearchConfig,
    domain: Domain | None,
    until: float = math.inf,
) -> Candidates:
    """Sums of few small functions, all of them finite over the domain, as many as are found ``until`` then."""
    beyond = None if domain is None else domain.grid[:, ::8]
    most = _SUMMED_FUNCTIONS if beyond is None else _SUMMED_FUNCTIONS // 3
    return sparse_seeds(problem, grammar, size=config.sparse_size, limit=most, beyond=beyond, until=until)
