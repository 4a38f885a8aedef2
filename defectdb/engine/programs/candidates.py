"""Skeletons together with the constants that they inherit from their parents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar


@dataclass(frozen=True, slots=True)
class Candidates:
    """Skeletons with inherited constants.

    ``tokens`` [formula, position]: the skeletons in prefix form.
    ``values`` [formula, position]: values of the constants, NaN where there is none.
    """

    tokens: Tensor
    values: Tensor

    @classmethod
    def of(cls, tokens: Tensor, grammar: Grammar, theta: Tensor | None = None) -> Candidates:
        """Sequences [formula, position] with their fitted constants [formula, k], or with none."""
        values = torch.full(tokens.shape, torch.nan, dtype=torch.float64, device=tokens.device)
        if theta is None or not theta.shape[1]:
            return cls(tokens, values)
        is_constant = tokens == grammar.constant
        order = (is_constant.long().cumsum(1) - 1).clamp(0, theta.shape[1] - 1)
        return cls(tokens, torch.where(is_constant, theta.gather(1, order), values))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor) -> Candidates:
        return Candidates(self.tokens[rows], self.values[rows])

    def theta(self, grammar: Grammar) -> Tensor:
        """The values in order, [formula, k]; NaN after a formula's last constant."""
        is_constant = self.tokens == grammar.constant
        width = int(is_constant.sum(1).max()) if len(self) else 0
        order = torch.where(is_constant, is_constant.long().cumsum(1) - 1, width)
        out = torch.full((len(self), width + 1), torch.nan, dtype=torch.float64, device=self.tokens.device)
        return out.scatter_(1, order, torch.where(is_constant, self.values, torch.nan))[:, :width]

    @staticmethod
    def cat(parts: list[Candidates]) -> Candidates:
        """All parts, one after another."""
        return Candidates(torch.cat([p.tokens for p in parts]), torch.cat([p.values for p in parts]))
