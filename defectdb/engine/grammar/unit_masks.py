"""Masks of the tokens after which a growing formula can still be dimensionally sound.

A formula is written from the top, so a unit is required of an operand before it is there. An operand of any unit
(the root's, the first one of a sum or product) passes its unit on, times a power, to the operand that waits for it:
the second one of the nearest sum around it, or of the product whose unit is given. A free constant among an operand's
factors sets the waiting one free. All of it is tensors of one row for every formula and one column for every open
slot, and takes a fixed number of operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.grammar.open_slots import OpenSlots
from defectdb.engine.grammar.token_kinds import TokenKinds, UnitRule, token_kinds
from defectdb.engine.grammar.unit_costs import ONE, UnitTable, unit_table, within

_ANY, _GIVEN, _WAITING = range(3)
_MODE, _LEAF_AT, _SINK, _POWER_AT, _SUMMAND, _UNIT = range(6)  # fields of a slot, base units last
_MAX_SUMMANDS = 3  # up to so many the order of decoding is the order in which sums are split into summands


class _Top(NamedTuple):
    """The top slot of every formula: the operand that is written next.

    ``slot`` [batch]: its number.
    ``given`` [batch]: whether its unit is given.
    ``unit`` [batch, base unit]: that unit; where it is not given, the one it will have if it becomes its leaf.
    ``leaf`` [batch]: token of the variable that it is taken to become.
    ``leaf_unit`` [batch, base unit]: that variable's unit.
    ``sink`` [batch]: the waiting slot that it passes its unit to; the number of slots for none.
    ``power`` [batch]: power of its unit that it passes on.
    ``summand`` [batch]: whether it is a summand with a coefficient of its own.
    ``left`` [batch]: levels that the tree may still grow below it.
    ``passed`` [batch, slot]: power of its unit that reaches each waiting slot; 0 once the sink is free.
    ``below`` [batch, slot]: power of the sink's unit that reaches the slots below the sink; 0 once the sink is free.
    """

    slot: Tensor
    given: Tensor
    unit: Tensor
    leaf: Tensor
    leaf_unit: Tensor
    sink: Tensor
    power: Tensor
    summand: Tensor
    left: Tensor
    passed: Tensor
    below: Tensor


class _Parent(NamedTuple):
    """The token written last in every formula, where it takes operands, and what these inherit.

    ``kind`` [batch]: its ``UnitRule``, as a number.
    ``given`` [batch]: whether its own unit is given.
    ``unit`` [batch, base unit]: that unit.
    ``leaf`` [batch]: token of the variable to expect as its first operand.
    ``leaf_unit`` [batch, base unit]: that variable's unit.
    ``sink`` [batch]: the waiting slot that it passes its unit to; the number of slots for none.
    ``power`` [batch]: power of its unit that it passes on.
    ``splits`` [batch]: whether it is a sum whose operands are summands with coefficients of their own.
    """

    kind: Tensor
    given: Tensor
    unit: Tensor
    leaf: Tensor
    leaf_unit: Tensor
    sink: Tensor
    power: Tensor
    splits: Tensor


class UnitState:
    """Units of the open slots of a ``Decoder``.

    ``state`` [batch, slot, field]: what is known of every slot, in these fields:
        mode: an operand of _ANY unit, of a _GIVEN one, or _WAITING for its sibling to be complete;
        leaf: token of the variable that it is taken to become;
        sink: the waiting slot that an operand of any unit passes its own to; the number of slots for none;
        power: power of its unit that it passes on;
        summand: whether it is a summand with a coefficient of its own;
        unit [base unit]: given, or what it will be if every operand of any unit becomes its leaf.
    ``chain`` [batch, slot, slot]: power of a waiting slot's unit that reaches itself and the slots below.
    ``free`` [batch, slot]: whether a waiting slot's sibling holds a free factor.
    ``splits`` [batch]: sums that may still be split into summands.
    ``step``: tokens written so far.
    ``seen``: the top slot of the present state; None where it is to be read anew.
    """

    def __init__(self, grammar: Grammar, batch: int, slots: int, device: torch.device | str) -> None:
        self.grammar, facts = grammar, _facts(grammar, torch.device(device))
        self.table, self.kinds = facts.table, facts.kinds
        self.group, self.times, self.plus = facts.group, facts.times, facts.plus
        self.step = 0
        self.seen: _Top | None = None  # the top of the state as it is
        self.rows = torch.arange(batch, device=device)
        self.none = slots
        self.splits = torch.full((batch,), min(grammar.summands, _MAX_SUMMANDS) - 1, device=device)
        self.state = self.times.new_zeros(batch, slots, _UNIT + self.table.variable.shape[1])
        for field, value in (
            (_MODE, _ANY),
            (_LEAF_AT, self.table.default),
            (_SINK, self.none),
            (_SUMMAND, 1),
        ):
            self.state[:, :, field] = value
        self.chain = torch.zeros(batch, slots + 1, slots, device=device, dtype=torch.float64)
        self.free = torch.zeros(batch, slots + 1, device=device, dtype=torch.bool)

    def _top(self, slots: OpenSlots) -> _Top:
        """The top slot of every formula."""
        if self.seen is None:
            slot = slots.top
            here, depth = self._at(self.state, slot), self._at(slots.depth, slot)
            leaf, sink, power = here[:, _LEAF_AT].long(), here[:, _SINK].long(), here[:, _POWER_AT]
            chain = self._at(self.chain, sink) * ~self._at(self.free, sink).unsqueeze(1)
            below = chain.scatter(1, sink.clamp(max=self.none - 1).unsqueeze(1), 0.0)
            left = (self.grammar.max_depth - depth).clamp(min=0)
            self.seen = _Top(
                slot, here[:, _MODE] == _GIVEN, here[:, _UNIT:], leaf, self.table.variable[leaf], sink, power,
                here[:, _SUMMAND] > 0, left, chain * power.unsqueeze(1), below,
            )  # fmt: skip
        return self.seen

    def _at(self, field: Tensor, slot: Tensor) -> Tensor:
        """One slot of every row: [batch] or [batch, ...]."""
        if field.dim() == 2:
            return field.gather(1, slot.unsqueeze(1)).squeeze(1)
        return field.flatten(0, 1).index_select(0, self.rows * field.shape[1] + slot)

    def _put(self, field: Tensor, slot: Tensor, where: Tensor, value: Tensor) -> None:
        """Write one slot of the rows chosen."""
        old = self._at(field, slot)
        if field.dim() == 2:
            field.scatter_(1, slot.unsqueeze(1), torch.where(where, value, old).unsqueeze(1))
        else:
            value = torch.where(where.unsqueeze(1), value, old)
            field.view(-1, field.shape[2]).index_copy_(0, self.rows * field.shape[1] + slot, value)

    def _width(self) -> int:
        """Slots that can be open: one more after every token, and each takes a token yet."""
        return max(1, min(self.step + 1, self.grammar.max_length - self.step))

    def _loosened(self, top: _Top) -> Tensor:
        """The shift of the waiting slot's unit when a constant sets it free for a leaf, [batch, base unit]."""
        here = self._at(self.state, top.sink.clamp(max=self.none - 1))
        return self.table.variable[here[:, _LEAF_AT].long()] - here[:, _UNIT:]

    def allowed(self, slots: OpenSlots) -> Tensor:
        """Tokens after which the formula can still be completed soundly, bool [batch, token]."""
        g, t, top = self.grammar, self.table, self._top(slots)
        unit = torch.where(top.given, t.box.index(top.unit), t.box.outside + 1)
        own = t.own.flatten(0, 1).index_select(0, top.left * t.own.shape[1] + unit)
        cost = self._below(slots, top).index_select(1, self.group) + own
        tokens = (g.max_length - slots.length - 1).unsqueeze(1)
        constants = (g.max_constants - slots.n_constants).unsqueeze(1) - self.kinds.is_constant.long()
        return within(cost, tokens, constants)

    def _below(self, slots: OpenSlots, top: _Top) -> Tensor:
        """Cost of all open slots below the top after a token of every group, [batch, group]."""
        width = self._width()
        number = slots.numbers[:width]
        shift = self.times.unsqueeze(1) * top.leaf_unit.unsqueeze(1) + self.plus  # [batch, group, base unit]
        shift[:, -1] = self._loosened(top)
        weight = top.passed[:, :width].unsqueeze(1).repeat(1, len(self.times), 1)
        weight[:, -1] = top.below[:, :width]
        unit = self.state[:, None, :width, _UNIT:] + weight.unsqueeze(3) * shift.unsqueeze(2)
        cost = self._slot_costs(slots, unit, top.slot.clamp(max=width - 1).unsqueeze(1))
        mode = self.state[:, :width, _MODE]
        any_unit = (mode == _ANY) | ((mode == _WAITING) & self.free[:, :width])
        cost = cost.masked_fill_(any_unit.unsqueeze(1), ONE)
        cost[:, -1].masked_fill_(number == top.sink.unsqueeze(1), ONE)
        return cost.masked_fill_((number >= top.slot.unsqueeze(1)).unsqueeze(1), 0).sum(2)

    def _slot_costs(self, slots: OpenSlots, unit: Tensor, top: Tensor) -> Tensor:
        """Cost of every slot with a required unit [batch, group, slot, base unit], packed [batch, group, slot].

        The first of two open siblings is taken to become something else than a bare constant or number; the second
        must, once the first has become one: the last two groups.
        """
        width, table = unit.shape[2], self.table.slot
        depth, parent = slots.depth[:, :width], slots.parent[:, :width]
        first = torch.zeros_like(depth, dtype=torch.bool)
        first[:, 1:] = depth[:, 1:] == depth[:, :-1]
        alone, last = (self.kinds.arity[parent] == 1), len(table) - 1
        context = torch.where(alone, parent, torch.where(first | slots.not_constant[:, :width], last, 0))
        sibling = (slots.numbers[:width] == top - 1) & first.gather(1, top) & ~alone
        left = (self.grammar.max_depth - depth).clamp(min=0)
        row = (context * table.shape[1] + left).unsqueeze(1).repeat(1, unit.shape[1], 1)
        row[:, -2:] = torch.where(sibling, last * table.shape[1] + left, row[:, 0]).unsqueeze(1)
        return table.view(-1).take(row * table.shape[2] + self.table.box.index(unit))

    def push(self, slots: OpenSlots, token: Tensor) -> None:
        """Follow one token [batch]; called before the stack of slots changes."""
        top, arity = self._top(slots), self.kinds.arity[token]
        self._pass_on(top, token, self.kinds.is_constant[token])
        parent = self._parent(top, token)
        self._place_last(parent, token, top, arity > 0)
        self._place_first(parent, token, top.slot, arity > 1)
        closed = (arity == 0) & (slots.count > 1)
        under = (top.slot - closed.long()).clamp(min=0)
        self._resolve(under, closed)
        self.step, self.seen = self.step + 1, None

    def _resolve(self, slot: Tensor, where: Tensor) -> None:
        """Give the slots that waited their unit, or let them have any if they were set free."""
        here, free = self._at(self.state, slot), self._at(self.free, slot)
        mode, leaf, sink, power, summand = here[:, :_UNIT].unbind(1)
        sink, power = torch.where(free, sink, self.none), power * free  # what is given was passed on before
        fresh = _row(torch.where(free, _ANY, _GIVEN), leaf, sink, power, summand, here[:, _UNIT:])
        self._put(self.state, slot, where & (mode == _WAITING), fresh)

    def _pass_on(self, top: _Top, token: Tensor, constant: Tensor) -> None:
        """Tell the waiting slots of the token's unit."""
        group = self.group[token]
        shift = self.times[group].unsqueeze(1) * top.leaf_unit + self.plus[group]
        shift = torch.where(constant.unsqueeze(1), self._loosened(top), shift)
        weight = torch.where(constant.unsqueeze(1), top.below, top.passed)
        self.state[:, :, _UNIT:] += weight.unsqueeze(2) * shift.unsqueeze(1)
        frees = constant & (top.sink < self.none)
        self._put(self.free, top.sink, frees, frees)

    def _parent(self, top: _Top, token: Tensor) -> _Parent:
        """Units and summands that the operands of a token inherit."""
        t, kind = self.table, self.kinds.unit_rule[token]
        side = (self.kinds.sign[token] < 0).long()
        row = (side * t.factor.shape[1] + top.left) * t.factor.shape[2] + t.box.index(top.unit)
        leaf = torch.where(top.given & (kind == UnitRule.PRODUCT), t.factor.view(-1).take(row), top.leaf)
        passes = ~top.given & (kind != UnitRule.PURE) & ~self._at(self.free, top.sink)
        sink = torch.where(passes, top.sink, self.none)
        power = torch.where(passes, top.power, 0.0)
        splits = top.summand & (kind == UnitRule.SUM) & (self.splits > 0)
        self.splits = self.splits - splits.long()
        return _Parent(kind, top.given, top.unit, leaf, t.variable[leaf], sink, power, splits)

    def _place_last(self, parent: _Parent, token: Tensor, top: _Top, where: Tensor) -> None:
        """The only or second operand, in the slot of its parent."""
        kind, given, slot = parent.kind, parent.given, top.slot
        product, total = kind == UnitRule.PRODUCT, kind == UnitRule.SUM
        waiting = torch.where(given, product, total & ~parent.splits)
        known = torch.where(given, ~product, kind == UnitRule.PURE)
        sign, power = self.kinds.sign[token], self.kinds.power[token]
        rest = sign.unsqueeze(1) * (parent.unit - parent.leaf_unit)
        unit = torch.where(product.unsqueeze(1), rest, parent.unit / power.unsqueeze(1))
        unit = torch.where((total & ~given).unsqueeze(1), parent.leaf_unit, unit)
        mode = torch.where(waiting, _WAITING, torch.where(known, _GIVEN, _ANY))
        power = parent.power * power * torch.where(product, sign, 1.0)
        unit = unit.masked_fill((kind == UnitRule.PURE).unsqueeze(1), 0.0)
        self._put(self.state, slot, where, _row(mode, parent.leaf, parent.sink, power, parent.splits, unit))
        self._put(self.free, slot, where, torch.zeros_like(where))
        chain = top.passed * (~given).unsqueeze(1)
        self._put(self.chain, slot, where & waiting, chain.scatter(1, slot.unsqueeze(1), 1.0))

    def _place_first(self, parent: _Parent, token: Tensor, top: Tensor, where: Tensor) -> None:
        """The first of two operands, in the slot above."""
        kind, given, slot = parent.kind, parent.given, (top + 1).clamp(max=self.none - 1)
        product, total = kind == UnitRule.PRODUCT, kind == UnitRule.SUM
        known = (kind == UnitRule.PURE) | (given & total)
        waited = torch.where(given, product, total & ~parent.splits)  # its sibling waits for it
        own = torch.where(product, -self.kinds.sign[token], 1.0)
        unit = parent.unit.masked_fill((kind == UnitRule.PURE).unsqueeze(1), 0.0)
        sink, power = torch.where(waited, top, parent.sink), torch.where(waited, own, parent.power)
        row = _row(known * _GIVEN, parent.leaf, sink, power, parent.splits, unit)
        self._put(self.state, slot, where, row)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the masks need to know of a grammar.

    ``table``: the least costs of operands of a required unit.
    ``kinds``: what kind of token every token is.
    ``group`` [token]: the tokens of equal shift, by number; see ``_shifts``.
    ``times`` [group], ``plus`` [group, base unit]: the shift of every group.
    """

    table: UnitTable
    kinds: TokenKinds
    group: Tensor
    times: Tensor
    plus: Tensor


@lru_cache(maxsize=32)
def _facts(grammar: Grammar, device: torch.device) -> _Facts:
    """Made once for a grammar and a device."""
    table, kinds = unit_table(grammar), token_kinds(grammar, device)
    kind, power, sign = (part.tolist() for part in (kinds.unit_rule, kinds.power, kinds.sign))
    group, times, plus = _shifts(grammar, table, kind, power, sign)
    steps, units = (torch.tensor(values, device=device, dtype=torch.float64) for values in (times, plus))
    return _Facts(table.to(device), kinds, torch.tensor(group, device=device), steps, units)


def _shifts(
    grammar: Grammar, table: UnitTable, kind: list[int], power: list[float], sign: list[float]
) -> tuple[list[int], list[float], list[tuple[float, ...]]]:
    """By how much each token's unit differs from that of the leaf it stands for: ``times`` its unit, ``plus``.

    Tokens of equal shift form one group; numbers, which bar their sibling from being one, and the constant have
    groups of their own, the last ones. The groups of the tokens, then both of the groups.
    """
    names, n = grammar.tokens, len(grammar.tokens)
    times, plus = [0.0] * n, table.variable.tolist()
    for t in range(1, n):
        if kind[t] == UnitRule.POWER:
            times[t] = power[t] - 1
        elif kind[t] != UnitRule.SUM:
            times[t] = sign[t] if kind[t] == UnitRule.PRODUCT else -1.0
    bare = [2 if name == "c" else int(t in grammar.leaf_values) for t, name in enumerate(names)]
    keys = [(bare[t], times[t], tuple(plus[t])) for t in range(n)]
    groups = sorted({*keys, (1, -1.0, tuple(plus[0])), (2, -1.0, tuple(plus[0]))})
    return [groups.index(key) for key in keys], [g[1] for g in groups], [g[2] for g in groups]


def _row(mode: Tensor, leaf: Tensor, sink: Tensor, power: Tensor, summand: Tensor, unit: Tensor) -> Tensor:
    """The fields of a slot, [batch, field]."""
    fields = (mode.double(), leaf.double(), sink.double(), power, summand.double())
    return torch.cat([torch.stack(fields, dim=1), unit], dim=1)
