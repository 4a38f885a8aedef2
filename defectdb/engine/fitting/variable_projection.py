"""Refine the constants of a batch of formulas by variable projection and Levenberg-Marquardt steps.

The linear part is solved exactly by modified Gram-Schmidt for every trial of the nonlinear constants (Golub &
Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)), with Kaufman's projected Jacobian (BIT 15, 49 (1975)); the damped
normal equations of all fits are solved together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.engine.fitting.batched_linear import coefficients, dot, orthonormal, solve_positive
from defectdb.engine.fitting.scales import Scales
from defectdb.engine.problem import Problem
from defectdb.engine.programs.programs import Programs

_EXTREME_ROUNDS = 3  # of choosing the points that decide extremes
MAX_COEFFICIENT = (
    1e12  # of a summand, or its inverse, in units of the data: beyond, something inside cancels itself
)
MAX_CANCELLATION = 30.0  # summands this many times larger than the data cancel one another: no readable law


def _columns(programs: Programs, table: Tensor, problem: Problem, deciding: Tensor | None) -> list[Tensor]:
    """The linear part's columns, each [formula, start, row], weighted; zero where a formula has fewer terms.

    ``deciding`` [formula, start, row] are the points that stand for the rows of an extreme.
    """
    root = problem.root
    columns = []
    for k in range(programs.terms.shape[1]):
        values = table.index_select(0, programs.terms[:, k])
        if problem.mixing is not None:
            values = values @ problem.mixing.T
        elif deciding is not None:
            values = values.gather(2, deciding)
        if root is not None:
            values = values * root
        columns.append(values * programs.term_mask[:, k].view(-1, 1, 1) if k else values)
    if problem.offset:
        ones = problem.y.new_ones(len(problem.y)) if problem.mixing is None else problem.mixing.sum(1)
        column = (ones if root is None else ones * root).expand_as(columns[0])
        columns.append(column if programs.no_offset is None else column * ~programs.no_offset.view(-1, 1, 1))
    return columns


@dataclass(slots=True)
class _Trial:
    """One evaluation of all formulas at all starts.

    ``sse`` [formula, start]: weighted sum of squared errors.
    ``beta`` [formula, column, start]: coefficients of the summands and, last, the offset.
    ``hessian`` [formula, start, k, k]: Gauss-Newton approximation; None where no derivatives were asked for.
    ``gradient`` [formula, start, k]: half the derivative of ``sse``; None where none was asked for.
    ``deciding`` [formula, start, row]: points that have the rows' extremes; None where rows are no extremes.
    """

    sse: Tensor
    beta: Tensor
    hessian: Tensor | None
    gradient: Tensor | None
    deciding: Tensor | None


def _size(programs: Programs, problem: Problem) -> Tensor:
    """Size of the target that summands are compared with, broadcastable to [formula, start]."""
    if programs.no_offset is None:
        return problem.scale()
    whole = (problem.weight * problem.y.square()).sum(-1).sqrt()
    return torch.where(programs.no_offset.unsqueeze(1), whole, problem.scale())


@dataclass(frozen=True, slots=True)
class _Linear:
    """The linear coefficients solved for.

    ``rest`` [formula, start, row]: residuals, times the root of the weights.
    ``beta`` [formula, column, start]: coefficients of the summands and, last, the offset.
    ``basis``: orthonormal columns, each [formula, start, row].
    ``size`` [formula, term, start]: norm of every summand's own column.
    """

    rest: Tensor
    beta: Tensor
    basis: list[Tensor]
    size: Tensor


def _solved(programs: Programs, table: Tensor, problem: Problem, deciding: Tensor | None) -> _Linear:
    """The coefficients of least squares and what they leave."""
    basis, triangle, sizes = orthonormal(_columns(programs, table, problem, deciding))
    root = problem.root
    rest = (problem.y if root is None else problem.y * root).expand_as(basis[0])
    parts = []
    for direction in basis:
        part = dot(direction, rest)
        rest = torch.addcmul(rest, part.unsqueeze(2), direction, value=-1)
        parts.append(part)
    beta = coefficients(triangle, parts)
    return _Linear(rest, beta, basis, torch.stack(sizes[: programs.terms.shape[1]], dim=1))


def _decided(
    programs: Programs, table: Tensor, problem: Problem, deciding: Tensor | None
) -> tuple[_Linear, Tensor]:
    """The linear part of rows that are extremes, and the points that have them.

    Which point decides follows from the coefficients, and these from the points: a few rounds from the given ones, or
    from the rows' first. What is left is that of the true extremes.
    """
    assert problem.groups is not None
    if deciding is None:
        deciding = problem.groups[:, 0].expand(programs.n_formulas, table.shape[1], -1)
    for _ in range(_EXTREME_ROUNDS):
        linear = _solved(programs, table, problem, deciding)
        extreme, deciding = problem.deciding(programs.combined(table, linear.beta, offset=problem.offset))
    rest = problem.y - extreme
    return replace(linear, rest=rest if problem.root is None else rest * problem.root), deciding


def _trial(
    programs: Programs,
    problem: Problem,
    theta: Tensor,
    scales: Scales,
    *,
    derivatives: bool,
    table: Tensor | None = None,
    deciding: Tensor | None = None,
) -> _Trial:
    """``table`` is an earlier trial's to write over; ``deciding`` are its points, where rows are extremes."""
    table = programs.values(problem.x, theta, table)
    if problem.groups is None:
        linear = _solved(programs, table, problem, None)
    else:
        linear, deciding = _decided(programs, table, problem, deciding)
    sse = dot(linear.rest, linear.rest)
    sse = torch.where(
        torch.isfinite(sse) & _readable(programs, problem, theta, linear, scales), sse, torch.inf
    )
    if not derivatives:
        return _Trial(sse, linear.beta, None, None, deciding)
    jacobian = _projected(programs, table, problem, linear, deciding)
    hessian = jacobian @ jacobian.transpose(2, 3)
    gradient = (jacobian @ torch.nan_to_num(linear.rest).unsqueeze(3)).squeeze(3)
    return _Trial(sse, linear.beta, hessian, gradient, deciding)


def _readable(programs: Programs, problem: Problem, theta: Tensor, linear: _Linear, scales: Scales) -> Tensor:
    """Whether constants and coefficients are of a size that a law has, bool [formula, start]."""
    scale, factors = _size(programs, problem), linear.beta[:, : programs.terms.shape[1]].abs()
    fine = (linear.size * factors).amax(1) <= MAX_CANCELLATION * scale
    factors = factors * scales.terms
    fine &= torch.where(factors > 0, factors, torch.inf).amin(1) >= scale / MAX_COEFFICIENT
    fine &= factors.amax(1) <= scale * MAX_COEFFICIENT
    if theta.shape[2]:
        fine &= (theta.abs() <= scales.largest).all(2)
    return fine


def _projected(
    programs: Programs, table: Tensor, problem: Problem, linear: _Linear, deciding: Tensor | None
) -> Tensor:
    """Kaufman's Jacobian [formula, start, k, row]: derivatives of the rows without what the linear part takes up."""
    root = problem.root
    jacobian = programs.derivatives(
        table, linear.beta[:, : programs.terms.shape[1]]
    )  # [formula, k, start, point]
    if problem.mixing is not None:
        jacobian = jacobian @ problem.mixing.T
    elif deciding is not None:
        jacobian = jacobian.gather(3, deciding.unsqueeze(1).expand(-1, jacobian.shape[1], -1, -1))
    if root is not None:
        jacobian = jacobian * (root.unsqueeze(1) if root.dim() == 3 else root)
    for direction in linear.basis:
        across = direction.unsqueeze(1)
        jacobian = torch.addcmul(jacobian, dot(jacobian, across).unsqueeze(3), across, value=-1)
    return torch.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0).transpose(1, 2)


def levenberg_marquardt(
    programs: Programs, problem: Problem, theta: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine the constants [formula, start, k] of every formula and start; (theta, beta, sse) at the best
    point.
    """
    scales = Scales.of(programs, problem)
    if not theta.shape[2]:
        only = _trial(programs, problem, theta, scales, derivatives=False)
        return theta, only.beta, only.sse
    table = programs.table(problem.x, theta.shape[1])
    best = _trial(programs, problem, theta, scales, derivatives=True, table=table)
    damping = torch.full_like(best.sse, 1e-2)
    eye = torch.eye(theta.shape[2], dtype=theta.dtype, device=theta.device)
    units = scales.constants.square()
    assert best.hessian is not None
    assert best.gradient is not None
    for i in range(iterations):
        diagonal = best.hessian.diagonal(dim1=2, dim2=3)
        floor = 1e-9 * (diagonal * units).amax(2, keepdim=True) / units
        floor = torch.where(floor > 0, floor, 1.0)  # of formulas in which no constant matters
        system = best.hessian + (damping.unsqueeze(2) * diagonal + floor).unsqueeze(3) * eye
        step = torch.nan_to_num(solve_positive(system, best.gradient))
        reach = scales.constants + theta.abs()
        trial_theta = theta + torch.maximum(torch.minimum(step, reach), -reach)
        last = i == iterations - 1
        trial = _trial(
            programs, problem, trial_theta, scales, derivatives=not last, table=table, deciding=best.deciding
        )
        better = trial.sse < best.sse
        damping = torch.where(better, damping * 0.3, damping * 5.0).clamp(1e-9, 1e9)
        theta = torch.where(better.unsqueeze(2), trial_theta, theta)
        best.sse = torch.where(better, trial.sse, best.sse)
        best.beta = torch.where(better.unsqueeze(1), trial.beta, best.beta)
        if trial.deciding is not None and best.deciding is not None:
            best.deciding = torch.where(better.unsqueeze(2), trial.deciding, best.deciding)
        if trial.hessian is not None and trial.gradient is not None:
            best.hessian = torch.where(better.view(*better.shape, 1, 1), trial.hessian, best.hessian)
            best.gradient = torch.where(better.unsqueeze(2), trial.gradient, best.gradient)
    return theta, best.beta, best.sse


def errors(programs: Programs, problem: Problem, theta: Tensor) -> Tensor:
    """Weighted squared errors [formula, start] for nonlinear constants as they are, the linear part solved."""
    return _trial(programs, problem, theta, Scales.of(programs, problem), derivatives=False).sse


def residuals(programs: Programs, problem: Problem, theta: Tensor, beta: Tensor) -> Tensor:
    """Data minus formula, [formula, start, row], for constants [formula, start, k] and [formula, column,
    start].
    """
    values = programs.combined(programs.values(problem.x, theta), beta, offset=problem.offset)
    return problem.y - problem.rows_of(values)
