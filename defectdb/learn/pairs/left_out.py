"""The one left-out error of a pair kernel: every distance left out in turn, all constants fitted anew without it.

Fronts, comparisons with laws, tables and papers all use it, so that a formula has the same error everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.variable_projection import levenberg_marquardt, residuals
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.safety.fitted_values import in_domain
from defectdb.expressions.arrays import Floats, Integers
from defectdb.expressions.expression import Expression
from defectdb.learn.pairs.distance_classes import MAX_FOLDS, distance_classes
from defectdb.learn.pairs.kernel_task import KernelTask, mixing_of
from defectdb.learn.pairs.law_fits import encoded
from defectdb.learn.pairs.skeleton import Skeleton, skeleton_of
from defectdb.learn.pairs.tasks import domain_of, problem_of

_STARTS = ((1.0, 1.0), (0.8, 0.9), (1.25, 1.1), (0.6, 1.4), (1.5, 0.7))
"""Factors of the odd and even constants at which the refits start: the formula's own, and four others."""

_STEPS = 40
_AT_ONCE = 2_000_000
"""Numbers of one table of a batch's values."""


@dataclass(frozen=True)
class Errors:
    """Absolute errors in the target's unit: in training, left out, and apart for inner and outermost distances.

    Infinite where a law has as many constants as points that it may see: a refit from there proves nothing.
    """

    train: float
    cv: float
    interior: float
    ends: float


def split_errors(train: Floats, left_out: Floats, classes: Integers) -> Errors:
    """Means of absolute errors [row] in training and left out, the latter also for inner and outermost classes."""
    outermost = (classes == 0) | (classes == classes.max())
    inner = left_out[~outermost]
    with np.errstate(over="ignore"):  # what grows may reach infinity when it is left out
        interior = float(inner.mean()) if len(inner) else math.nan
        return Errors(
            float(train.mean()), float(left_out.mean()), interior, float(left_out[outermost].mean())
        )


def left_out(task: KernelTask, formulas: Sequence[tuple[Expression, tuple[float, ...]]]) -> list[Floats]:
    """Absolute errors [row] of every formula at distances that its constants were fitted without, eV.

    The refits start from the formula's own constants and from four others around them; of what they find the best fit
    that is safe over the task's domain counts. Infinite for a formula of as many constants as distances are left.
    """
    skeletons = [skeleton_of(expression, constants) for expression, constants in formulas]
    some = [i for i, skeleton in enumerate(skeletons) if skeleton.names]
    found = [constant_left_out(task)] * len(formulas)
    if some:
        blind = _refitted(task, [skeletons[i] for i in some])
        for i, errors in zip(some, blind, strict=True):
            found[i] = errors
    return found


def constant_left_out(task: KernelTask) -> Floats:
    """Absolute errors [row] of the best constant, left out class by class."""
    classes, scale = distance_classes(task), level_scale(task)
    held = classes[None, :] == np.unique(classes)[:, None]
    if not task.offset and mixing_of(task) is None:
        return np.asarray(np.abs(task.y), dtype=np.float64)
    above, below = np.where(held, 0.0, scale * task.y).sum(1), np.where(held, 0.0, scale**2).sum(1)
    with np.errstate(all="ignore"):
        errors = np.nan_to_num(np.abs(task.y - (above / below)[classes] * scale), nan=np.inf)
    return np.asarray(errors, dtype=np.float64)


def level_scale(task: KernelTask) -> Floats:
    """What a constant of one adds to every row [row]."""
    mixing = mixing_of(task)
    return np.ones_like(task.y) if mixing is None else mixing.sum(1)


def _refitted(task: KernelTask, skeletons: Sequence[Skeleton]) -> list[Floats]:
    """Absolute left-out errors [row] of every skeleton."""
    grammar, tokens = encoded(skeletons)
    problem = replace(problem_of(task), max_terms=max(s.n_terms for s in skeletons))
    no_offset = torch.tensor([s.no_offset for s in skeletons]) if problem.offset else None
    classes = distance_classes(task)
    folds = torch.from_numpy(classes % MAX_FOLDS)
    n_free = len(np.unique(classes)) - 1
    found: list[Floats] = [np.full(len(classes), np.inf)] * len(skeletons)
    k_of = count_constants(tokens, grammar)
    enough = torch.tensor([s.n_constants < n_free for s in skeletons])
    for k in k_of.unique().tolist():
        members = ((k_of == k) & enough).nonzero().squeeze(1)
        per = max(1, _AT_ONCE // (12 * len(_STARTS) * (int(folds.max()) + 1) * problem.x.shape[1]))
        for part in members.split(per) if len(members) else ():
            theta = torch.tensor([skeletons[i].theta for i in part.tolist()], dtype=torch.float64)
            flags = None if no_offset is None else no_offset[part]
            blind = _blind(task, tokens[part], grammar, problem, theta.view(len(part), k), flags, folds)
            for row, errors in zip(part.tolist(), blind, strict=True):
                found[row] = errors
    return found


def _blind(
    task: KernelTask, tokens: Tensor, grammar: Grammar, problem: Problem, theta: Tensor,
    no_offset: Tensor | None, folds: Tensor,
) -> Floats:  # fmt: skip
    """Absolute left-out errors [formula, row] of skeletons with one number of constants ``theta`` [formula, k]."""
    n, k = theta.shape
    n_folds, starts = int(folds.max()) + 1, len(_STARTS) if k else 1
    held = folds.unsqueeze(0) == torch.arange(n_folds).unsqueeze(1)  # [fold, row]
    weight = torch.where(held, 0.0, problem.weight).repeat_interleave(starts, 0)  # [fold and start, row]
    factors = torch.tensor([[pair[i % 2] for i in range(k)] for pair in _STARTS[:starts]]).view(starts, k)
    begin = (theta[:, None] * factors.to(theta)[None]).repeat(1, n_folds, 1)  # [formula, fold and start, k]
    programs = build(tokens, grammar, max_terms=problem.max_terms, no_offset=no_offset)
    theta, beta, sse = levenberg_marquardt(programs, replace(problem, weight=weight), begin, _STEPS)
    left = residuals(programs, problem, theta, beta).abs()  # [formula, fold and start, row]
    many = tokens.repeat_interleave(n_folds * starts, 0)
    each = Fit(theta.flatten(0, 1), beta.transpose(1, 2).flatten(0, 1), sse.flatten())
    safe = in_domain(many, grammar, each, problem, domain_of(task)).view(n, n_folds, starts)
    by_start = sse.view(n, n_folds, starts).nan_to_num(nan=torch.inf)
    best = torch.where(safe | ~safe.any(2, keepdim=True), by_start, torch.inf).argmin(2)  # [formula, fold]
    rows = torch.arange(len(folds))
    chosen = best[:, folds] + folds * starts  # [formula, row]
    out = left[torch.arange(n).unsqueeze(1), chosen, rows]
    return np.asarray(np.nan_to_num(out.numpy(), nan=np.inf), dtype=np.float64)
