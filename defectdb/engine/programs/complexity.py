"""Complexity of finished formulas, in tokens, before they are written out."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.grammar.token_kinds import token_kinds
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import term_roots


def complexities(
    tokens: Tensor, grammar: Grammar, problem: Problem, no_offset: Tensor | None = None
) -> Tensor:
    """Tokens of every finished formula, [formula]: the skeleton, a coefficient for each summand, the offset.

    ``no_offset`` [formula] marks formulas without the offset.
    """
    roots, mask = term_roots(tokens, grammar, problem.max_terms)
    inverse = grammar.index.get("inv", -1)
    cost = torch.where(roots == inverse, 1, 2) * mask  # c * (1 / x) is written c / x
    whole = (tokens != 0).sum(1) + cost.sum(1) + 2 * int(problem.offset)
    return whole if no_offset is None or not problem.offset else whole - 2 * no_offset.long()


def distinct_terms(tokens: Tensor, grammar: Grammar, problem: Problem) -> Tensor:
    """Which skeletons have no bare constant or number as a summand where the offset is free, bool [formula]."""
    roots, mask = term_roots(tokens, grammar, problem.max_terms)
    kinds = token_kinds(grammar, tokens.device)
    flat = kinds.is_constant | kinds.is_number
    return ~(flat[roots] & mask).any(1) if problem.offset else torch.ones_like(mask[:, 0])
