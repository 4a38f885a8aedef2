"""Which of many formulas a user wants: required tokens, dimensional analysis, a predicate of the user's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from defectdb.learn.segvae.grammar import PAD, Grammar
from defectdb.learn.segvae.layout import children, summand_splits
from defectdb.schema.dimensions import POWERS, PRODUCTS, SUMS
from defectdb.schema.expression import Expression, from_prefix
from defectdb.schema.operators import OPERATORS

_TOLERANCE = 1e-9


class Acceptance:
    """Rows of candidates to keep; called with token sequences [formula, position]."""

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
            for i in ok.nonzero().squeeze(1).tolist():
                ok[i] = self.predicate(from_prefix(self.grammar.decode(tokens[i].tolist())))
        return ok


def has_units(tokens: Tensor, grammar: Grammar) -> Tensor:
    """Which sequences are dimensionally sound, bool [formula].

    Sums need equal units, transcendental functions need pure numbers; a fitted constant carries whatever
    unit is missing, and so does every product that holds one. The outer coefficients make up for the
    unit of the formula, or of each of the grammar's ``summands`` first summands.
    """
    arity = torch.tensor(grammar.arity, device=tokens.device)[tokens]
    child = children(tokens, arity)
    n, length = tokens.shape
    lines = torch.arange(n, device=tokens.device)
    leaf = torch.zeros(len(grammar.tokens), len(grammar.units[0]), dtype=torch.float64, device=tokens.device)
    for name, exponents in zip(grammar.variables, grammar.units, strict=True):
        if name in grammar.index:
            leaf[grammar.index[name]] = leaf.new_tensor(exponents)
    unit = leaf[tokens]  # [formula, position, base unit]
    free = tokens == grammar.constant
    ok = torch.ones(n, dtype=torch.bool, device=tokens.device)
    apart = summand_splits(tokens, grammar, grammar.summands)
    rules = {index: _rule(name) for name, index in grammar.index.items() if grammar.arity[index]}
    for t in range(length - 1, -1, -1):
        a, b = child[:, t, 0], child[:, t, 1]
        for index, rule in rules.items():
            here = (tokens[:, t] == index) & (tokens[:, t] != PAD)
            if here.any():
                rows = lines[here]
                left, right = (unit[rows, side[here]] for side in (a, b))
                loose = [free[rows, side[here]] for side in (a, b)]
                unit[rows, t], free[rows, t], sound = rule(left, right, *loose)
                ok[rows] &= sound | apart[rows, t]
    return ok


Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def _rule(name: str) -> Rule:
    """Units and looseness of an operator's value from those of its operands, and whether they fit."""

    def rule(a: Tensor, b: Tensor, free_a: Tensor, free_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = torch.ones_like(free_a)
        pure_a = free_a | (a.abs() < _TOLERANCE).all(1)
        if name in PRODUCTS:
            return a + b if name == "mul" else a - b, free_a | free_b, fine
        if name in SUMS:
            equal = free_a | free_b | ((a - b).abs() < _TOLERANCE).all(1)
            return torch.where(free_a.unsqueeze(1), b, a), free_a & free_b, equal
        if name in POWERS:
            return a * POWERS[name], free_a, fine
        pure_b = free_b | (b.abs() < _TOLERANCE).all(1) if OPERATORS[name].arity == 2 else fine
        return torch.zeros_like(a), torch.zeros_like(free_a), pure_a & pure_b

    return rule
