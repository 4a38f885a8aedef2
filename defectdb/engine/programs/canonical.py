"""Keys that are equal for skeletons which differ only in the order of operands and summands.

Operands of commutative operators count in any order, and so do a formula's summands, whose coefficients are free, in
any order and grouping: there a difference is a sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.grammar.token_kinds import token_kinds
from defectdb.engine.programs.compiling import summand_splits
from defectdb.engine.programs.tree_structure import operand_positions
from defectdb.expressions.operators import OPERATORS

_FIRST, _SECOND, _TOKEN = 0x2545F4914F6CDD1D, 0x27D4EB2F165667C5, 0x165667B19E3779F9


def canonical_keys(tokens: Tensor, grammar: Grammar, max_terms: int) -> Tensor:
    """One int64 key for every sequence [formula, position]; ``max_terms`` summands have coefficients of their own."""
    n, length = tokens.shape
    arity = token_kinds(grammar, tokens.device).arity[tokens]
    second = operand_positions(tokens, arity)[:, :, 1]
    split = summand_splits(tokens, grammar, max_terms)
    either = torch.tensor(
        [name in OPERATORS and OPERATORS[name].commutative for name in grammar.tokens], device=tokens.device
    )
    either = either[tokens] | split
    joint = torch.cat([split, split.new_zeros(n, 1)], dim=1).T.contiguous()  # [position, formula]
    total = (grammar.index.get("add", 0) + 1) * _TOKEN  # of what the summands' keys are added to
    keys = tokens.new_zeros(length + 1, n)
    for t in range(length - 1, -1, -1):
        after = second[:, t].unsqueeze(0)
        first, last = keys[t + 1], keys.gather(0, after)[0]
        left, right = _mixed(first * _FIRST), _mixed(last * torch.where(either[:, t], _FIRST, _SECOND))
        below = torch.where(arity[:, t] > 1, left + right, torch.where(arity[:, t] > 0, left, 0))
        whole = _mixed((tokens[:, t] + 1) * _TOKEN + below)
        # summands are added as they are, so that sums of sums are one: mixed once, at the root
        one, other = (
            torch.where(joint[t + 1], first, left),
            torch.where(joint.gather(0, after)[0], last, right),
        )
        keys[t] = torch.where(joint[t], one + other, whole)
    return torch.where(joint[0], _mixed(total + keys[0]), keys[0])


def _mixed(keys: Tensor) -> Tensor:
    """Bits of a key spread over all of it (Steele, Lea & Flood, OOPSLA 2014)."""
    keys = (keys ^ (keys >> 30)) * -0x40A7B892E31B1A47
    keys = (keys ^ (keys >> 27)) * -0x6B2FB644ECCEEE15
    return keys ^ (keys >> 31)
