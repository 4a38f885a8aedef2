"""Parent formulas to offspring by moving subtrees: crossover, mutation and sums, on whole batches of sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.learn.segvae.grammar import PAD, Grammar, random_formulas


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


def _random_position(tokens: Tensor, generator: torch.Generator) -> Tensor:
    weight = (tokens != PAD).double()
    return torch.multinomial(weight, 1, generator=generator).squeeze(1)


def _splice(tokens: Tensor, start: Tensor, stop: Tensor, piece: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Replace [start, stop) of every sequence by the first ``size`` tokens of ``piece``; and whether it fits."""
    length = tokens.shape[1]
    at = torch.arange(length, device=tokens.device).expand_as(tokens)
    start, stop, size = start.unsqueeze(1), stop.unsqueeze(1), size.unsqueeze(1)
    from_piece = piece.gather(1, (at - start).clamp(0, length - 1))
    source = at - size + (stop - start)
    rest = tokens.gather(1, source.clamp(0, length - 1)).where(source < length, PAD)
    out = torch.where(at < start, tokens, torch.where(at < start + size, from_piece, rest))
    new_length = (tokens != PAD).sum(1) + (size - (stop - start)).squeeze(1)
    return out, new_length <= length


def crossover(parents: Tensor, donors: Tensor, grammar: Grammar, generator: torch.Generator) -> Tensor:
    """Put a random subtree of each donor in the place of a random subtree of each parent; those that fit."""
    ends, donor_ends = subtree_ends(parents, grammar), subtree_ends(donors, grammar)
    lines = torch.arange(len(parents), device=parents.device)
    start, begin = _random_position(parents, generator), _random_position(donors, generator)
    stop, size = ends[lines, start], donor_ends[lines, begin] - begin
    shift = (torch.arange(donors.shape[1], device=donors.device) + begin.unsqueeze(1)).clamp(max=donors.shape[1] - 1)
    out, fits = _splice(parents, start, stop, donors.gather(1, shift), size)
    return out[fits]


def mutate(parents: Tensor, grammar: Grammar, generator: torch.Generator) -> Tensor:
    """Put a small random formula in the place of a random subtree; those that fit."""
    fresh = random_formulas(grammar, len(parents), generator, parents.device, leaf_bias=0.6)
    start = _random_position(parents, generator)
    lines = torch.arange(len(parents), device=parents.device)
    stop = subtree_ends(parents, grammar)[lines, start]
    constant = torch.rand(len(parents), generator=generator, device=parents.device) < 0.25
    if grammar.constant > 0:
        lone = torch.zeros_like(fresh)
        lone[:, 0] = grammar.constant
        fresh = torch.where(constant.unsqueeze(1), lone, fresh)
    out, fits = _splice(parents, start, stop, fresh, (fresh != PAD).sum(1))
    return out[fits]


def relabel(parents: Tensor, grammar: Grammar, generator: torch.Generator) -> Tensor:
    """Exchange one random token for another of the same arity."""
    arity = torch.tensor(grammar.arity, device=parents.device)
    same = (arity.unsqueeze(0) == arity.unsqueeze(1)).double()
    same[:, PAD] = 0
    position = _random_position(parents, generator).unsqueeze(1)
    old = parents.gather(1, position).squeeze(1)
    fresh = torch.multinomial(same[old], 1, generator=generator)
    return parents.scatter(1, position, fresh)


def wrap(parents: Tensor, grammar: Grammar, generator: torch.Generator) -> Tensor:
    """Put a random operator above a random subtree, with a constant or variable as second operand; those that fit."""
    operators = torch.tensor([i for i, a in enumerate(grammar.arity) if a > 0], device=parents.device)
    leaves = [i for i, (a, t) in enumerate(zip(grammar.arity, grammar.tokens, strict=True)) if a == 0 and t]
    leaf = torch.tensor(leaves, device=parents.device)
    n = len(parents)
    arity = torch.tensor(grammar.arity, device=parents.device)
    op = operators[torch.randint(len(operators), (n,), generator=generator, device=parents.device)]
    other = leaf[torch.randint(len(leaf), (n,), generator=generator, device=parents.device)]
    head = torch.zeros_like(parents)
    head[:, 0], head[:, 1] = op, other
    start = _random_position(parents, generator)
    out, fits = _splice(parents, start, start, head, arity[op])
    return out[fits]


def add_up(parents: Tensor, donors: Tensor, grammar: Grammar) -> Tensor:
    """The sum of every parent and donor; those that fit. Their coefficients are fitted apart (see ``constants``)."""
    if "add" not in grammar.index:
        return parents[:0]
    length = parents.shape[1]
    sizes = (parents != PAD).sum(1), (donors != PAD).sum(1)
    zero = torch.zeros_like(sizes[0])
    joined, fits = _splice(parents, sizes[0], sizes[0], donors, sizes[1])
    head = torch.full_like(parents, grammar.index["add"])
    out, room = _splice(joined, zero, zero, head, zero + 1)
    fits &= room & (sizes[0] + sizes[1] + 1 <= length)
    return out[fits]
