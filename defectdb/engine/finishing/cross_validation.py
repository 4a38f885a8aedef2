"""Cross-validate formulas: constants fitted anew without each fold."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import robust
from defectdb.engine.fitting.variable_projection import levenberg_marquardt, residuals
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build, count_constants

SAME_POINT = 1e-6
"""Values of a variable nearer than this share of its largest one are one value, and points of one value in every
variable are one point: left out together."""

_REWEIGHTINGS = 6
"""Reweightings of a robust fit without a fold, from the constants of all rows."""


def cross_validate(
    tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor, iterations: int = 25
) -> Tensor:
    """Out-of-fold residuals [formula, row]: constants refitted without each fold [row] in turn.

    The refits start from the constants of all rows, and minimise what the fit did: the problem's Huber loss, if it has
    one.
    """
    n_folds = int(folds.max()) + 1
    held = folds.unsqueeze(0) == torch.arange(n_folds, device=folds.device).unsqueeze(1)  # [fold, row]
    blind = replace(problem, weight=torch.where(held, 0.0, problem.weight))
    out = problem.y.new_full((len(tokens), len(problem.y)), torch.nan)
    no_offset = fit.beta[:, -1] == 0 if problem.offset else None
    k_of = count_constants(tokens, grammar)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * n_folds * problem.x.shape[1]))):
            flags = None if no_offset is None else no_offset[part]
            programs = build(tokens[part], grammar, max_terms=problem.max_terms, no_offset=flags)
            start = fit.theta[part, None, :k].expand(-1, n_folds, -1).contiguous()
            if problem.huber:
                coefficients = fit.beta[part].unsqueeze(2).expand(-1, -1, n_folds)
                theta, beta, _ = robust(programs, blind, start, coefficients, _REWEIGHTINGS)
            else:
                theta, beta, _ = levenberg_marquardt(programs, blind, start, iterations)
            left = residuals(programs, problem, theta, beta)  # [formula, fold, row]
            out[part] = left.gather(1, folds.view(1, 1, -1).expand(len(part), 1, -1)).squeeze(1)
    return out


def distinct_points(x: Tensor) -> Tensor:
    """Numbers [point] of the distinct points among ``x`` [variable, point], from 0 in the order of their appearance.

    Along every variable a gap larger than ``SAME_POINT`` times its largest size begins a new value.
    """
    order = x.argsort(dim=1, stable=True)
    size = x.abs().nan_to_num(posinf=0.0).amax(1, keepdim=True)
    gaps = x.gather(1, order).diff(dim=1) > SAME_POINT * size
    steps = torch.cat([gaps.new_zeros(len(x), 1), gaps], dim=1).long().cumsum(1)
    value = torch.zeros_like(steps).scatter_(1, order, steps)  # number of the value [variable, point]
    point: Tensor = torch.unique(value, dim=1, return_inverse=True)[1]
    index = torch.arange(len(point), device=x.device)
    first = torch.full_like(index, len(point)).scatter_reduce_(0, point, index, "amin")
    return first[: int(point.max()) + 1].argsort().argsort()[point]


def make_folds(problem: Problem, groups: Tensor | None = None, max_folds: int = 64) -> Tensor:
    """Folds [row]: ``groups``, else one for every distinct point (or row of an extreme) up to 64 (leave one out), else
    five, which take the distinct points (or the rows) in turn.

    Rows of no weight make no folds; they are in the first.
    """
    if groups is not None:
        return groups
    seen = problem.weight > 0
    part = torch.zeros(len(problem.y), dtype=torch.long, device=problem.y.device)
    part[seen] = (
        distinct_points(problem.x[:, seen])
        if problem.pointwise
        else torch.arange(problem.n_rows, device=problem.y.device)
    )
    alone = problem.mixing is None and int(part.max()) < max_folds
    return part if alone else part % 5


def points_left(problem: Problem, folds: Tensor) -> int:
    """Distinct points (or joint rows) of some weight that a formula may see when the largest fold is held out."""
    seen = problem.weight > 0
    fold = folds[seen]
    if problem.pointwise:
        point = distinct_points(problem.x[:, seen])
        pairs = torch.unique(torch.stack([fold, point]), dim=1)  # each point once in every fold that holds it
        return int(point.max()) + 1 - int(torch.bincount(pairs[0]).max())
    return problem.n_rows - int(torch.bincount(fold).max())
