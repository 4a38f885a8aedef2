"""Fit the known physical laws to a batch of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.fitted_values import in_domain
from defectdb.engine.seeds.physical_laws import LAWS
from defectdb.expressions.operators import OPERATORS
from defectdb.learn.pairs.skeleton import Skeleton, skeleton_of

COPIES = 16

STARTS = 3
"""Every law is fitted ``COPIES`` times from the best of ``STARTS`` random starts, with and without an offset."""


def law_skeletons() -> list[Skeleton]:
    """The skeletons of ``LAWS`` without offset, their inner constants unknown (NaN)."""
    return [replace(skeleton_of(law.skeleton, (math.nan,) * 9), no_offset=True) for law in LAWS]


def encoded(skeletons: Sequence[Skeleton]) -> tuple[Grammar, Tensor]:
    """A grammar that can write the skeletons, and their tokens [formula, position]."""
    words = {name for s in skeletons for name in s.names}
    numbers = sorted(int(name) for name in words if name.lstrip("-").isdigit())
    longest = max(len(s.names) for s in skeletons)
    grammar = Grammar(operators=tuple(OPERATORS), numbers=tuple(numbers), max_length=longest)
    return grammar, torch.tensor([grammar.encode(s.names) for s in skeletons], dtype=torch.long)


def best_fits(
    tokens: Tensor, grammar: Grammar, problem: Problem, domain: Domain, skeletons: Sequence[Skeleton],
    no_offset: Tensor | None, seed: int,
) -> Fit:  # fmt: skip
    """The best fit of every skeleton, from its own constants where it has them, else from random ones.

    ``tokens`` [formula, position]: the skeletons as ``encoded`` gives them.
    ``no_offset`` [formula]: which do without the problem's offset; None: none does.
    """
    width = max((len(s.theta) for s in skeletons), default=0)
    given = [[*s.theta, *[math.nan] * (width - len(s.theta))] for s in skeletons]
    theta = torch.tensor(given, dtype=torch.float64)
    known = bool(torch.isfinite(theta).any())
    copies = 1 if known else COPIES
    many = tokens.repeat_interleave(copies, 0)
    repeated = None if no_offset is None else no_offset.repeat_interleave(copies)
    starts = theta.repeat_interleave(copies, 0) if width else None
    tried = fit(
        many, grammar, problem, torch.Generator().manual_seed(seed), starts=1 if known else STARTS,
        iterations=(15, 60), theta=starts, no_offset=repeated,
    )  # fmt: skip
    safe = in_domain(many, grammar, tried, problem, domain).view(-1, copies)
    sse = tried.sse.view(-1, copies)
    barred = torch.where(safe | ~safe.any(1, keepdim=True), sse, torch.inf)
    rows = torch.arange(len(tokens)) * copies + barred.argmin(1)
    return Fit(tried.theta[rows], tried.beta[rows], tried.sse[rows])
