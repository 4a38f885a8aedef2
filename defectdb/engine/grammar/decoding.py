"""Write formulas token by token under the grammar's masks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import _INVERSES, PAD, Grammar
from defectdb.engine.grammar.open_slots import OpenSlots
from defectdb.engine.grammar.unit_masks import UnitState
from defectdb.expressions.operators import OPERATORS, Family


class _Facts(NamedTuple):
    """What the tokens are, [token]; ``banned`` [parent, child] which may not stand right below one another."""

    arity: Tensor
    is_trig: Tensor
    is_exp: Tensor
    is_variable: Tensor
    is_constant: Tensor
    is_number: Tensor
    no_constant_below: Tensor
    banned: Tensor


@lru_cache(maxsize=32)
def _facts(g: Grammar, device: torch.device) -> _Facts:
    """Made once for a grammar and a device."""
    names = g.tokens
    known = [OPERATORS.get(name) for name in names]
    banned = [[(outer, inner) in _INVERSES for inner in names] for outer in names]
    tests: tuple[list[bool], ...] = (
        [o is not None and Family.TRIGONOMETRIC in o.families for o in known],
        [o is not None and Family.EXPONENTIAL in o.families for o in known],
        [name in g.variables for name in names],
        [name == "c" for name in names],
        [i in g.leaf_values for i in range(len(names))],
        [o is not None and o.arity == 1 for o in known],
    )
    trig, exp, variable, constant, number, single = (torch.tensor(test, device=device) for test in tests)
    arity, pairs = torch.tensor(g.arity, device=device), torch.tensor(banned, device=device)
    return _Facts(arity, trig, exp, variable, constant, number, single, pairs)


class Decoder:
    """Masks of the tokens that a batch of growing prefix formulas may take next.

    ``grammar``: which formulas exist.
    ``slots``: the operand slots still open.
    ``units``: the units required of these; None for a grammar without units.
    """

    def __init__(self, grammar: Grammar, batch: int, device: torch.device | str = "cpu") -> None:
        self.grammar, self.facts = grammar, _facts(grammar, torch.device(device))
        self.slots = OpenSlots.of(batch, grammar.max_length, device)
        self.units = UnitState(grammar, batch, len(self.slots.numbers), device) if grammar.units else None

    @property
    def finished(self) -> Tensor:
        """Which formulas are complete, bool [batch]."""
        return self.slots.count == 0

    def allowed(self) -> Tensor:
        """Which token may come next, bool [batch, token]; finished sequences allow padding alone."""
        g, facts, slots = self.grammar, self.facts, self.slots
        top = slots.top.unsqueeze(1)

        def at(field: Tensor) -> Tensor:
            return field.gather(1, top)

        room = g.max_length - slots.length - slots.count  # tokens to spare once every open slot holds a leaf
        arity = facts.arity.unsqueeze(0)
        ok = arity <= room.unsqueeze(1)
        ok = ok & ((arity == 0) | (at(slots.depth) < g.max_depth))
        ok = ok & ~(facts.is_trig & (at(slots.trigonometric) >= g.max_nesting))
        ok = ok & ~(facts.is_exp & (at(slots.exponential) >= g.max_nesting))
        leaf_constant = facts.is_constant | facts.is_number
        ok = ok & ~(leaf_constant & at(slots.not_constant))
        ok = ok & ~(facts.is_constant & (slots.n_constants >= g.max_constants).unsqueeze(1))
        last = ((slots.count == 1) & ~slots.has_variable).unsqueeze(1)
        ok = ok & ~(leaf_constant & last)
        ok = ok & ~facts.banned[at(slots.parent).squeeze(1)]
        if self.units is not None:
            ok = ok & self.units.allowed(slots)
        done = self.finished.unsqueeze(1)
        ok = torch.where(done, torch.zeros_like(ok), ok)
        ok[:, PAD] = done.squeeze(1)
        return ok

    def push(self, token: Tensor) -> None:
        """Append one token [batch] to every sequence."""
        facts, slots = self.facts, self.slots
        if self.units is not None:
            self.units.push(slots, token)
        going = token != PAD
        top, arity = slots.top, facts.arity[token]
        depth, trig, exp = (
            field.gather(1, top.unsqueeze(1))
            for field in (slots.depth, slots.trigonometric, slots.exponential)
        )
        self._refuse_second_constant(token, top)
        fill = (slots.numbers >= top.unsqueeze(1)) & (slots.numbers <= (top + arity - 1).unsqueeze(1))
        fill = fill & going.unsqueeze(1)
        slots.depth = torch.where(fill, depth + 1, slots.depth)
        slots.trigonometric = torch.where(
            fill, trig + facts.is_trig[token].long().unsqueeze(1), slots.trigonometric
        )
        slots.exponential = torch.where(
            fill, exp + facts.is_exp[token].long().unsqueeze(1), slots.exponential
        )
        slots.parent = torch.where(fill, token.unsqueeze(1), slots.parent)
        slots.not_constant = torch.where(
            fill, facts.no_constant_below[token].unsqueeze(1), slots.not_constant
        )
        slots.count = torch.where(going, slots.count - 1 + arity, slots.count)
        slots.length = slots.length + going.long()
        slots.n_constants = slots.n_constants + facts.is_constant[token].long()
        slots.has_variable = slots.has_variable | facts.is_variable[token]

    def _refuse_second_constant(self, token: Tensor, top: Tensor) -> None:
        """Where the first operand is a bare constant, its sibling (the next slot down) must be something else."""
        slots, here = self.slots, top.unsqueeze(1)
        below = (top - 1).clamp(min=0).unsqueeze(1)
        bare = (self.facts.is_constant[token] | self.facts.is_number[token]).unsqueeze(1)
        sibling = slots.depth.gather(1, below) == slots.depth.gather(1, here)
        sibling = sibling & (slots.parent.gather(1, here) > 0) & (here > 0)
        refused = slots.not_constant.gather(1, below) | (bare & sibling)
        slots.not_constant = slots.not_constant.scatter(1, below, refused)


def random_formulas(
    grammar: Grammar,
    count: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    leaf_bias: float = 0.5,
) -> Tensor:
    """Formulas drawn token by token, uniformly among what the grammar allows; int64 [count, max_length].

    ``leaf_bias`` is the probability mass given to leaves: larger gives shorter formulas.
    """
    decoder = Decoder(grammar, count, device)
    leaf = decoder.facts.arity == 0
    out = torch.zeros(count, grammar.max_length, dtype=torch.long, device=device)
    for step in range(grammar.max_length):
        ok = decoder.allowed().double()
        leaves, others = ok * leaf, ok * ~leaf
        n_leaves, n_others = leaves.sum(1, keepdim=True), others.sum(1, keepdim=True)
        share = torch.where(n_others > 0, leaf_bias, 1.0).where(n_leaves > 0, 0.0)
        weight = leaves * share / n_leaves.clamp(min=1) + others * (1 - share) / n_others.clamp(min=1)
        token = torch.multinomial(weight, 1, generator=generator).squeeze(1)
        out[:, step] = token
        decoder.push(token)
    return out


def grammar_masks(tokens: Tensor, grammar: Grammar) -> tuple[Tensor, Tensor]:
    """The masks under which every token of complete sequences was chosen, and which sequences obey them all.

    bool [batch, position, token] and bool [batch].
    """
    decoder = Decoder(grammar, tokens.shape[0], tokens.device)
    masks = []
    valid = torch.ones(tokens.shape[0], dtype=torch.bool, device=tokens.device)
    for step in range(tokens.shape[1]):
        mask = decoder.allowed()
        valid &= mask.gather(1, tokens[:, step : step + 1]).squeeze(1)
        masks.append(mask)
        decoder.push(tokens[:, step])
    return torch.stack(masks, dim=1), valid & decoder.finished
