"""The grammar: which operators, variables and numbers formulas may hold, and how long and deep they may be.

The masks come from a state of counters and a stack of open operand slots that lives on the device, so a step
of decoding is a fixed number of tensor operations whatever the batch (Popov et al., PeerJ Comput. Sci. 2023,
cs-1241, train on what happens to be valid; here nothing else can be sampled).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from defectdb.errors import UsageError
from defectdb.expressions.dimensions import scaled_units
from defectdb.expressions.expression import names_variable
from defectdb.expressions.operators import OPERATORS

PAD = 0
"""Index that fills sequences after their end."""

DEFAULT_OPERATORS = (
    "add", "sub", "mul", "div", "neg", "inv", "square", "cube", "sqrt", "exp", "log", "sin", "cos", "tanh",
)  # fmt: skip

INVERSES = (
    ("neg", "neg"),
    ("inv", "inv"),
    ("exp", "log"),
    ("log", "exp"),
    ("sqrt", "square"),
    ("square", "sqrt"),
)
"""Operators and those that undo them: the second may not stand right below the first."""


@dataclass(frozen=True)
class Grammar:
    """The formulas that exist: variables, operators, literal numbers and limits.

    ``variables``: names of the variables.
    ``operators``: names of the operators.
    ``numbers``: literal numbers.
    ``constants``: whether formulas may hold fitted constants.
    ``max_length``: tokens in prefix form, at the most.
    ``max_depth``: edges from root to leaf, at the most.
    ``max_nesting``: trigonometric (and, apart, exponential) functions inside one another, at the most.
    ``max_constants``: fitted constants, at the most.
    ``forbidden``, ``required``: names of tokens that no formula may hold, or every one must.
    ``units``: exponents of the base units of every variable, for dimensional analysis; none for no analysis. Fitted
    constants may carry any unit.
    ``summands``: summands of a whole formula that have a coefficient, and so a unit, of their own.
    ``value_unit``: exponents of a finished formula's unit, in the variables' base units and perhaps further ones that
    only coefficients carry; none where any will do.
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
        return (self.tokens[parent], self.tokens[child]) in INVERSES

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
