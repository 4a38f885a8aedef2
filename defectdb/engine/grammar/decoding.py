"""Write formulas token by token under the grammar's masks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import _INVERSES, PAD, Grammar
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
    """The state of a batch of growing prefix sequences, and which token each may take next.

    Every tensor is on ``device``. ``stack`` [batch, slot] holds, for every operand slot still open, its
    depth, its trigonometric and exponential nesting and what may not stand there.
    """

    def __init__(self, grammar: Grammar, batch: int, device: torch.device | str = "cpu") -> None:
        self.grammar, g = grammar, grammar
        facts = _facts(grammar, torch.device(device))
        self.arity, self.banned, self.no_constant_below = facts.arity, facts.banned, facts.no_constant_below
        self.is_trig, self.is_exp, self.is_variable = facts.is_trig, facts.is_exp, facts.is_variable
        self.is_constant, self.is_number = facts.is_constant, facts.is_number
        slots = g.max_length + 2
        self.slots = torch.arange(slots, device=device)
        self.rows = torch.arange(batch, device=device)
        self.open = torch.ones(batch, dtype=torch.long, device=device)
        self.length = torch.zeros(batch, dtype=torch.long, device=device)
        self.n_constants = torch.zeros(batch, dtype=torch.long, device=device)
        self.has_variable = torch.zeros(batch, dtype=torch.bool, device=device)
        zeros = torch.zeros(batch, slots, dtype=torch.long, device=device)
        self.depth, self.trig, self.exp, self.parent = zeros, zeros.clone(), zeros.clone(), zeros.clone()
        self.lone = torch.zeros(
            batch, slots, dtype=torch.bool, device=device
        )  # a bare constant or number may not stand here
        self.units = UnitState(g, batch, slots, device) if g.units else None

    def allowed(self) -> Tensor:
        """Which token may come next, bool [batch, token]; finished sequences allow padding alone."""
        g, top = self.grammar, (self.open - 1).clamp(min=0).unsqueeze(1)

        def at(field: Tensor) -> Tensor:
            return field.gather(1, top)

        room = g.max_length - self.length - self.open  # tokens to spare once every open slot holds a leaf
        arity = self.arity.unsqueeze(0)
        ok = arity <= room.unsqueeze(1)
        ok = ok & ((arity == 0) | (at(self.depth) < g.max_depth))
        ok = (
            ok
            & ~(self.is_trig & (at(self.trig) >= g.max_nesting))
            & ~(self.is_exp & (at(self.exp) >= g.max_nesting))
        )
        leaf_constant = self.is_constant | self.is_number
        ok = ok & ~(leaf_constant & at(self.lone))
        ok = ok & ~(self.is_constant & (self.n_constants >= g.max_constants).unsqueeze(1))
        last = ((self.open == 1) & ~self.has_variable).unsqueeze(1)
        ok = ok & ~(leaf_constant & last)
        ok = ok & ~self.banned[at(self.parent).squeeze(1)]
        if self.units is not None:
            ok = ok & self.units.allowed(self)
        done = (self.open == 0).unsqueeze(1)
        ok = torch.where(done, torch.zeros_like(ok), ok)
        ok[:, PAD] = done.squeeze(1)
        return ok

    def push(self, token: Tensor) -> None:
        """Append one token [batch] to every sequence."""
        if self.units is not None:
            self.units.push(self, token)
        going = token != PAD
        top = (self.open - 1).clamp(min=0)

        def get(field: Tensor) -> Tensor:
            return field.gather(1, top.unsqueeze(1))

        depth, trig, exp = get(self.depth), get(self.trig), get(self.exp)
        arity = self.arity[token]
        bare = self.is_constant[token] | self.is_number[token]
        # A bare constant as first operand: its sibling (the next slot down) must hold something else.
        below = (top - 1).clamp(min=0).unsqueeze(1)
        sibling = (get(self.parent) > 0) & (self.depth.gather(1, below) == depth) & (top > 0).unsqueeze(1)
        self.lone.scatter_(1, below, self.lone.gather(1, below) | (bare.unsqueeze(1) & sibling))
        first, last = top.unsqueeze(1), (top + arity - 1).unsqueeze(1)
        fill = (self.slots >= first) & (self.slots <= last) & going.unsqueeze(1)
        self.depth = torch.where(fill, depth + 1, self.depth)
        self.trig = torch.where(fill, trig + self.is_trig[token].long().unsqueeze(1), self.trig)
        self.exp = torch.where(fill, exp + self.is_exp[token].long().unsqueeze(1), self.exp)
        self.parent = torch.where(fill, token.unsqueeze(1), self.parent)
        self.lone = torch.where(fill, self.no_constant_below[token].unsqueeze(1), self.lone)
        self.open = torch.where(going, self.open - 1 + arity, self.open)
        self.length = self.length + going.long()
        self.n_constants = self.n_constants + self.is_constant[token].long()
        self.has_variable = self.has_variable | self.is_variable[token]


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
    leaf = decoder.arity == 0
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
    return torch.stack(masks, dim=1), valid & (decoder.open == 0)
