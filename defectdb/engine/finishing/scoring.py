"""Training and cross-validated errors and information criteria of fitted formulas."""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.engine.finishing.cross_validation import cross_validate, distinct_points, points_left
from defectdb.engine.finishing.scored import Scored, criterion
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem, loss_of
from defectdb.engine.programs.finished import finish
from defectdb.engine.safety.fitted_values import predict
from defectdb.expressions.expression import Constant, complexity

_REWEIGHTINGS = 50
"""Reweightings after which a robust mean stays where it is."""


def score_front(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor) -> list[Scored]:
    """Every formula with its training and cross-validated errors, in the order of complexity."""
    values = predict(tokens, grammar, fit, problem.x, problem)
    error = (problem.y - problem.rows_of(values)).cpu()
    blind = cross_validate(tokens, grammar, fit, problem, folds).cpu()
    # formula by formula from here on: one copy instead of thousands of waits for a device
    tokens, fit, problem, folds = tokens.cpu(), fit.to("cpu"), problem.to("cpu"), folds.cpu()
    interior = _interior(problem)
    left = points_left(problem, folds)
    scored = []
    for i in range(len(tokens)):
        expression, constants = finish(tokens[i], grammar, problem, fit.theta[i], fit.beta[i])
        loss = problem.mean(loss_of(error[i], problem.huber))
        out = blind[i].abs().nan_to_num(nan=torch.inf)
        if len(constants) >= left:  # passes through every point it may see: a refit from there proves nothing
            out = torch.full_like(out, torch.inf)
        scored.append(
            Scored(
                expression, tuple(constants), complexity(expression),
                mse=problem.mean(error[i].square()), mae=problem.mean(error[i].abs()),
                mae_cv=problem.mean(out), mae_cv_interior=problem.mean(out, interior),
                bic=criterion(loss, problem.n_rows, len(constants), problem.huber),
                skeleton=tuple(tokens[i].tolist()), loss=loss,
            )
        )  # fmt: skip
    return sorted(scored, key=lambda s: (s.complexity, s.loss))


def flat(problem: Problem, folds: Tensor) -> Scored:
    """The mean as a formula, scored as the others are: what every one of them has to beat."""
    problem, folds = problem.to("cpu"), folds.cpu()
    slope = problem.rows_of(problem.y.new_ones(problem.x.shape[1]))  # of every row in the constant
    value, blind = _level(problem, slope, problem.weight), torch.zeros_like(problem.y)
    for fold in folds.unique().tolist():
        held = folds == fold
        blind[held] = _level(problem, slope, problem.weight * ~held) * slope[held]
    error, out = problem.y - value * slope, (problem.y - blind).abs()
    loss = problem.mean(loss_of(error, problem.huber))
    return Scored(
        Constant(0), (value,), 1, mse=problem.mean(error.square()), mae=problem.mean(error.abs()),
        mae_cv=problem.mean(out), mae_cv_interior=problem.mean(out, _interior(problem)),
        bic=criterion(loss, problem.n_rows, 1, problem.huber), skeleton=(), loss=loss,
    )  # fmt: skip


def _level(problem: Problem, slope: Tensor, weight: Tensor) -> float:
    """The constant of least loss over rows of these weights; 0 where none has any."""
    value, counted = 0.0, weight
    for _ in range(_REWEIGHTINGS if problem.huber else 1):
        value = float(
            (counted * slope * problem.y).sum() / (counted * slope.square()).sum().clamp(min=1e-300)
        )
        size = (problem.y - value * slope).abs()
        counted = weight * (problem.huber / size.clamp(min=1e-300)).clamp(max=1.0)
    return value


def _interior(problem: Problem) -> Tensor:
    """Rows between the ends of the first variable's range, bool [row]; all rows where it has no more than two values.

    A sum's or an extreme's own value is the first of its points; rows of no weight do not set the ends.
    """
    first = problem.x[0]
    if problem.mixing is not None:
        first = torch.where(problem.mixing > 0, first, torch.inf).amin(1)
    elif problem.groups is not None:
        first = first[problem.groups].amin(1)
    seen = problem.weight > 0
    value = distinct_points(first[seen].unsqueeze(0))
    interior = torch.ones_like(seen)
    if int(value.max()) > 1:
        ends = value[first[seen].argmin()], value[first[seen].argmax()]
        interior[seen] = (value != ends[0]) & (value != ends[1])
    return interior
