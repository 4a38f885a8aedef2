"""Tree structure of prefix formulas: operands, ends of subtrees and heights of their nodes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.grammar.token_kinds import token_kinds


class TreeStructure(NamedTuple):
    """Tree structure of complete prefix sequences.

    ``operands`` [formula, position, 2]: positions of both operands; meaningless where there is none.
    ``ends`` [formula, position]: one past the last position of the subtree that starts there.
    ``heights`` [formula, position]: edges down to the deepest leaf.
    ``holds_constant`` [formula, position]: whether a fitted constant stands at or below the node.
    """

    operands: Tensor
    ends: Tensor
    heights: Tensor
    holds_constant: Tensor


def tree_structure(arity: Tensor, is_constant: Tensor) -> TreeStructure:
    """The structure of sequences of these arities [formula, position] and fitted constants [formula, position].

    The first operand follows its operator, the second follows the first one's end; read from the back.
    """
    n, length = arity.shape
    arity, constant = (
        arity.T.contiguous(),
        is_constant.T.contiguous(),
    )  # [position, formula]: rows lie together
    end, height = arity.new_full((length + 1, n), length), arity.new_zeros(length + 1, n)
    second, holds = arity.new_zeros(length, n), constant.new_zeros(length + 1, n)
    for t in range(length - 1, -1, -1):
        here, first_end = arity[t], end[t + 1]
        unary, binary = here > 0, here > 1
        second[t] = first_end.clamp(max=length - 1)
        other = first_end.unsqueeze(0)
        last = torch.where(binary, end.gather(0, other)[0], first_end)
        end[t] = torch.where(unary, last, t + 1)
        below = torch.where(binary, torch.maximum(height[t + 1], height.gather(0, other)[0]), height[t + 1])
        height[t] = torch.where(unary, below + 1, 0)
        holds[t] = constant[t] | (unary & holds[t + 1]) | (binary & holds.gather(0, other)[0])
    first = torch.arange(1, length + 1, device=arity.device).clamp(max=length - 1)
    operands = torch.stack([first.unsqueeze(1).expand_as(second), second], dim=2)
    return TreeStructure(
        operands.transpose(0, 1).contiguous(),
        end[:length].T.contiguous(),
        height[:length].T.contiguous(),
        holds[:length].T.contiguous(),
    )


def operand_positions(tokens: Tensor, arity: Tensor) -> Tensor:
    """Positions of both operands [formula, position, 2] of complete sequences; meaningless where there is none."""
    return tree_structure(arity, torch.zeros_like(tokens, dtype=torch.bool)).operands


def subtree_ends(tokens: Tensor, grammar: Grammar) -> Tensor:
    """One past the last position of the subtree that starts at every position, [formula, position]."""
    arity = token_kinds(grammar, tokens.device).arity[tokens]
    return tree_structure(arity, torch.zeros_like(tokens, dtype=torch.bool)).ends
