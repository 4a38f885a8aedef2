"""Typical sizes of a formula's constants, whatever units the variables are in.

A constant that multiplies a variable inside an exponential is a rate, of the size of 1 / variable; one that is added
to a variable is of the variable's size. So what is guessed and allowed follows from where a constant stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from defectdb.engine.problem import Problem
from defectdb.engine.programs.programs import Programs
from defectdb.expressions.dimensions import POWERS, PRODUCTS, SUMS

MAX_CONSTANT = 60.0  # a nonlinear constant beyond this is a pole or a step in disguise (variables up to 15)
_USUAL_SIZES = (0.1, 30.0)  # sizes of variables for which constants of size one are looked for
_TYPICAL_SIZE = 5.0
_SAME_POINT_SHARE = 1e-7  # points nearer than this share of the range are one
_ANY_SIZE_OPERATORS = ("log", "pow")  # operators whose first operand may be of any size
_MAX_LOG_SIZE = 200.0  # of a constant's size, its logarithm: 1e87


def sizes_of(problem: Problem) -> Tensor:
    """Factors [variable] by which variables are larger or smaller than usual; 1 for a usual size.

    Of sums the first points count alone, as in ``Problem.reach``.
    """
    size = problem.x.abs()
    if problem.mixing is not None:
        used = problem.mixing > 0
        nearest = [torch.where(used, one, torch.inf).amin(1) for one in size]
        size = torch.stack([torch.where(torch.isfinite(one), one, 0.0) for one in nearest])
    largest = size.amax(1)
    usual = ((largest >= _USUAL_SIZES[0]) & (largest <= _USUAL_SIZES[1])) | (largest == 0)
    return torch.where(usual, 1.0, largest / _TYPICAL_SIZE)


def spans_of(problem: Problem) -> Tensor:
    """The variables' ranges [variable]; one where a variable does not vary."""
    span = problem.x.amax(1) - problem.x.amin(1)
    return torch.where(span > 0, span, 1.0)


def fastest(problem: Problem) -> Tensor:
    """The highest frequency [variable] that the points of every variable resolve: half a period between neighbours."""
    gap = problem.x.sort(1).values.diff(dim=1)
    step = torch.where(gap > 0, gap, torch.nan).nanmedian(1).values if gap.shape[1] else gap.sum(1)
    step = torch.where(step > 0, step, 1.0)
    return math.pi / torch.maximum(step, _SAME_POINT_SHARE * spans_of(problem))


@dataclass(frozen=True, slots=True)
class Scales:
    """Typical sizes of constants and summands in a problem's units; 1 where variables are of a usual size.

    ``constants`` [formula, 1, k]: sizes of the constants where operands are of the size that their operators expect.
    ``terms`` [formula, term, 1]: sizes of the summands.
    ``largest``: the largest size that a constant may have; a scalar or [formula, 1, k].
    """

    constants: Tensor
    terms: Tensor
    largest: Tensor

    @classmethod
    def of(cls, programs: Programs, problem: Problem) -> Scales:
        """The scales of a batch of formulas."""
        limit = torch.maximum(fastest(problem), MAX_CONSTANT / spans_of(problem)).amax()
        limit = limit.clamp(min=MAX_CONSTANT * max(1.0, problem.reach / 15.0))
        size = sizes_of(problem)
        if bool((size == 1).all()):
            one = size.new_ones(1, 1, 1)
            return cls(one, one, limit)
        constants, terms = (
            part.clamp(-_MAX_LOG_SIZE, _MAX_LOG_SIZE).exp() for part in _expected(programs, size.log())
        )
        constants = constants.unsqueeze(1)
        return cls(constants, terms.unsqueeze(2), torch.maximum(limit, MAX_CONSTANT * constants))


def _expected(programs: Programs, variables: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the constants' [formula, k] and summands' sizes [formula, term] from those of the variables.

    Upwards every row's size, and whether a constant leaves it open; downwards the size that is wanted of it: a pure
    number's under exponentials and waves, the other operand's in sums, in products what gives them theirs. Nothing is
    wanted of a summand, whose coefficient is free.
    """
    size = variables.new_zeros(programs.n_rows)
    size[: len(variables)] = variables
    loose = torch.zeros_like(size, dtype=torch.bool)
    first, count = programs.first_constant, programs.n_formulas * programs.n_constants
    loose[first : first + count] = True
    for group in (*programs.fixed, *programs.groups):
        sides = [(size[rows], loose[rows]) for rows in group.operands]
        size[group.start : group.stop], loose[group.start : group.stop] = _upwards(group.operator, *sides)
    wanted = torch.full_like(size, torch.nan)
    for group in reversed(programs.groups):
        sides = [(size[rows], loose[rows]) for rows in group.operands]
        below = _downwards(group.operator, wanted[group.start : group.stop], *sides)
        for rows, share in zip(group.operands, below, strict=True):
            wanted[rows] = share
    constants = wanted[first : first + count].nan_to_num(0.0)
    return constants.view(programs.n_formulas, programs.n_constants), size[programs.terms]


_Side = tuple[Tensor, Tensor]
"""The logarithms of operands' sizes [node] and whether a constant leaves them open."""


def _upwards(name: str, a: _Side, b: _Side | None = None) -> _Side:
    """Size and openness of an operator's values from its operands'."""
    if name in POWERS:
        return POWERS[name] * a[0], a[1]
    if b is not None and name in PRODUCTS:
        return (a[0] + b[0] if name == "mul" else a[0] - b[0]), a[1] | b[1]
    if b is not None and name in SUMS:
        either = torch.where(b[1], a[0], torch.maximum(a[0], b[0]))
        return torch.where(a[1], b[0], either), a[1] & b[1]
    number = torch.zeros_like(a[0])
    return number, (number != a[0]) if name == "pow" else torch.zeros_like(a[1])


def _downwards(name: str, wanted: Tensor, a: _Side, b: _Side | None = None) -> tuple[Tensor, ...]:
    """Sizes that the operands of an operator should have for its own wanted one (logarithms; NaN: any size)."""
    if name in POWERS:
        return (wanted / POWERS[name],)
    if b is None:
        return (torch.full_like(wanted, torch.nan if name in _ANY_SIZE_OPERATORS else 0.0),)
    if name in PRODUCTS:
        return (wanted - b[0], wanted - a[0]) if name == "mul" else (wanted + b[0], a[0] - wanted)
    if name in SUMS:
        nothing = torch.isnan(wanted)
        first, second = (torch.where(nothing & ~loose, size, wanted) for size, loose in (b, a))
        return first, second
    return torch.full_like(wanted, torch.nan if name in _ANY_SIZE_OPERATORS else 0.0), torch.zeros_like(
        wanted
    )
