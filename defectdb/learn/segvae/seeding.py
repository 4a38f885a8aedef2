"""A problem and a grammar to what is tried before anything is sampled: small skeletons and sparse sums."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from defectdb.learn.segvae.domain import Domain
from defectdb.learn.segvae.enumerate import skeletons
from defectdb.learn.segvae.evolve import Dressed
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.problem import Problem
from defectdb.learn.segvae.settings import SearchConfig
from defectdb.learn.segvae.sparse import sparse_seeds

_BRICKS = 12_000  # functions that sparse sums are made of; fewer where they must be safe over a domain


def small_skeletons(problem: Problem, grammar: Grammar, config: SearchConfig) -> tuple[Tensor, Tensor]:
    """Every small skeleton, the smaller ones without offset as well: tokens, and which are without.

    Of the operators chosen for it up to ``exhaustive_size`` tokens, of all operators up to one token less, without
    offset up to two less.
    """
    limit = int(config.exhaustive_limit * min(1.0, 20.0 / problem.x.shape[1]))
    core = replace(grammar, operators=config.exhaustive_operators or grammar.operators, required=())
    found = (
        *skeletons(core, config.exhaustive_size, limit),
        *skeletons(grammar, config.exhaustive_size - 1, limit),
    )
    small = [s for s in dict.fromkeys(found) if len(s) <= grammar.max_length]
    short = [s for s in small if len(s) < config.exhaustive_size - 1] if problem.offset else []
    rows = [grammar.encode(s) for s in (*small, *short)]
    tokens = torch.tensor(rows, dtype=torch.long, device=config.device).view(-1, grammar.max_length)
    return tokens, torch.arange(len(rows), device=config.device) >= len(small)


def sparse_sums(problem: Problem, grammar: Grammar, config: SearchConfig, domain: Domain | None) -> Dressed:
    """Sums of small functions (``sparse``), those of functions that are finite over the domain."""
    beyond = None if domain is None else domain.grid[:, ::8]
    most = _BRICKS if beyond is None else _BRICKS // 3
    return sparse_seeds(problem, grammar, size=config.sparse_size, limit=most, beyond=beyond)
