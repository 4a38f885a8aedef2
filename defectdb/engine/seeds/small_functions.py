"""All distinct small functions without fitted constants, with their values.

Functions are built size by size from smaller ones' values. Of those that agree at all points, up to a factor, only the
simplest is kept (observational equivalence: Udupa et al., PLDI 2013), so a few thousand stand for millions of token
sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.programs.programs import TorchMathematics
from defectdb.expressions.operators import OPERATORS, Family

_SAME_SHARE = 1e-10
_LARGEST_VALUE = 1e8
_BINARY_OPERATORS = ("add", "sub", "mul", "div", "pow")
_NESTED_FAMILIES = (Family.TRIGONOMETRIC, Family.EXPONENTIAL)


@dataclass(frozen=True, slots=True)
class FunctionSet:
    """Small functions without fitted constants.

    ``tokens`` [function, position]: prefix form.
    ``size`` [function]: tokens.
    ``values`` [function, point]: values at the points.
    ``nesting`` [function, family]: trigonometric and exponential functions inside one another.
    """

    tokens: Tensor
    size: Tensor
    values: Tensor
    nesting: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor | slice) -> FunctionSet:
        return FunctionSet(self.tokens[rows], self.size[rows], self.values[rows], self.nesting[rows])

    @staticmethod
    def cat(parts: list[FunctionSet]) -> FunctionSet:
        """All parts, one after another."""
        return FunctionSet(
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.size for p in parts]),
            torch.cat([p.values for p in parts]),
            torch.cat([p.nesting for p in parts]),
        )

    def names(self, grammar: Grammar) -> list[list[str]]:
        """Prefix names of every function."""
        return [grammar.decode(row) for row in self.tokens.tolist()]

    def written_in(self, narrow: Grammar, grammar: Grammar) -> FunctionSet:
        """The same functions of a ``narrow`` grammar in the tokens of one that holds it."""
        index = torch.tensor([grammar.index[name] for name in narrow.tokens], device=self.tokens.device)
        return replace(self, tokens=index[self.tokens])

    def distinct(self) -> FunctionSet:
        """Without functions that are not finite, do not vary, or repeat an earlier one up to a factor."""
        fine = torch.isfinite(self.values).all(1) & (self.values.abs().amax(1) < _LARGEST_VALUE)
        fine &= self.values.amax(1) - self.values.amin(1) > _SAME_SHARE * self.values.abs().amax(1)
        some = self[fine.nonzero().squeeze(1)]
        weights = torch.cos(
            1.0 + torch.arange(self.values.shape[1], device=self.values.device).double().square()
        )
        normed = some.values / some.values.norm(dim=1, keepdim=True)
        mark = (normed @ weights).abs()  # equal for a function and its negative
        order = mark.argsort(stable=True)
        fresh = torch.ones_like(order, dtype=torch.bool)
        fresh[1:] = mark[order].diff() > _SAME_SHARE
        leader = torch.full_like(order, len(order)).scatter_reduce(
            0, fresh.long().cumsum(0) - 1, order, "amin"
        )
        return some[leader[leader < len(order)].sort().values]


def small_functions(grammar: Grammar, x: Tensor, size: int, limit: int) -> FunctionSet:
    """Distinct functions of up to ``size`` tokens at ``x`` [variable, point], smaller ones first; at most ``limit``."""
    leaves = _leaves(grammar, x)
    known, levels = leaves.distinct(), [leaves]
    for n in range(2, size + 1):
        parts = [*_unary(grammar, levels[n - 2]), *_binary(grammar, levels, n)]
        if not parts or len(known) + sum(len(p) for p in parts) > 8 * limit:
            break
        before = len(known)
        known = FunctionSet.cat([known, *parts]).distinct()
        levels.append(known[slice(before, None)])
        if len(known) > limit:
            break
    return known[slice(limit)]


def products(some: FunctionSet, grammar: Grammar) -> FunctionSet:
    """All products and quotients of the functions."""
    parts = [
        _joined(grammar, name, some, some) for name in ("mul", "div") if name in grammar.index and len(some)
    ]
    return FunctionSet.cat(parts) if parts else some[slice(0)]


def _leaves(grammar: Grammar, x: Tensor) -> FunctionSet:
    """Variables, then literal numbers (which vary nowhere, and are bricks of larger functions only)."""
    rows = [i for i, name in enumerate(grammar.variables) if name in grammar.index]
    names = [grammar.index[grammar.variables[i]] for i in rows] + list(grammar.leaf_values)
    tokens = torch.zeros(len(names), grammar.max_length, dtype=torch.long, device=x.device)
    tokens[:, 0] = torch.tensor(names, device=x.device)
    numbers = [x.new_full((x.shape[1],), value) for value in grammar.leaf_values.values()]
    values = torch.stack([*x[rows], *numbers])
    return FunctionSet(tokens, torch.ones_like(tokens[:, 0]), values, torch.zeros_like(tokens[:, :2]))


def _unary(grammar: Grammar, below: FunctionSet) -> list[FunctionSet]:
    varying = below.values.amax(1) > below.values.amin(1)
    found = []
    for name in grammar.operators:
        operator = OPERATORS[name]
        if operator.arity != 1 or name not in grammar.index or name == "neg":
            continue
        step = torch.tensor(
            [int(f in operator.families) for f in _NESTED_FAMILIES], device=below.tokens.device
        )
        fits = varying & (below.size < grammar.max_length)
        fits &= ((below.nesting + step <= grammar.max_nesting) | (step == 0)).all(1)
        some = below[fits.nonzero().squeeze(1)]
        tokens = some.tokens.roll(1, 1)
        tokens[:, 0] = grammar.index[name]
        values = operator.apply(TorchMathematics(), some.values)
        found.append(FunctionSet(tokens, some.size + 1, values, some.nesting + step))
    return found


def _binary(grammar: Grammar, levels: list[FunctionSet], size: int) -> list[FunctionSet]:
    found = []
    for name in _BINARY_OPERATORS:
        if name not in grammar.index:
            continue
        for left in range(1, size - 1):
            right = size - 1 - left
            if OPERATORS[name].commutative and left < right:
                continue
            found.append(_joined(grammar, name, levels[left - 1], levels[right - 1]))
    return found


def _joined(grammar: Grammar, name: str, a: FunctionSet, b: FunctionSet) -> FunctionSet:
    """One operator over every pair that fits, [a] first."""
    device = a.tokens.device
    i = torch.arange(len(a), device=device).repeat_interleave(len(b))
    j = torch.arange(len(b), device=device).repeat(len(a))
    fits = a.size[i] + b.size[j] < grammar.max_length
    if OPERATORS[name].commutative and a is b:
        fits &= i >= j
    i, j = i[fits], j[fits]
    position = torch.arange(grammar.max_length, device=device) - 1
    first = a.tokens[i].gather(1, position.clamp(min=0).expand(len(i), -1))
    in_second = (position - a.size[i].unsqueeze(1)).clamp(min=0)
    tokens = torch.where(position < a.size[i].unsqueeze(1), first, b.tokens[j].gather(1, in_second))
    ended = position >= (a.size[i] + b.size[j]).unsqueeze(1)
    tokens = tokens.masked_fill(ended, 0)
    tokens[:, 0] = grammar.index[name]
    values = OPERATORS[name].apply(TorchMathematics(), a.values[i], b.values[j])
    return FunctionSet(tokens, a.size[i] + b.size[j] + 1, values, torch.maximum(a.nesting[i], b.nesting[j]))
