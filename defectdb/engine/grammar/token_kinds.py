"""What kind of token each token of a grammar is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.expressions.dimensions import POWERS, PRODUCTS, SUMS
from defectdb.expressions.operators import OPERATORS, Family


class UnitRule(IntEnum):
    """What an operator does with its operands' units."""

    LEAF = 0  # a variable, constant or number: no operands
    POWER = 1  # raises the unit to a power
    SUM = 2  # needs equal units and keeps them
    PRODUCT = 3  # multiplies or divides units
    PURE = 4  # needs pure numbers and gives one


@dataclass(frozen=True, slots=True)
class TokenKinds:
    """What is known of every token, all [token].

    ``arity``: operands; 0 for leaves and padding.
    ``is_variable``, ``is_constant`` (fitted), ``is_number`` (literal): kinds of leaves.
    ``is_trigonometric``, ``is_exponential``: families of operators that must not be nested too deeply.
    ``unit_rule``: the ``UnitRule``, as a number.
    ``power``: exponent of the operand's unit; 1 where the rule is not ``POWER``.
    ``sign``: exponent of the second operand's unit in a product; -1 for division.
    """

    arity: Tensor
    is_variable: Tensor
    is_constant: Tensor
    is_number: Tensor
    is_trigonometric: Tensor
    is_exponential: Tensor
    unit_rule: Tensor
    power: Tensor
    sign: Tensor


@lru_cache(maxsize=32)
def token_kinds(grammar: Grammar, device: torch.device) -> TokenKinds:
    """The kinds of a grammar's tokens; kept, since sending them to a device costs more than using them."""
    names = grammar.tokens

    def tensor(values: list[int] | list[bool]) -> Tensor:
        return torch.tensor(values, device=device)

    def floats(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)

    def of_family(family: Family) -> Tensor:
        return tensor([name in OPERATORS and family in OPERATORS[name].families for name in names])

    return TokenKinds(
        arity=tensor(list(grammar.arity)),
        is_variable=tensor([name in grammar.variables for name in names]),
        is_constant=tensor([name == "c" for name in names]),
        is_number=tensor([token in grammar.leaf_values for token in range(len(names))]),
        is_trigonometric=of_family(Family.TRIGONOMETRIC),
        is_exponential=of_family(Family.EXPONENTIAL),
        unit_rule=tensor([int(_unit_rule(name)) for name in names]),
        power=floats([POWERS.get(name, 1.0) for name in names]),
        sign=floats([-1.0 if name == "div" else 1.0 for name in names]),
    )


def _unit_rule(name: str) -> UnitRule:
    if name not in OPERATORS:
        return UnitRule.LEAF
    if name in POWERS:
        return UnitRule.POWER
    if name in SUMS:
        return UnitRule.SUM
    return UnitRule.PRODUCT if name in PRODUCTS else UnitRule.PURE
