"""Write formulas token by token under masks, so that every one ends complete and obeys the grammar."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import INVERSES, PAD, Grammar
from defectdb.engine.grammar.open_slots import OpenSlots
from defectdb.engine.grammar.token_kinds import token_kinds
from defectdb.engine.grammar.unit_masks import UnitState


@lru_cache(maxsize=32)
def _refusals(grammar: Grammar, device: torch.device) -> Tensor:
    """Pairs [parent, child] of which the child may not stand right below the parent, bool."""
    names = grammar.tokens
    banned = [[(outer, inner) in INVERSES for inner in names] for outer in names]
    return torch.tensor(banned, device=device)


class Decoder:
    """Masks of the tokens that a batch of growing prefix formulas may take next.

    ``grammar``: which formulas exist.
    ``kinds``: what kind of token every token is.
    ``refused`` [parent, child]: which tokens may not stand right below which.
    ``slots``: the operand slots still open.
    ``units``: the units required of these; None for a grammar without units.
    """

    def __init__(self, grammar: Grammar, batch: int, device: torch.device | str = "cpu") -> None:
        self.grammar, self.kinds = grammar, token_kinds(grammar, torch.device(device))
        self.refused = _refusals(grammar, torch.device(device))
        self.slots = OpenSlots.of(batch, grammar.max_length, device)
        self.units = UnitState(grammar, batch, len(self.slots.numbers), device) if grammar.units else None

    @property
    def finished(self) -> Tensor:
        """Which formulas are complete, bool [batch]."""
        return self.slots.count == 0

    def allowed(self) -> Tensor:
        """Which token may come next, bool [batch, token]; finished sequences allow padding alone."""
        g, kinds, slots = self.grammar, self.kinds, self.slots
        top = slots.top.unsqueeze(1)

        def at(field: Tensor) -> Tensor:
            return field.gather(1, top)

        room = g.max_length - slots.length - slots.count  # tokens to spare once every open slot holds a leaf
        arity = kinds.arity.unsqueeze(0)
        ok = arity <= room.unsqueeze(1)
        ok = ok & ((arity == 0) | (at(slots.depth) < g.max_depth))
        ok = ok & ~(kinds.is_trigonometric & (at(slots.trigonometric) >= g.max_nesting))
        ok = ok & ~(kinds.is_exponential & (at(slots.exponential) >= g.max_nesting))
        leaf_constant = kinds.is_constant | kinds.is_number
        ok = ok & ~(leaf_constant & at(slots.not_constant))
        ok = ok & ~(kinds.is_constant & (slots.n_constants >= g.max_constants).unsqueeze(1))
        last = ((slots.count == 1) & ~slots.has_variable).unsqueeze(1)
        ok = ok & ~(leaf_constant & last)
        ok = ok & ~self.refused[at(slots.parent).squeeze(1)]
        if self.units is not None:
            ok = ok & self.units.allowed(slots)
        done = self.finished.unsqueeze(1)
        ok = torch.where(done, torch.zeros_like(ok), ok)
        ok[:, PAD] = done.squeeze(1)
        return ok

    def push(self, token: Tensor) -> None:
        """Append one token [batch] to every sequence."""
        kinds, slots = self.kinds, self.slots
        if self.units is not None:
            self.units.push(slots, token)
        going = token != PAD
        top, arity = slots.top, kinds.arity[token]
        depth, trig, exp = (
            field.gather(1, top.unsqueeze(1))
            for field in (slots.depth, slots.trigonometric, slots.exponential)
        )
        self._refuse_second_constant(token, top)
        fill = (slots.numbers >= top.unsqueeze(1)) & (slots.numbers <= (top + arity - 1).unsqueeze(1))
        fill = fill & going.unsqueeze(1)
        slots.depth = torch.where(fill, depth + 1, slots.depth)
        slots.trigonometric = torch.where(
            fill, trig + kinds.is_trigonometric[token].long().unsqueeze(1), slots.trigonometric
        )
        slots.exponential = torch.where(
            fill, exp + kinds.is_exponential[token].long().unsqueeze(1), slots.exponential
        )
        slots.parent = torch.where(fill, token.unsqueeze(1), slots.parent)
        slots.not_constant = torch.where(fill, (kinds.arity[token] == 1).unsqueeze(1), slots.not_constant)
        slots.count = torch.where(going, slots.count - 1 + arity, slots.count)
        slots.length = slots.length + going.long()
        slots.n_constants = slots.n_constants + kinds.is_constant[token].long()
        slots.has_variable = slots.has_variable | kinds.is_variable[token]

    def _refuse_second_constant(self, token: Tensor, top: Tensor) -> None:
        """Where the first operand is a bare constant, its sibling (the next slot down) must be something else."""
        slots, here = self.slots, top.unsqueeze(1)
        below = (top - 1).clamp(min=0).unsqueeze(1)
        bare = (self.kinds.is_constant[token] | self.kinds.is_number[token]).unsqueeze(1)
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
    leaf = decoder.kinds.arity == 0
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
