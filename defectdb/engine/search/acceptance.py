"""Check which skeletons a search may fit: required tokens, units and the user's predicate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.programs.dimensional import has_units
from defectdb.expressions.expression import Expression, from_prefix


class Acceptance:
    """Check of skeletons [formula, position]: required tokens, units and the user's predicate.

    ``grammar``: required tokens and units.
    ``predicate``: callback that accepts or refuses an expression; None for none.
    """

    def __init__(self, grammar: Grammar, predicate: Callable[[Expression], bool] | None = None) -> None:
        self.grammar, self.predicate = grammar, predicate

    def __call__(self, tokens: Tensor) -> Tensor:
        """Which sequences are accepted, bool [formula]; the predicate sees those that pass everything else."""
        ok = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        for name in self.grammar.required:
            ok &= (tokens == self.grammar.index[name]).any(1)
        if self.grammar.units:
            ok &= has_units(tokens, self.grammar)
        if self.predicate is not None:
            rows = ok.nonzero().squeeze(1)
            wanted = [
                bool(self.predicate(from_prefix(self.grammar.decode(row)))) for row in tokens[rows].tolist()
            ]
            ok[rows] = torch.tensor(wanted, dtype=torch.bool, device=tokens.device)
        return ok
