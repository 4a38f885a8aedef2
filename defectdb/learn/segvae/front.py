"""Fitted candidates to a Pareto front: training and cross-validated errors, criteria, the formula to use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.learn.segvae.constants import levenberg_marquardt, residuals
from defectdb.learn.segvae.domain import Domain, in_domain, predict
from defectdb.learn.segvae.finish import complexities, distinct_terms, finish
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.layout import build, count_constants
from defectdb.learn.segvae.problem import Fit, Problem
from defectdb.schema.expression import Expression, complexity

__all__ = [
    "Domain", "Scored", "complexities", "cross_validate", "distinct_terms", "finish", "in_domain",
    "make_folds", "predict", "score_front", "select",
]  # fmt: skip


SAME_POINT = 1e-6
"""Points nearer than this share of a variable's largest value are one point: left out together."""

_WHOLE = 0.1
"""Weight of all rows' left-out error beside that of the inner ones, where a formula is chosen."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One formula of a front: expression, constants, and its errors on the rows it was fitted to.

    ``mse`` and ``mae`` in training; ``mae_cv`` mean absolute error by leave-one-out or k-fold;
    ``mae_cv_interior`` the same without the rows at the ends of the first variable's range; ``bic`` Bayesian
    information criterion; ``description_length`` nats of data and formula together (see ``uncertainty``), NaN where it
    was not asked for.
    """

    expression: Expression
    constants: tuple[float, ...]
    complexity: int
    mse: float
    mae: float
    mae_cv: float
    mae_cv_interior: float
    bic: float
    skeleton: tuple[int, ...]
    description_length: float = math.nan


def cross_validate(
    tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor, iterations: int = 25
) -> Tensor:
    """Out-of-fold residuals [formula, row]: constants refitted without each fold [row] in turn.

    The refits start from the constants of all rows.
    """
    n_folds = int(folds.max()) + 1
    held = folds.unsqueeze(0) == torch.arange(n_folds, device=folds.device).unsqueeze(1)  # [fold, row]
    blind = replace(problem, weight=torch.where(held, 0.0, problem.weight))
    out = problem.y.new_full((len(tokens), len(problem.y)), torch.nan)
    plain = fit.beta[:, -1] == 0 if problem.offset else None
    k_of = count_constants(tokens, grammar)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * n_folds * problem.x.shape[1]))):
            flags = None if plain is None else plain[part]
            programs = build(tokens[part], grammar, max_terms=problem.max_terms, plain=flags)
            start = fit.theta[part, None, :k].expand(-1, n_folds, -1).contiguous()
            theta, beta, _ = levenberg_marquardt(programs, blind, start, iterations)
            left = residuals(programs, problem, theta, beta)  # [formula, fold, row]
            out[part] = left.gather(1, folds.view(1, 1, -1).expand(len(part), 1, -1)).squeeze(1)
    return out


def make_folds(problem: Problem, groups: Tensor | None = None, max_folds: int = 64) -> Tensor:
    """Folds [row]: ``groups``, else one for every distinct point (or row of an extreme) up to 64 (leave one out), else
    five in turn.
    """
    if groups is not None:
        return groups
    if problem.groups is not None and len(problem.y) <= max_folds:
        return torch.arange(len(problem.y), device=problem.y.device)
    if problem.pointwise:
        near = (problem.x / (SAME_POINT * problem.x.abs().amax(1, keepdim=True))).round()
        distinct: Tensor = torch.unique(near, dim=1, return_inverse=True)[1]
        if int(distinct.max()) < max_folds:
            return distinct
    return torch.arange(len(problem.y), device=problem.y.device) % 5


def score_front(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor) -> list[Scored]:
    """Every formula with its training and cross-validated errors, in the order of complexity."""
    values = predict(tokens, grammar, fit, problem.x, problem)
    error = problem.y - problem.rows_of(values)
    blind = cross_validate(tokens, grammar, fit, problem, folds)
    first = problem.x[0]
    if problem.mixing is not None:  # a sum's own point is its first
        first = torch.where(problem.mixing > 0, first, torch.inf).amin(1)
    elif problem.groups is not None:
        first = first[problem.groups].amin(1)
    interior = torch.ones_like(problem.y, dtype=torch.bool)
    if len(first.unique()) > 2:
        interior = (first > first.min()) & (first < first.max())
    left = _points_left(problem, folds)
    scored = []
    for i in range(len(tokens)):
        expression, constants = finish(tokens[i], grammar, problem, fit.theta[i], fit.beta[i])
        mse = _mean(error[i].square(), problem.weight)
        n, k = len(problem.y), len(constants)
        out = blind[i].abs().nan_to_num(nan=torch.inf)
        if k >= left:  # passes through every point it may see: a refit from there proves nothing
            out = torch.full_like(out, torch.inf)
        bic = n * math.log(max(mse, 1e-300)) + k * math.log(n)
        mean, inner = _mean(out, problem.weight), _mean(out[interior], problem.weight[interior])
        mae = _mean(error[i].abs(), problem.weight)
        scored.append(
            Scored(
                expression, tuple(constants), complexity(expression), mse, mae, mean, inner, bic,
                tuple(tokens[i].tolist()),
            )
        )  # fmt: skip
    return sorted(scored, key=lambda s: (s.complexity, s.mse))


def _points_left(problem: Problem, folds: Tensor) -> int:
    """Distinct points (or mixed rows) that a formula may see when the largest fold is held out."""
    if not problem.pointwise:
        return len(problem.y) - int(torch.bincount(folds).max())
    point: Tensor = torch.unique(problem.x, dim=1, return_inverse=True)[1]
    return min(len(point[folds != k].unique()) for k in folds.unique().tolist())


def _mean(values: Tensor, weight: Tensor) -> float:
    """Weighted mean; rows of no weight do not count, whatever they hold."""
    some = weight > 0
    return float((values[some] * weight[some]).sum() / weight[some].sum()) if bool(some.any()) else math.nan


def select(front: list[Scored], tolerance: float = 0.05) -> int:
    """Index of the formula to use: the simplest whose error where it was left out is within 5 % of the least, or a
    millionth of the simplest formula's error from it (round-off is no reason for complexity).

    Inner rows decide, since beyond its rows no formula is to be trusted; that of all rows counts for a tenth, so that
    none is used that goes astray as soon as an end point is missing.
    """
    errors = [s.mae_cv_interior + _WHOLE * s.mae_cv for s in front]
    finite = [error for error in errors if math.isfinite(error)]
    if not finite:
        return min(range(len(front)), key=lambda i: front[i].mae)
    bound = min(finite) * (1 + tolerance) + 1e-6 * front[0].mae
    return next(i for i, error in enumerate(errors) if error <= bound)
