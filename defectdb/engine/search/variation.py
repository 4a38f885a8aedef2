"""Genetic operators on batches of formulas: crossover, mutation, relabelling, wrapping and sums.

Offspring inherit their parents' fitted constants, so that a fit continues where the parents' fits ended.
Formulas travel as ``Candidates``: token indices with, at the position of every constant, its value (NaN where it
has none yet).
"""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.grammar.token_kinds import token_kinds
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.programs.tree_structure import subtree_ends


def random_positions(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """One random position in every sequence [formula, position], padding left out; int64 [formula]."""
    weight = (tokens != PAD).double()
    return torch.multinomial(weight, 1, generator=generator).squeeze(1)


def splice(
    whole: Candidates, start: Tensor, stop: Tensor, piece: Candidates, begin: Tensor, size: Tensor
) -> tuple[Candidates, Tensor]:
    """Replace [start, stop) of every sequence by ``size`` tokens of ``piece`` from ``begin``; and whether it
    fits.
    """
    length = whole.tokens.shape[1]
    at = torch.arange(length, device=whole.tokens.device).expand_as(whole.tokens)
    start, stop, begin, size = (x.unsqueeze(1) for x in (start, stop, begin, size))
    inside = (at >= start) & (at < start + size)
    from_piece = (at - start + begin).clamp(0, length - 1)
    shifted = at - size + (stop - start)
    source = torch.where(at < start, at, shifted.clamp(0, length - 1))
    gone = (at >= start + size) & (shifted >= length)
    tokens = torch.where(inside, piece.tokens.gather(1, from_piece), whole.tokens.gather(1, source))
    values = torch.where(inside, piece.values.gather(1, from_piece), whole.values.gather(1, source))
    fits = (whole.tokens != PAD).sum(1) + (size - (stop - start)).squeeze(1) <= length
    return Candidates(tokens.masked_fill(gone, PAD), values.masked_fill(gone, torch.nan)), fits


def crossover(
    parents: Candidates, donors: Candidates, grammar: Grammar, generator: torch.Generator
) -> Candidates:
    """Replace a random subtree of each parent by a random subtree of each donor; the formulas that fit."""
    ends, donor_ends = subtree_ends(parents.tokens, grammar), subtree_ends(donors.tokens, grammar)
    lines = torch.arange(len(parents), device=ends.device)
    start, begin = random_positions(parents.tokens, generator), random_positions(donors.tokens, generator)
    out, fits = splice(parents, start, ends[lines, start], donors, begin, donor_ends[lines, begin] - begin)
    return out[fits]


def mutate(parents: Candidates, grammar: Grammar, generator: torch.Generator) -> Candidates:
    """Replace a random subtree by a small random formula, or one time in four by a constant; those
    that fit.
    """
    n, device = len(parents), parents.tokens.device
    fresh = random_formulas(grammar, n, generator, device, leaf_bias=0.6)
    if grammar.constant > 0:
        lone = torch.zeros_like(fresh)
        lone[:, 0] = grammar.constant
        constant = torch.rand(n, generator=generator, device=device) < 0.25
        fresh = torch.where(constant.unsqueeze(1), lone, fresh)
    start = random_positions(parents.tokens, generator)
    stop = subtree_ends(parents.tokens, grammar)[torch.arange(n, device=device), start]
    piece = Candidates.of(fresh, grammar)
    out, fits = splice(parents, start, stop, piece, torch.zeros_like(start), (fresh != PAD).sum(1))
    return out[fits]


def relabel(parents: Candidates, grammar: Grammar, generator: torch.Generator) -> Candidates:
    """Exchange one random token for another of the same arity; one that is alone of its arity stays."""
    arity = token_kinds(grammar, parents.tokens.device).arity
    same = (arity.unsqueeze(0) == arity.unsqueeze(1)).double().fill_diagonal_(0.0)
    same[:, PAD] = 0
    same += torch.diag((same.sum(1) == 0).double())
    position = random_positions(parents.tokens, generator).unsqueeze(1)
    fresh = torch.multinomial(same[parents.tokens.gather(1, position).squeeze(1)], 1, generator=generator)
    return Candidates(
        parents.tokens.scatter(1, position, fresh), parents.values.scatter(1, position, torch.nan)
    )


def wrap(parents: Candidates, grammar: Grammar, generator: torch.Generator) -> Candidates:
    """Put a random operator above a random subtree, with a random leaf as the other operand; those that fit."""
    n, device = len(parents), parents.tokens.device
    operators = torch.tensor([i for i, a in enumerate(grammar.arity) if a > 0], device=device)
    leaves = [i for i, (a, t) in enumerate(zip(grammar.arity, grammar.tokens, strict=True)) if a == 0 and t]
    leaf = torch.tensor(leaves, device=device)
    op = operators[torch.randint(len(operators), (n,), generator=generator, device=device)]
    head = torch.zeros_like(parents.tokens)
    head[:, 0] = op
    head[:, 1] = leaf[torch.randint(len(leaf), (n,), generator=generator, device=device)]
    start = random_positions(parents.tokens, generator)
    size = token_kinds(grammar, device).arity[op]
    out, fits = splice(parents, start, start, Candidates.of(head, grammar), torch.zeros_like(start), size)
    return out[fits]


def add_up(parents: Candidates, donors: Candidates, grammar: Grammar) -> Candidates:
    """The sum of every parent and donor; those that fit. Their coefficients are fitted apart (see
    ``constants``).
    """
    rows = torch.zeros(len(parents), dtype=torch.long, device=parents.tokens.device)
    if "add" not in grammar.index:
        return parents[rows[:0]]
    sizes = (parents.tokens != PAD).sum(1), (donors.tokens != PAD).sum(1)
    joined, fits = splice(parents, sizes[0], sizes[0], donors, rows, sizes[1])
    head = Candidates.of(torch.full_like(parents.tokens, grammar.index["add"]), grammar)
    out, room = splice(joined, rows, rows, head, rows, rows + 1)
    fits &= room & (sizes[0] + sizes[1] + 1 <= parents.tokens.shape[1])
    return out[fits]
