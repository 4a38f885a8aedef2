"""Which of many formulas a user wants: required tokens, dimensional analysis, a predicate of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.programs.compiling import children, summand_splits
from defectdb.expressions.dimensions import POWERS, PRODUCTS, SUMS

_TOLERANCE = 1e-9
_LEAF, _POWER, _SUM, _PRODUCT, _PURE = range(5)


def has_units(tokens: Tensor, grammar: Grammar) -> Tensor:
    """Which sequences are dimensionally sound, bool [formula].

    Sums need equal units, transcendental functions need pure numbers; a fitted constant carries whatever
    unit is missing, and so does every product that holds one. The outer coefficients make up for the
    unit of the formula, or of each of the grammar's ``summands`` first summands.
    """
    facts = _facts(grammar, tokens.device)
    child = children(tokens, facts.arity[tokens])
    n, length = tokens.shape
    lines = torch.arange(n, device=tokens.device)
    unit = facts.unit[tokens]  # [formula, position, base unit]
    free = tokens == grammar.constant
    apart = summand_splits(tokens, grammar, grammar.summands)
    kind, power, sign = facts.kind[tokens], facts.power[tokens], facts.sign[tokens]
    ok = torch.ones(n, dtype=torch.bool, device=tokens.device)
    for t in range(length - 1, -1, -1):
        one, other = child[:, t, 0], child[:, t, 1]
        a, b, free_a, free_b = unit[lines, one], unit[lines, other], free[lines, one], free[lines, other]
        leaf, product, total, raised = (kind[:, t] == k for k in (_LEAF, _PRODUCT, _SUM, _POWER))
        second = facts.arity[tokens[:, t]] > 1
        value = torch.where(product.unsqueeze(1), a + sign[:, t, None] * b, 0.0)
        value = torch.where(total.unsqueeze(1), torch.where(free_a.unsqueeze(1), b, a), value)
        value = torch.where(raised.unsqueeze(1), a * power[:, t, None], value)
        unit[:, t] = torch.where(leaf.unsqueeze(1), unit[:, t], value)
        loose = (product & (free_a | free_b)) | (total & free_a & free_b) | (raised & free_a)
        free[:, t] = torch.where(leaf, free[:, t], loose)
        equal = free_a | free_b | _none(a - b)
        pure = (free_a | _none(a)) & (free_b | _none(b) | ~second)
        ok &= leaf | product | raised | torch.where(total, equal, pure) | apart[:, t]
    return ok


def _none(unit: Tensor) -> Tensor:
    """Whether units [formula, base unit] are those of pure numbers, [formula]."""
    return (unit.abs() < _TOLERANCE).all(1)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of every token [token] its operands, its unit [token, base unit], what it does with its operands' units, to which
    power it raises them, and the sign of the second one's.
    """

    arity: Tensor
    unit: Tensor
    kind: Tensor
    power: Tensor
    sign: Tensor


@lru_cache(maxsize=32)
def _facts(grammar: Grammar, device: torch.device) -> _Facts:
    """Made once for a grammar and a device."""
    names, units = grammar.tokens, dict(zip(grammar.variables, grammar.units, strict=True))
    nothing = (0.0,) * len(grammar.units[0])
    kinds = [
        _LEAF if not arity else _POWER if name in POWERS else _SUM if name in SUMS
        else _PRODUCT if name in PRODUCTS else _PURE
        for name, arity in zip(names, grammar.arity, strict=True)
    ]  # fmt: skip
    unit, power, sign = (
        torch.tensor(values, dtype=torch.float64, device=device)
        for values in (
            [units.get(name, nothing) for name in names],
            [POWERS.get(name, 1.0) for name in names],
            [-1.0 if name == "div" else 1.0 for name in names],
        )
    )
    arity, kind = (torch.tensor(values, device=device) for values in (grammar.arity, kinds))
    return _Facts(arity, unit, kind, power, sign)
