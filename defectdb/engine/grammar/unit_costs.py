"""Tables of the fewest tokens and constants that a formula of a required unit needs.

Units are vectors of integers: exponents of the base units in steps fine enough for every variable, halved where the
grammar has a square root. The tables hold a box of them; a unit outside it, or between its points, has the index
``outside``, and only a formula with a free constant factor can meet it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.expressions.dimensions import POWERS, PRODUCTS, SUMS, scaled_units

BOUND = 6
"""Exponents of the base units that the tables hold, at the most."""

_TABLE_UNITS = 30_000  # units of a table; where base units are many its bound is lower
_IMPOSSIBLE_TOKENS = (
    500  # tokens of what cannot be: more than any formula has, and many of them fit into 16 bits
)
_FIELD_BITS = 16
_LOW_BITS = (1 << 2 * _FIELD_BITS) - 1
ONE = 1 + (1 << 2 * _FIELD_BITS)
"""The cost of a variable. A cost is four fields of 16 bits: tokens and constants where constants serve only what
needs them (the bits of _LOW_BITS), then the same two where they serve all that they make shorter."""

_CONSTANT = ONE << _FIELD_BITS


@dataclass(frozen=True, slots=True)
class Box:
    """The units whose exponents are within bounds, numbered by an index.

    ``half``: largest exponent, in steps; the least is minus that.
    ``stride`` [base unit]: by how much the index grows with the exponent of a base unit.
    """

    half: int
    stride: tuple[int, ...]

    @classmethod
    def around(cls, units: Tensor, half: int) -> Box:
        """The largest box within bounds that holds the units [variable, base unit]."""
        n = units.shape[1]
        least = max(1, int(units.abs().max()))
        while half > least and (2 * half + 1) ** n > _TABLE_UNITS:
            half -= 1
        half = max(half, least)
        return cls(half, tuple((2 * half + 1) ** i for i in range(n)))

    @property
    def outside(self) -> int:
        """The index of units that are not in the box, and the number of those that are."""
        return int((2 * self.half + 1) ** len(self.stride))

    def index(self, unit: Tensor) -> Tensor:
        """Index of units [..., base unit], int64 [...]."""
        whole = unit.round()
        code = torch.full_like(whole[..., 0], float(self.half * sum(self.stride)))
        inside = torch.ones_like(code, dtype=torch.bool)
        for base, stride in enumerate(self.stride):
            part = whole[..., base]
            inside &= ((unit[..., base] - part).abs() < 1e-6) & (part.abs() <= self.half)
            code += stride * part
        return torch.where(inside, code, float(self.outside)).long()

    def all(self) -> Tensor:
        """Every unit, and last one that is outside, [unit, base unit]."""
        width = 2 * self.half + 1
        cells = torch.arange(self.outside).unsqueeze(1)
        inside = (cells // torch.tensor(self.stride)) % width - self.half
        return torch.cat([inside, torch.full_like(inside[:1], 2 * self.half + 1)]).double()


@dataclass(frozen=True, slots=True)
class UnitTable:
    """Least costs of open operands, packed (see ``ONE``); ``depth`` counts the levels still free below the operand.

    ``box``: the units that the tables hold.
    ``variable`` [token, base unit]: units of the variables, 0 for other tokens.
    ``default``: token of the variable that operands of any unit are taken to become.
    ``slot`` [context, depth, unit]: cost of an operand of a required unit. The context is its parent where that has one
    operand, 0 where it has two, and the number of tokens where no bare constant or number may stand there.
    ``own`` [depth, unit, token]: cost of all operands of a token put where the unit is required; _IMPOSSIBLE_TOKENS
    where it does not fit. The unit after ``outside`` stands for any.
    ``factor`` [side, depth, unit]: token of the variable that serves best as first operand of a product (side 0) or
    quotient (1) of that unit.
    """

    box: Box
    variable: Tensor
    default: int
    slot: Tensor
    own: Tensor
    factor: Tensor

    def to(self, device: torch.device | str) -> UnitTable:
        """The tables on a device."""
        rest = (t.to(device) for t in (self.slot, self.own, self.factor))
        return UnitTable(self.box, self.variable.to(device), self.default, *rest)


@cache
def unit_table(grammar: Grammar) -> UnitTable:
    """The tables of a grammar with units."""
    return _Builder(grammar).table()


class _Builder:
    """Works the tables out from the leaves upwards: depth by depth, what is cheapest without a constant."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar, self.n = grammar, len(grammar.tokens)
        rows, step = scaled_units(grammar.units)
        fine = 2 if "sqrt" in grammar.index else 1
        units = fine * torch.tensor(rows, dtype=torch.float64).reshape(len(rows), -1)
        self.box = Box.around(units, BOUND * step * fine)
        self.units = self.box.all()
        self.zero = int(self.box.index(torch.zeros_like(self.units[0])))
        self.leaves = [grammar.index[v] for v in grammar.variables if v in grammar.index]
        self.variable = torch.zeros(self.n, units.shape[1], dtype=torch.float64)
        for name, unit in zip(grammar.variables, units, strict=True):
            if name in grammar.index:
                self.variable[grammar.index[name]] = unit
        self.powers = {grammar.index[name]: p for name, p in POWERS.items() if name in grammar.index}
        self.products = [name for name in PRODUCTS if name in grammar.index]
        single = [t for t in range(self.n) if grammar.arity[t] == 1]
        self.contexts = [0, *single, self.n]
        self.tokens = torch.full((self.n + 1, grammar.max_depth + 1, len(self.units)), _IMPOSSIBLE_TOKENS)

    def table(self) -> UnitTable:
        """Fill the tables from depth 0 upwards."""
        depths = range(self.grammar.max_depth + 1)
        factor = torch.zeros(2, len(depths), len(self.units), dtype=torch.long)
        for depth in depths:
            for side in (0, 1):
                factor[side, depth] = self._best_factor(side, depth)
            self._fill(depth, factor)
        slot = torch.stack([self._packed(context) for context in range(self.n + 1)])
        own = torch.full((len(depths), len(self.units) + 1, self.n), _IMPOSSIBLE_TOKENS * ONE)
        for depth in depths:
            for token in range(1, self.n):
                own[depth, :-1, token] = self._own(slot, factor, depth, token)
                own[depth, -1, token] = self._own_any(slot, depth, token)
        pure = [t for t in self.leaves if not self.variable[t].any()]
        default = (pure or self.leaves or [0])[0]
        return UnitTable(self.box, self.variable, default, slot, own, factor)

    def _moved(self, token: int, side: int) -> Tensor:
        """Index of the second operand's unit, for every unit of a product with this first operand."""
        rest = self.units - self.variable[token]
        return self._index(rest if side == 0 else -rest)

    def _index(self, units: Tensor) -> Tensor:
        index = self.box.index(units)
        index[-1] = self.box.outside  # nothing leads back from outside
        return index

    def _best_factor(self, side: int, depth: int) -> Tensor:
        """The best first operand of a product [unit] at this depth."""
        if depth == 0 or not self.leaves:
            return torch.zeros(len(self.units), dtype=torch.long)
        costs = torch.stack([self.tokens[0, depth - 1][self._moved(t, side)] for t in self.leaves])
        return torch.tensor(self.leaves)[costs.argmin(0)]

    def _second(self, name: str, depth: int, factor: Tensor) -> Tensor:
        """Index of the second operand's unit [unit] beside the best first one."""
        side = PRODUCTS.index(name)
        rest = self.units - self.variable[factor[side, depth]]
        return self._index(rest if side == 0 else -rest)

    def _fill(self, depth: int, factor: Tensor) -> None:
        """Tokens needed at this depth: a leaf, a power of something, a product with a variable."""
        least = torch.full_like(self.tokens[0, 0], _IMPOSSIBLE_TOKENS)
        for token in self.leaves:
            least[int(self.box.index(self.variable[token]))] = 1
        for name in self.products if depth else ():
            least = torch.minimum(least, 2 + self.tokens[0, depth - 1][self._second(name, depth, factor)])
        for context in self.contexts:
            best = least.clone()
            if context == 0 and self.grammar.leaf_values:
                best[self.zero] = 1
            for token, power in self.powers.items() if depth else ():
                if not self.grammar.undoes(context % self.n, token):
                    below = self.tokens[token, depth - 1][self._index(self.units / power)]
                    best = torch.minimum(best, 1 + below)
            self.tokens[context, depth] = best.clamp(max=_IMPOSSIBLE_TOKENS)

    def _packed(self, context: int) -> Tensor:
        """Cost of an operand [depth, unit]: without a constant, or where that is impossible or longer with one."""
        pure = self.tokens[context]
        loose = torch.full_like(pure, _IMPOSSIBLE_TOKENS)
        if self.grammar.constant > 0:
            loose[:] = 1
            if context:  # no bare constant: its product with a variable
                loose[:] = 3 if self.products else _IMPOSSIBLE_TOKENS
                loose[0] = _IMPOSSIBLE_TOKENS
        with_one, without = loose * ONE + _CONSTANT, pure * ONE
        lazy = torch.where(pure < _IMPOSSIBLE_TOKENS, without, with_one)
        eager = torch.where(pure <= loose, without, with_one)
        return (lazy & _LOW_BITS) | (eager & ~_LOW_BITS)

    def _own(self, slot: Tensor, factor: Tensor, depth: int, token: int) -> Tensor:
        """Cost of the operands of a token where a unit is required, [unit]."""
        name = self.grammar.tokens[token]
        out = torch.full_like(slot[0, 0], _IMPOSSIBLE_TOKENS * ONE)
        if token == self.grammar.constant:
            return torch.zeros_like(out)
        if token in self.leaves or token in self.grammar.leaf_values:
            out[int(self.box.index(self.variable[token]))] = 0
        elif not self.grammar.arity[token] or depth == 0:
            pass
        elif token in self.powers:
            out = slot[token, depth - 1][self._index(self.units / self.powers[token])]
        elif name in SUMS:
            out = slot[self.n, depth - 1] + slot[0, depth - 1]
        elif name in PRODUCTS:
            out = ONE + slot[0, depth - 1][self._second(name, depth, factor)]
        else:
            out[self.zero] = self._pure(slot, depth, token)
        return out

    def _own_any(self, slot: Tensor, depth: int, token: int) -> int:
        """Cost of the operands of a token where any unit will do."""
        arity = self.grammar.arity[token]
        if arity == 0 or depth == 0:
            return 0 if arity == 0 else _IMPOSSIBLE_TOKENS * ONE
        name = self.grammar.tokens[token]
        if token in self.powers or name in (*SUMS, *PRODUCTS):
            return arity * ONE
        return self._pure(slot, depth, token)

    def _pure(self, slot: Tensor, depth: int, token: int) -> int:
        """Cost of the pure operands of a function."""
        if self.grammar.arity[token] == 1:
            return int(slot[token, depth - 1, self.zero])
        return int(slot[self.n, depth - 1, self.zero] + slot[0, depth - 1, self.zero])


def within(cost: Tensor, tokens: Tensor, constants: Tensor) -> Tensor:
    """Whether one of the two packed ways needs no more than these tokens and constants, bool."""
    field = (1 << _FIELD_BITS) - 1
    ways = (cost & _LOW_BITS, cost >> 2 * _FIELD_BITS)
    fine = [((way & field) <= tokens) & ((way >> _FIELD_BITS) <= constants) for way in ways]
    return fine[0] | fine[1]
