"""Formulas and data to fitted constants: variable projection and Levenberg-Marquardt, all formulas and starts at once.

Every formula is fitted as offset + sum of coefficient * summand. The linear part is solved exactly by modified
Gram-Schmidt for every trial of the nonlinear constants (Golub & Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)), with
Kaufman's projected Jacobian (BIT 15, 49 (1975)); the damped normal equations of all fits are solved together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.errors import SelectionError
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.programs import Programs, build, count_constants

MAX_CONSTANT = 60.0  # a nonlinear constant beyond this is a pole or a step in disguise
MAX_CANCELLATION = 30.0  # summands this many times larger than the data cancel one another: no readable law
_CHUNK = 6_000_000  # numbers per node table: stays within a few cache-friendly tens of megabytes


@dataclass(frozen=True, slots=True)
class Problem:
    """What the formulas must reproduce.

    ``x`` [variable, point]; ``y`` [row]; ``weight`` [row], or [start, row] for one set of weights per start;
    ``mixing`` [row, point] adds point values up into rows (a sum over pairs), None where rows are points;
    ``offset`` adds a free constant; ``max_terms`` free coefficients at the most.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    mixing: Tensor | None = None
    offset: bool = True
    max_terms: int = 3

    @classmethod
    def of(cls, x: Tensor, y: Tensor, weight: Tensor | None = None, **options: object) -> Problem:
        """A checked problem in float64. Raises SelectionError on shapes that do not fit and on NaN or infinity."""
        x, y = torch.atleast_2d(x).double(), y.double()
        weight = torch.ones_like(y) if weight is None else weight.double()
        if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
            raise SelectionError("the data hold NaN or infinite values; leave those rows out (--where)")
        problem = cls(x, y, weight, **options)  # type: ignore[arg-type]
        rows = x.shape[1] if problem.mixing is None else problem.mixing.shape[0]
        if rows != len(y):
            raise SelectionError(f"{rows} rows of variables for {len(y)} values")
        return problem

    def to(self, device: torch.device | str) -> Problem:
        """The same problem on another device."""
        mixing = None if self.mixing is None else self.mixing.to(device)
        return replace(
            self, x=self.x.to(device), y=self.y.to(device), weight=self.weight.to(device), mixing=mixing
        )

    def scale(self) -> Tensor:
        """Size of what there is to explain, [start] or scalar: the data's norm, or its norm about the mean.

        With an offset the mean is explained already, and must not hide summands that cancel one another.
        """
        if not self.offset or self.mixing is not None:
            return (self.weight * self.y.square()).sum(-1).sqrt()
        mean = (self.weight * self.y).sum(-1, keepdim=True) / self.weight.sum(-1, keepdim=True).clamp(
            min=1e-300
        )
        plain = (self.weight * (self.y - mean).square()).sum(-1).sqrt()
        return torch.maximum(plain, (1e-3 * self.weight * self.y.square()).sum(-1).sqrt() * 1e-3)

    @property
    def n_columns(self) -> int:
        """Linear coefficients: the terms, then the offset if there is one."""
        return self.max_terms + int(self.offset)


@dataclass(frozen=True, slots=True)
class Fit:
    """Best constants found, formula by formula.

    ``theta`` [formula, k] (padded with 0), ``beta`` [formula, column] coefficients of the terms and, last, the
    offset; ``sse`` [formula] weighted sum of squared errors, infinite where the formula cannot be evaluated.
    """

    theta: Tensor
    beta: Tensor
    sse: Tensor


def _columns(programs: Programs, table: Tensor, problem: Problem) -> list[Tensor]:
    """The linear part's columns, each [formula, start, row], weighted; zero where a formula has fewer terms."""
    root = problem.weight.sqrt()
    columns = []
    for k in range(problem.max_terms):
        values = table[programs.terms[:, k]]
        if problem.mixing is not None:
            values = values @ problem.mixing.T
        columns.append(values * root * programs.term_mask[:, k].view(-1, 1, 1))
    if problem.offset:
        ones = problem.y.new_ones(problem.x.shape[1])
        ones = ones if problem.mixing is None else problem.mixing @ ones
        columns.append((ones * root).expand_as(columns[0]))
    return columns


def _orthonormal(columns: list[Tensor]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Modified Gram-Schmidt: directions [formula, start, row] (zero for dependent columns) and the triangle R."""
    basis: list[Tensor] = []
    triangle: list[list[Tensor]] = []
    for column in columns:
        size = column.norm(dim=2)
        rest, above = column, []
        for direction in basis:
            part = (direction * rest).sum(2)
            rest = rest - part.unsqueeze(2) * direction
            above.append(part)
        norm = rest.norm(dim=2)
        usable = norm > 1e-9 * size
        inverse = torch.where(usable, 1.0 / norm, torch.zeros_like(norm))
        basis.append(rest * inverse.unsqueeze(2))
        triangle.append([*above, torch.where(usable, norm, torch.full_like(norm, torch.inf))])
    return basis, triangle


def _coefficients(triangle: list[list[Tensor]], parts: list[Tensor]) -> Tensor:
    """Back substitution, [formula, column, start]."""
    n = len(parts)
    beta: list[Tensor] = [parts[0]] * n
    for i in range(n - 1, -1, -1):
        rest = parts[i]
        for j in range(i + 1, n):
            rest = rest - triangle[j][i] * beta[j]
        beta[i] = rest / triangle[i][i]
    return torch.stack(beta, dim=1)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve small symmetric positive definite systems [..., k, k] by unrolled LDL^T over the whole batch."""
    k = matrix.shape[-1]
    lower: list[list[Tensor]] = []
    diagonal: list[Tensor] = []
    forward: list[Tensor] = []
    for i in range(k):
        row: list[Tensor] = []
        for j in range(i):
            value = matrix[..., i, j]
            for m in range(j):
                value = value - row[m] * diagonal[m] * lower[j][m]
            row.append(value / diagonal[j])
        pivot = matrix[..., i, i]
        for m in range(i):
            pivot = pivot - row[m] * row[m] * diagonal[m]
        diagonal.append(pivot.clamp(min=1e-300))
        lower.append(row)
        value = right[..., i]
        for m in range(i):
            value = value - row[m] * forward[m]
        forward.append(value)
    solution = [f / d for f, d in zip(forward, diagonal, strict=True)]
    for i in range(k - 1, -1, -1):
        for j in range(i + 1, k):
            solution[i] = solution[i] - lower[j][i] * solution[j]
    return torch.stack(solution, dim=-1)


@dataclass(slots=True)
class _Trial:
    """One evaluation of all formulas at all starts."""

    sse: Tensor  # [formula, start]
    beta: Tensor  # [formula, column, start]
    hessian: Tensor | None  # [formula, start, k, k]
    gradient: Tensor | None  # [formula, start, k]


def _trial(programs: Programs, problem: Problem, theta: Tensor, *, derivatives: bool) -> _Trial:
    table = programs.values(problem.x, theta)
    columns = _columns(programs, table, problem)
    basis, triangle = _orthonormal(columns)
    target = (problem.y * problem.weight.sqrt()).expand_as(basis[0])
    rest, parts = target, []
    for direction in basis:
        part = (direction * rest).sum(2)
        rest = rest - part.unsqueeze(2) * direction
        parts.append(part)
    beta = _coefficients(triangle, parts)
    sse = rest.square().sum(2)
    terms = columns[: problem.max_terms]
    sizes = torch.stack([column.norm(dim=2) for column in terms], dim=1)
    heavy = (sizes * beta[:, : len(terms)].abs()).amax(1) > MAX_CANCELLATION * problem.scale()
    bad = ~torch.isfinite(sse) | heavy | (theta.abs().amax(2) > MAX_CONSTANT if theta.shape[2] else False)
    sse = torch.where(bad, torch.inf, sse)
    if not derivatives:
        return _Trial(sse, beta, None, None)
    jacobian = programs.derivatives(table, beta[:, : problem.max_terms])  # [formula, k, start, point]
    if problem.mixing is not None:
        jacobian = jacobian @ problem.mixing.T
    jacobian = jacobian * problem.weight.sqrt()
    for direction in basis:
        along = (jacobian * direction.unsqueeze(1)).sum(3, keepdim=True)
        jacobian = jacobian - along * direction.unsqueeze(1)
    jacobian = torch.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0).transpose(1, 2)
    hessian = jacobian @ jacobian.transpose(2, 3)
    gradient = (jacobian * torch.nan_to_num(rest).unsqueeze(2)).sum(3)
    return _Trial(sse, beta, hessian, gradient)


def levenberg_marquardt(
    programs: Programs, problem: Problem, theta: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine the constants [formula, start, k] of every formula and start; (theta, beta, sse) at the best point."""
    if not theta.shape[2]:
        only = _trial(programs, problem, theta, derivatives=False)
        return theta, only.beta, only.sse
    best = _trial(programs, problem, theta, derivatives=True)
    damping = torch.full_like(best.sse, 1e-2)
    eye = torch.eye(theta.shape[2], dtype=theta.dtype, device=theta.device)
    assert best.hessian is not None
    assert best.gradient is not None
    for i in range(iterations):
        diagonal = best.hessian.diagonal(dim1=2, dim2=3)
        floor = 1e-9 * diagonal.amax(2, keepdim=True) + 1e-30
        system = best.hessian + (damping.unsqueeze(2) * diagonal + floor).unsqueeze(3) * eye
        step = torch.nan_to_num(_solve(system, best.gradient))
        reach = 1.0 + theta.abs()
        trial_theta = theta + torch.maximum(torch.minimum(step, reach), -reach)
        trial = _trial(programs, problem, trial_theta, derivatives=i < iterations - 1)
        better = trial.sse < best.sse
        damping = torch.where(better, damping * 0.3, damping * 5.0).clamp(1e-9, 1e9)
        theta = torch.where(better.unsqueeze(2), trial_theta, theta)
        best.sse = torch.where(better, trial.sse, best.sse)
        best.beta = torch.where(better.unsqueeze(1), trial.beta, best.beta)
        if trial.hessian is not None and trial.gradient is not None:
            best.hessian = torch.where(better.view(*better.shape, 1, 1), trial.hessian, best.hessian)
            best.gradient = torch.where(better.unsqueeze(2), trial.gradient, best.gradient)
    return theta, best.beta, best.sse


def random_starts(
    count: int, starts: int, k: int, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Start values [formula, start, k]: sizes log-uniform in [0.05, 6], three in four positive."""
    size = torch.rand(count, starts, k, generator=generator, dtype=torch.float64, device=generator.device)
    sign = torch.rand(count, starts, k, generator=generator, dtype=torch.float64, device=generator.device)
    values = 0.05 * (6.0 / 0.05) ** size
    return torch.where(sign < 0.75, values, -values).to(device)


def _pick(theta: Tensor, beta: Tensor, sse: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``keep`` best starts of every formula."""
    which = sse.topk(min(keep, sse.shape[1]), dim=1, largest=False).indices
    pick_theta = theta.gather(1, which.unsqueeze(2).expand(-1, -1, theta.shape[2]))
    pick_beta = beta.gather(2, which.unsqueeze(1).expand(-1, beta.shape[1], -1))
    return pick_theta, pick_beta, sse.gather(1, which)


def fit(
    tokens: Tensor,
    grammar: Grammar,
    problem: Problem,
    generator: torch.Generator,
    *,
    starts: int = 8,
    iterations: tuple[int, int] = (6, 14),
    theta: Tensor | None = None,
) -> Fit:
    """Fit every formula [formula, position]: a short run from many starts, then a long one from the best two.

    ``theta`` [formula, k] gives the first start (NaN: a random value).
    """  # fmt: skip
    n = len(tokens)
    k_of = count_constants(tokens, grammar)
    width = int(k_of.max()) if n else 0
    out_theta = problem.y.new_zeros(n, width)
    out_beta = problem.y.new_zeros(n, problem.n_columns)
    out_sse = problem.y.new_full((n,), torch.inf)
    lengths = (tokens != 0).sum(1)
    for k in range(width + 1):
        members = (k_of == k).nonzero().squeeze(1)
        if not len(members):
            continue
        members = members[lengths[members].argsort(stable=True)]
        n_starts = starts if k else 1
        per = max(1, _CHUNK // (12 * n_starts * problem.x.shape[1]))
        for part in members.split(per):
            cut = tokens[part, : int(lengths[part].max())]
            programs = build(cut, grammar, max_terms=problem.max_terms)
            begin = random_starts(len(part), n_starts, k, generator, tokens.device)
            if theta is not None and k:
                given = theta[part, :k]
                begin[:, 0] = torch.where(torch.isfinite(given), given, begin[:, 0])
            result = levenberg_marquardt(programs, problem, begin, iterations[0])
            result = _pick(*result, keep=2)
            if k and iterations[1]:
                result = levenberg_marquardt(programs, problem, result[0], iterations[1])
            best_theta, best_beta, best_sse = _pick(*result, keep=1)
            out_theta[part, :k] = best_theta[:, 0]
            out_beta[part] = best_beta[:, :, 0]
            out_sse[part] = best_sse[:, 0]
    return Fit(out_theta, out_beta, out_sse)
