"""Where each subtree of a batch of prefix formulas ends."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar


def subtree_ends(tokens: Tensor, grammar: Grammar) -> Tensor:
    """One past the last position of the subtree that starts at every position, [formula, position]."""
    n, length = tokens.shape
    arity = torch.tensor(grammar.arity, device=tokens.device)[tokens]
    lines = torch.arange(n, device=tokens.device)
    ends = torch.zeros(n, length + 1, dtype=torch.long, device=tokens.device)
    for t in range(length - 1, -1, -1):
        one = ends[lines, torch.full_like(lines, min(t + 1, length - 1))]
        two = ends[lines, one.clamp(max=length - 1)]
        here = arity[:, t]
        leaf = torch.full_like(one, t + 1)
        ends[:, t] = torch.where(here == 0, leaf, torch.where(here == 1, one, two))
    return ends[:, :length]
