"""Fitted candidates to a Pareto front: training and cross-validated errors, criteria, the formula to use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.engine.fitting.multistart import levenberg_marquardt, residuals, robust
from defectdb.engine.safety.domain import Domain, in_domain, predict
from defectdb.engine.programs.finished import complexities, distinct_terms, finish
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.problem import Fit, Problem, loss_of, nats_of
from defectdb.expressions.expression import Constant, Expression, complexity

__all__ = [
    "Domain", "Scored", "complexities", "criterion", "cross_validate", "distinct_points", "distinct_terms", "finish",
    "in_domain", "make_folds", "predict", "score_front", "select",
]  # fmt: skip


SAME_POINT = 1e-6
"""Values of a variable nearer than this share of its largest one are one value, and points of one value in every
variable are one point: left out together."""

_REFITS = 6
"""Reweightings of a robust fit without a fold, from the constants of all rows."""

_LEVELLINGS = 50
"""Reweightings after which a robust mean stays where it is."""

_HOLDS = 2.0
"""How many times the least left-out error a formula's may be for it to be chosen."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One formula of a front: expression, constants, and its errors on the rows it was fitted to.

    ``mse`` and ``mae`` in training; ``mae_cv`` mean absolute error by leave-one-out or k-fold;
    ``mae_cv_interior`` the same without the rows at the ends of the first variable's range; ``bic`` Bayesian
    information criterion; ``description_length`` nats of data and formula together (see ``uncertainty``); ``loss`` what
    was minimised in training and orders a front, a mean over the rows: Huber's loss of a robust fit, else (if not
    given) ``mse``. Rows count by their weights. NaN where a number is not known.
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
    loss: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.loss):
            object.__setattr__(self, "loss", self.mse)


def criterion(loss: float, n_rows: int, n_constants: int, huber: float = 0.0) -> float:
    """The Bayesian information criterion (Schwarz, Ann. Stat. 1978) of a formula with this mean ``loss``, up to what is
    the same for all formulas: twice the nats of the data (``nats_of``; n log(loss) of least squares) + k log(n).
    """
    return 2 * nats_of(loss, n_rows, huber) + n_constants * math.log(n_rows)


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
    plain = fit.beta[:, -1] == 0 if problem.offset else None
    k_of = count_constants(tokens, grammar)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * n_folds * problem.x.shape[1]))):
            flags = None if plain is None else plain[part]
            programs = build(tokens[part], grammar, max_terms=problem.max_terms, plain=flags)
            start = fit.theta[part, None, :k].expand(-1, n_folds, -1).contiguous()
            if problem.huber:
                coefficients = fit.beta[part].unsqueeze(2).expand(-1, -1, n_folds)
                theta, beta, _ = robust(programs, blind, start, coefficients, _REFITS)
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
    place = torch.arange(len(point), device=x.device)
    first = torch.full_like(place, len(point)).scatter_reduce_(0, point, place, "amin")
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


def score_front(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor) -> list[Scored]:
    """Every formula with its training and cross-validated errors, in the order of complexity."""
    values = predict(tokens, grammar, fit, problem.x, problem)
    error = (problem.y - problem.rows_of(values)).cpu()
    blind = cross_validate(tokens, grammar, fit, problem, folds).cpu()
    # formula by formula from here on: one copy instead of thousands of waits for a device
    tokens, fit, problem, folds = tokens.cpu(), fit.to("cpu"), problem.to("cpu"), folds.cpu()
    interior = _interior(problem)
    left = _points_left(problem, folds)
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
    for _ in range(_LEVELLINGS if problem.huber else 1):
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


def _points_left(problem: Problem, folds: Tensor) -> int:
    """Distinct points (or joint rows) of some weight that a formula may see when the largest fold is held out."""
    seen = problem.weight > 0
    fold = folds[seen]
    if problem.pointwise:
        point = distinct_points(problem.x[:, seen])
        pairs = torch.unique(torch.stack([fold, point]), dim=1)  # each point once in every fold that holds it
        return int(point.max()) + 1 - int(torch.bincount(pairs[0]).max())
    return problem.n_rows - int(torch.bincount(fold).max())


def select(front: list[Scored]) -> int:
    """Index of the formula to use: the least Bayesian information criterion among those that hold where left out.

    Those whose error at inner rows, each left out in turn, is at most ``_HOLDS`` times the least; with few rows the
    least itself is mostly luck, and without an end of the data no formula is to be trusted there. Where an error in
    training is round-off (a millionth of the simplest formula's), the simplest such formula is used, and where no
    left-out error is finite, the simplest of all: the error in training would choose the longest.
    """
    errors = [s.mae_cv_interior for s in front]
    finite = [error for error in errors if math.isfinite(error)]
    if not finite:
        return min(range(len(front)), key=lambda i: front[i].complexity)
    round_off = 1e-6 * front[0].mae
    holding = [i for i, error in enumerate(errors) if error <= _HOLDS * min(finite) + round_off]
    exact = [i for i in holding if front[i].mae <= round_off]
    return exact[0] if exact else min(holding, key=lambda i: front[i].bic)
