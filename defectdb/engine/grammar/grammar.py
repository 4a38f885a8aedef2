"""A vocabulary and limits to masks that let every decoded sequence end as one complete, sensible formula.

The masks come from a state of counters and a stack of open operand slots that lives on the device, so a step
of decoding is a fixed number of tensor operations whatever the batch (Popov et al., PeerJ Comput. Sci. 2023,
cs-1241, train on what happens to be valid; here nothing else can be sampled).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from defectdb.errors import UsageError
from defectdb.engine.grammar.unit_masks import UnitState
from defectdb.engine.grammar.unit_costs import scaled_units
from defectdb.expressions.expression import names_variable
from defectdb.expressions.operators import OPERATORS, Family

PAD = 0
"""Index that fills sequences behind their end."""

DEFAULT_OPERATORS = (
    "add", "sub", "mul", "div", "neg", "inv", "square", "cube", "sqrt", "exp", "log", "sin", "cos", "tanh",
)  # fmt: skip

_BARE_CONSTANT_FORBIDDEN = 1  # context bits of an operand slot
_VARIABLE_NEEDED = 2
_INVERSES = (
    ("neg", "neg"),
    ("inv", "inv"),
    ("exp", "log"),
    ("log", "exp"),
    ("sqrt", "square"),
    ("square", "sqrt"),
)


@dataclass(frozen=True)
class Grammar:
    """Which formulas exist: variables, operators, literal numbers and limits.

    ``max_length`` tokens in prefix form; ``max_depth`` edges from root to leaf; ``max_nesting`` how many
    trigonometric (and, apart, exponential) functions may stand inside one another; ``constants`` whether
    fitted constants occur. ``required`` and ``forbidden`` are token names a user asks for or refuses.
    ``units``: the exponents of the base units of every variable, for dimensional analysis (none: no
    analysis); fitted constants may carry any unit. ``summands``: how many summands of a whole formula have a
    coefficient, and so a unit, of their own. ``value_unit``: the exponents of a finished formula's unit, in the
    variables' base units and perhaps further ones that only coefficients carry; where it is not given any will do.
    """

    variables: tuple[str, ...] = ("r",)
    operators: tuple[str, ...] = DEFAULT_OPERATORS
    numbers: tuple[int, ...] = (1, 2, 3)
    constants: bool = True
    max_length: int = 21
    max_depth: int = 9
    max_nesting: int = 1
    max_constants: int = 6
    forbidden: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    units: tuple[tuple[float, ...], ...] = ()
    summands: int = 1
    value_unit: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.operators) - set(OPERATORS))
        if unknown:
            raise UsageError(f"unknown operators {', '.join(unknown)}; known: {', '.join(OPERATORS)}")
        if not self.variables:
            raise UsageError("a formula needs at least one variable")
        for name in self.variables:
            if not names_variable(name):
                raise UsageError(
                    f"no variable can be called {name!r}: up to 16 small letters, digits and _, a letter first, "
                    "and no operator's name nor c, c0, c1 ..."
                )
        if len(set(self.variables)) < len(self.variables):
            raise UsageError(f"variables need names of their own, not {', '.join(self.variables)}")
        leaves = {*self.variables, "c", *map(str, self.numbers)}
        strange = sorted(set(self.forbidden) - set(OPERATORS) - leaves)
        if strange:
            raise UsageError(f"forbidden but not known: {', '.join(strange)}")
        missing = sorted(set(self.required) - set(self.tokens))
        if missing:
            raise UsageError(f"required but not in the grammar: {', '.join(missing)}")
        if self.units and (len(self.units) != len(self.variables) or len({len(u) for u in self.units}) > 1):
            raise UsageError("units need one row of exponents for every variable, all equally long")
        scaled_units(self.units)
        if self.max_length < 1 or self.max_depth < 1:
            raise UsageError("max_length and max_depth must be at least 1")

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Token names by index; index 0 is padding."""
        leaves = [*self.variables, *(["c"] if self.constants else []), *(str(n) for n in self.numbers)]
        operators = [name for name in self.operators if name not in self.forbidden]
        return ("", *operators, *(leaf for leaf in leaves if leaf not in self.forbidden))

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of every token name."""
        return {name: i for i, name in enumerate(self.tokens)}

    @cached_property
    def arity(self) -> tuple[int, ...]:
        """Operands of every token; 0 for leaves and padding."""
        return tuple(OPERATORS[name].arity if name in OPERATORS else 0 for name in self.tokens)

    @cached_property
    def constant(self) -> int:
        """Index of the fitted-constant token, -1 without."""
        return self.index.get("c", -1)

    @cached_property
    def leaf_values(self) -> dict[int, float]:
        """Literal numbers by token index."""
        return {self.index[str(n)]: float(n) for n in self.numbers if str(n) in self.index}

    def undoes(self, parent: int, child: int) -> bool:
        """Whether the child, a token index, is the inverse of its parent and so may not stand there."""
        return (self.tokens[parent], self.tokens[child]) in _INVERSES

    def fingerprint(self) -> str:
        """SHA-256 of everything that shapes the sequences: names a pretrained model's file."""
        fields = asdict(self)
        del fields["value_unit"]  # a matter of the finished formula's coefficients
        if not self.units:
            del fields["summands"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def encode(self, names: Sequence[str], length: int | None = None) -> list[int]:
        """Token indices of prefix names (``c0``, ``c1`` ... count as ``c``), padded to ``length``."""
        row = [self.index["c" if n[0] == "c" and n[1:].isdigit() else n] for n in names]
        return row + [PAD] * ((length or self.max_length) - len(row))

    def encode_all(self, rows: Iterable[Sequence[str]]) -> Tensor:
        """Prefix names to token indices [formula, position]: those rows that this grammar can write."""
        found = []
        for names in rows:
            bare = ["c" if n[0] == "c" and n[1:].isdigit() else n for n in names]
            fits = len(bare) <= self.max_length and bare.count("c") <= self.max_constants
            if fits and all(name in self.index for name in bare):
                found.append(self.encode(bare))
        return torch.tensor(found, dtype=torch.long).reshape(-1, self.max_length)

    def decode(self, row: Sequence[int]) -> list[str]:
        """Prefix names of token indices, fitted constants numbered in order."""
        names, n = [], 0
        for token in row:
            if token == PAD:
                break
            name = self.tokens[token]
            if token == self.constant:
                name, n = f"c{n}", n + 1
            names.append(name)
        return names


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
