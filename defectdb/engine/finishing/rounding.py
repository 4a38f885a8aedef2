"""Simplify fitted formulas and round their constants where the error does not rise.

Every change is checked on the data (and over the domain) against the formula that it replaces, and the other
constants are refitted beside each round number; so a law is found exactly, and noise is not rounded away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from defectdb.engine.finishing.nats import nats_of_constant, nats_of_number
from defectdb.engine.finishing.pareto import LEAST_PROGRESS
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored, criterion, pareto_front
from defectdb.engine.finishing.simplify import renumbered, simplify
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem, loss_of
from defectdb.engine.safety.domain import Domain
from defectdb.expressions.dimensions import constant_units
from defectdb.expressions.expression import (
    Call,
    Constant,
    Expression,
    Number,
    complexity,
    n_constants,
    to_prefix,
    variables,
    walk,
)

_ROUNDING_DISTANCE = 0.04  # of a constant from a round number tried for it, relative (or absolute below 1)
_ROUND_OFF_SHARE = (
    1e-24  # squared errors below this share of the data's squares are rounding errors of the arithmetic
)


def plainest(
    front: Sequence[Scored], problem: Problem, grammar: Grammar, domain: Domain | None
) -> list[Scored]:
    """The front with every formula in its plainest form, and without those that others now surpass."""
    data = Data.of(problem, grammar)
    return pareto_front([_plainer(scored, data, grammar, domain) for scored in front])


def _plainer(scored: Scored, data: Data, grammar: Grammar, domain: Domain | None) -> Scored:
    floor = _ROUND_OFF_SHARE * float(
        np.sum(data.weight * data.y**2)
    )  # squares of round-off, which is below ``huber``
    limit = data.loss(scored.expression, scored.constants) * (1 + LEAST_PROGRESS) + floor
    best = (scored.expression, scored.constants)
    for step in (simplify, lambda e, c: round_numbers(e, c, data, limit, grammar), simplify):
        trial = step(*best)
        if data.loss(*trial) <= limit and safe(*trial, grammar, domain):
            best = trial
    if best[0] == scored.expression and best[1] == scored.constants:
        return scored
    return rescored(scored, *best, data)


def rescored(scored: Scored, expression: Expression, constants: tuple[float, ...], data: Data) -> Scored:
    """The record of another form of the same formula: its errors in training and ``bic`` are taken anew.

    The left-out errors stay those of ``scored``, whose constants were refitted without each fold, also those that are
    literal numbers now; of the new form they would be about as large, mostly lower. ``skeleton`` stays that from which
    the formula came; ``description_length`` is to be taken anew (NaN).
    """
    error = data.residuals(expression, constants)
    loss = data.mean(loss_of(error, data.huber))
    return replace(
        scored, expression=expression, constants=constants, complexity=complexity(expression), loss=loss,
        mse=data.mean(error**2), mae=data.mean(np.abs(error)),
        bic=criterion(loss, data.n_rows, len(constants), data.huber), description_length=math.nan,
    )  # fmt: skip


def round_numbers(
    expression: Expression, constants: tuple[float, ...], data: Data, limit: float, grammar: Grammar
) -> tuple[Expression, tuple[float, ...]]:
    """Integers, halves and quarters for constants, one after another, while the error stays below ``limit``.

    The other constants are refitted every time. A constant that carries one of the grammar's units stays, and so does
    one that takes fewer nats than the round number, at the precision that the data give it: that would be no simpler.
    """
    for index in range(n_constants(expression)):
        value = constants[index]
        known = nats_of_constant(value, data.information(expression, constants)[index])
        for nearest in dict.fromkeys(round(value * d) / d for d in (1, 2, 4)):
            if abs(value - nearest) > _ROUNDING_DISTANCE * max(abs(value), 0.25) or (
                nearest == 0.0 and abs(value) > 1e-3
            ):
                continue
            if nearest and nats_of_number(nearest) >= known:
                continue
            trial = _with_number(expression, index, nearest)
            if not keeps_units(trial, grammar):
                continue
            fixed, others = renumbered(trial, constants)
            others = others if data.loss(fixed, others) <= limit else data.refit(fixed, others)
            if data.loss(fixed, others) <= limit:
                indices = _constant_indices(trial)
                refitted = list(constants)
                for kept, new in zip(indices, others, strict=True):
                    refitted[kept] = new
                expression, constants = trial, tuple(refitted)
                break
    return renumbered(expression, constants)


def _constant_indices(expression: Expression) -> list[int]:
    """Indices of the constants, in prefix order."""
    return [node.index for node in walk(expression) if isinstance(node, Constant)]


def _with_number(node: Expression, index: int, value: float) -> Expression:
    """The tree with one constant replaced by a literal number."""
    if isinstance(node, Constant):
        return Number(value) if node.index == index else node
    if isinstance(node, Call):
        return Call(node.operator, tuple(_with_number(arg, index, value) for arg in node.args))
    return node


def safe(expression: Expression, constants: Sequence[float], grammar: Grammar, domain: Domain | None) -> bool:
    """Whether a variable is left, nothing forbidden has come in, the units fit and it is safe over the domain."""
    if not variables(expression) or set(to_prefix(expression)) & set(grammar.forbidden):
        return False
    if not keeps_units(expression, grammar):
        return False
    return domain is None or domain.permits(expression, constants, grammar.variables)


def keeps_units(expression: Expression, grammar: Grammar) -> bool:
    """Whether some units of the constants make the formula dimensionally sound; always where the grammar has none."""
    if not grammar.units:
        return True
    value = grammar.value_unit
    further = (0.0,) * (len(value) - len(grammar.units[0]))
    units = {name: (*unit, *further) for name, unit in zip(grammar.variables, grammar.units, strict=True)}
    return constant_units(expression, units, value or None) is not None
