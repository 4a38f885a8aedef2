"""Formulas and data to refined constants: variable projection and Levenberg-Marquardt, all fits at once.

The linear part is solved exactly by modified Gram-Schmidt for every trial of the nonlinear constants (Golub &
Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)), with Kaufman's projected Jacobian (BIT 15, 49 (1975)); the damped
normal equations of all fits are solved together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from defectdb.learn.segvae.linear import coefficients, dot, orthonormal, solve_positive
from defectdb.learn.segvae.problem import Problem
from defectdb.learn.segvae.programs import Programs

MAX_CONSTANT = 60.0  # a nonlinear constant beyond this is a pole or a step in disguise (variables up to 15)
MAX_COEFFICIENT = 1e12  # of a summand, or its inverse, in units of the data: beyond, something inside cancels itself
MAX_CANCELLATION = 30.0  # summands this many times larger than the data cancel one another: no readable law


def _columns(programs: Programs, table: Tensor, problem: Problem) -> list[Tensor]:
    """The linear part's columns, each [formula, start, row], weighted; zero where a formula has fewer terms."""
    root = problem.root
    columns = []
    for k in range(programs.terms.shape[1]):
        values = table.index_select(0, programs.terms[:, k])
        if problem.mixing is not None:
            values = values @ problem.mixing.T
        if root is not None:
            values = values * root
        columns.append(values * programs.term_mask[:, k].view(-1, 1, 1) if k else values)
    if problem.offset:
        ones = problem.y.new_ones(problem.x.shape[1])
        ones = ones if problem.mixing is None else problem.mixing @ ones
        column = (ones if root is None else ones * root).expand_as(columns[0])
        columns.append(column if programs.plain is None else column * ~programs.plain.view(-1, 1, 1))
    return columns


@dataclass(slots=True)
class _Trial:
    """One evaluation of all formulas at all starts."""

    sse: Tensor  # [formula, start]
    beta: Tensor  # [formula, column, start]
    hessian: Tensor | None  # [formula, start, k, k]
    gradient: Tensor | None  # [formula, start, k]


def _size(programs: Programs, problem: Problem) -> Tensor:
    """What the summands may be compared with, broadcastable to [formula, start]."""
    if programs.plain is None:
        return problem.scale()
    whole = (problem.weight * problem.y.square()).sum(-1).sqrt()
    return torch.where(programs.plain.unsqueeze(1), whole, problem.scale())


def _trial(
    programs: Programs, problem: Problem, theta: Tensor, *, derivatives: bool, table: Tensor | None = None
) -> _Trial:
    """``table`` is an earlier trial's to write over."""
    table = programs.values(problem.x, theta, table)
    columns = _columns(programs, table, problem)
    basis, triangle, sizes = orthonormal(columns)
    root = problem.root
    target = (problem.y if root is None else problem.y * root).expand_as(basis[0])
    rest, parts = target, []
    for direction in basis:
        part = dot(direction, rest)
        rest = torch.addcmul(rest, part.unsqueeze(2), direction, value=-1)
        parts.append(part)
    beta = coefficients(triangle, parts)
    sse = dot(rest, rest)
    n_terms = programs.terms.shape[1]
    size = torch.stack(sizes[:n_terms], dim=1)
    scale, factors = _size(programs, problem), beta[:, :n_terms].abs()
    heavy = (size * factors).amax(1) > MAX_CANCELLATION * scale
    tiny = torch.where(factors > 0, factors, torch.inf).amin(1) < scale / MAX_COEFFICIENT
    bad = ~torch.isfinite(sse) | heavy | tiny | (factors.amax(1) > scale * MAX_COEFFICIENT)
    if theta.shape[2]:
        bad |= theta.abs().amax(2) > MAX_CONSTANT * max(1.0, problem.reach / 15.0)
    sse = torch.where(bad, torch.inf, sse)
    if not derivatives:
        return _Trial(sse, beta, None, None)
    jacobian = programs.derivatives(table, beta[:, :n_terms])  # [formula, k, start, point]
    if problem.mixing is not None:
        jacobian = jacobian @ problem.mixing.T
    if root is not None:
        jacobian = jacobian * (root.unsqueeze(1) if root.dim() == 3 else root)
    for direction in basis:
        across = direction.unsqueeze(1)
        jacobian = torch.addcmul(jacobian, dot(jacobian, across).unsqueeze(3), across, value=-1)
    jacobian = torch.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0).transpose(1, 2)
    hessian = jacobian @ jacobian.transpose(2, 3)
    gradient = (jacobian @ torch.nan_to_num(rest).unsqueeze(3)).squeeze(3)
    return _Trial(sse, beta, hessian, gradient)


def levenberg_marquardt(
    programs: Programs, problem: Problem, theta: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine the constants [formula, start, k] of every formula and start; (theta, beta, sse) at the best
    point.
    """
    if not theta.shape[2]:
        only = _trial(programs, problem, theta, derivatives=False)
        return theta, only.beta, only.sse
    table = programs.table(problem.x, theta.shape[1])
    best = _trial(programs, problem, theta, derivatives=True, table=table)
    damping = torch.full_like(best.sse, 1e-2)
    eye = torch.eye(theta.shape[2], dtype=theta.dtype, device=theta.device)
    assert best.hessian is not None
    assert best.gradient is not None
    for i in range(iterations):
        diagonal = best.hessian.diagonal(dim1=2, dim2=3)
        floor = 1e-9 * diagonal.amax(2, keepdim=True) + 1e-30
        system = best.hessian + (damping.unsqueeze(2) * diagonal + floor).unsqueeze(3) * eye
        step = torch.nan_to_num(solve_positive(system, best.gradient))
        reach = 1.0 + theta.abs()
        trial_theta = theta + torch.maximum(torch.minimum(step, reach), -reach)
        trial = _trial(programs, problem, trial_theta, derivatives=i < iterations - 1, table=table)
        better = trial.sse < best.sse
        damping = torch.where(better, damping * 0.3, damping * 5.0).clamp(1e-9, 1e9)
        theta = torch.where(better.unsqueeze(2), trial_theta, theta)
        best.sse = torch.where(better, trial.sse, best.sse)
        best.beta = torch.where(better.unsqueeze(1), trial.beta, best.beta)
        if trial.hessian is not None and trial.gradient is not None:
            best.hessian = torch.where(better.view(*better.shape, 1, 1), trial.hessian, best.hessian)
            best.gradient = torch.where(better.unsqueeze(2), trial.gradient, best.gradient)
    return theta, best.beta, best.sse


def errors(programs: Programs, problem: Problem, theta: Tensor) -> Tensor:
    """Weighted squared errors [formula, start] for nonlinear constants as they are, the linear part solved."""
    return _trial(programs, problem, theta, derivatives=False).sse


def residuals(programs: Programs, problem: Problem, theta: Tensor, beta: Tensor) -> Tensor:
    """Data minus formula, [formula, start, row], for constants [formula, start, k] and [formula, column,
    start].
    """
    table = programs.values(problem.x, theta)
    values = table.new_zeros(len(theta), theta.shape[1], problem.x.shape[1])
    for term in range(programs.terms.shape[1]):
        share = beta[:, term].unsqueeze(2) * table[programs.terms[:, term]]
        values = torch.where(programs.term_mask[:, term].view(-1, 1, 1), values + share, values)
    if problem.offset:
        values = values + beta[:, -1].unsqueeze(2)
    return problem.y - (values if problem.mixing is None else values @ problem.mixing.T)
