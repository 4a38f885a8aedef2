"""Check which formulas are dimensionally sound."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.grammar.token_kinds import UnitRule, token_kinds
from defectdb.engine.programs.compiling import summand_splits
from defectdb.engine.programs.tree_structure import operand_positions

_TOLERANCE = 1e-9


def has_units(tokens: Tensor, grammar: Grammar) -> Tensor:
    """Which sequences are dimensionally sound, bool [formula].

    Sums need equal units, transcendental functions need pure numbers; a fitted constant carries whatever
    unit is missing, and so does every product that holds one. The outer coefficients make up for the
    unit of the formula, or of each of the grammar's ``summands`` first summands.
    """
    kinds = token_kinds(grammar, tokens.device)
    child = operand_positions(tokens, kinds.arity[tokens])
    n, length = tokens.shape
    lines = torch.arange(n, device=tokens.device)
    unit = _token_units(grammar, tokens.device)[tokens]  # [formula, position, base unit]
    free = tokens == grammar.constant
    apart = summand_splits(tokens, grammar, grammar.summands)
    kind, power, sign = kinds.unit_rule[tokens], kinds.power[tokens], kinds.sign[tokens]
    ok = torch.ones(n, dtype=torch.bool, device=tokens.device)
    for t in range(length - 1, -1, -1):
        one, other = child[:, t, 0], child[:, t, 1]
        a, b, free_a, free_b = unit[lines, one], unit[lines, other], free[lines, one], free[lines, other]
        leaf, product, total, raised = (
            kind[:, t] == rule for rule in (UnitRule.LEAF, UnitRule.PRODUCT, UnitRule.SUM, UnitRule.POWER)
        )
        second = kinds.arity[tokens[:, t]] > 1
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


@lru_cache(maxsize=32)
def _token_units(grammar: Grammar, device: torch.device) -> Tensor:
    """Units of the tokens, [token, base unit]; those of pure numbers for all but variables."""
    units = dict(zip(grammar.variables, grammar.units, strict=True))
    pure = (0.0,) * len(grammar.units[0])
    rows = [units.get(name, pure) for name in grammar.tokens]
    return torch.tensor(rows, dtype=torch.float64, device=device)
