"""Rows of one kernel to fitted laws: every law and formula through the same fit, the same folds, the same domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from defectdb.learn.pairs.skeleton import Skeleton, skeleton_of
from defectdb.learn.pairs.kernel_search import KernelTask, domain_of, problem_of
from defectdb.learn.pairs.lattice_sums import Floats, Integers, class_folds, distance_classes, nearest
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.programs.finished import finish
from defectdb.engine.finishing.scoring import Domain, cross_validate, in_domain, predict
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.seeds.physical_laws import LAWS
from defectdb.engine.problem import Fit, Problem
from defectdb.engine.finishing.simplify import simplify
from defectdb.expressions.expression import Expression
from defectdb.expressions.operators import OPERATORS

COPIES = 16
STARTS = 3
"""Every law is fitted ``COPIES`` times from the best of ``STARTS`` random starts, with and without an offset."""


@dataclass(frozen=True)
class Errors:
    """Absolute errors in the target's unit: in training, left out, and apart for inner and outermost distances.

    Infinite where a law has as many constants as points that it may see: a refit from there proves nothing.
    """

    train: float
    cv: float
    interior: float
    ends: float


@dataclass(frozen=True)
class Fitted:
    """One law fitted to the rows: its formula and constants (None for tables), errors and criteria.

    ``safe``: finite and quiet over the whole range of distances, as every candidate of a search must be (a cosine
    that oscillates faster than the points lie is not). ``aicc`` is Akaike's criterion corrected for few rows
    (Hurvich and Tsai, Biometrika 76, 297 (1989)), ``bic`` Schwarz's; both from n log(mean squared error), NaN for
    tables.
    """

    law: str
    expression: Expression | None
    constants: tuple[float, ...]
    n_constants: int
    errors: Errors
    safe: bool = True
    aicc: float = math.nan
    bic: float = math.nan


def fit_laws(task: KernelTask, seed: int = 0) -> list[Fitted]:
    """Every law of ``LAWS`` fitted to the task's rows, with the offset or without, whichever is better left out.

    Constants out of the task's domain (frequencies between the points, poles) count only where no others fit.
    """
    plains = (False, True) if task.offset else (True,)
    skeletons = [replace(law, plain=plain) for law in law_skeletons() for plain in plains]
    scored = _fitted([law.name for law in LAWS for _ in plains], skeletons, task, seed)
    best: dict[str, Fitted] = {}
    for found in scored:
        known = best.get(found.law)
        if known is None or (not found.safe, found.errors.interior) < (not known.safe, known.errors.interior):
            best[found.law] = found
    return list(best.values())


def law_skeletons() -> list[Skeleton]:
    """The skeletons of ``LAWS`` without offset, their inner constants unknown (NaN)."""
    return [replace(skeleton_of(law.skeleton, (math.nan,) * 9), plain=True) for law in LAWS]


def refit(task: KernelTask, name: str, expression: Expression, constants: tuple[float, ...]) -> Fitted:
    """A finished formula with all its constants fitted anew to the task's rows, from where they are."""
    skeleton = skeleton_of(expression, constants)
    if not skeleton.names:
        return _constant(task, name, expression)
    return _fitted([name], [skeleton], task, 0)[0]


def _fitted(names: Sequence[str], skeletons: Sequence[Skeleton], task: KernelTask, seed: int) -> list[Fitted]:
    grammar, tokens = encoded(skeletons)
    problem = replace(problem_of(task), max_terms=max(s.n_terms for s in skeletons))
    plain = torch.tensor([s.plain for s in skeletons]) if problem.offset else None
    domain = domain_of(task)
    best = best_fits(tokens, grammar, problem, domain, skeletons, plain, seed)
    safe = in_domain(tokens, grammar, best, problem, domain)
    classes = distance_classes(task)
    blind = cross_validate(tokens, grammar, best, problem, class_folds(task), 40)
    points = predict(tokens, grammar, best, problem.x, problem)
    values = points if problem.mixing is None else points @ problem.mixing.T
    left = (problem.y - values).numpy()
    n_free = len(np.unique(classes)) - 1
    found = []
    for i, (name, skeleton) in enumerate(zip(names, skeletons, strict=True)):
        out = np.abs(blind[i].numpy()) if skeleton.n_constants < n_free else np.full(len(classes), np.inf)
        tree, constants = finish(tokens[i], grammar, problem, best.theta[i], best.beta[i])
        tree, values_of = simplify(tree, constants)
        k = skeleton.n_constants
        errors = split_errors(np.abs(left[i]), np.nan_to_num(out, nan=np.inf), classes)
        found.append(Fitted(name, tree, values_of, k, errors, bool(safe[i]), *criteria(left[i], k)))
    return found


def encoded(skeletons: Sequence[Skeleton]) -> tuple[Grammar, Tensor]:
    """A grammar that can write the skeletons, and their tokens [formula, position]."""
    words = {name for s in skeletons for name in s.names}
    numbers = sorted(int(name) for name in words if name.lstrip("-").isdigit())
    longest = max(len(s.names) for s in skeletons)
    grammar = Grammar(operators=tuple(OPERATORS), numbers=tuple(numbers), max_length=longest)
    return grammar, torch.tensor([grammar.encode(s.names) for s in skeletons], dtype=torch.long)


def best_fits(
    tokens: Tensor, grammar: Grammar, problem: Problem, domain: Domain, skeletons: Sequence[Skeleton],
    plain: Tensor | None, seed: int,
) -> Fit:  # fmt: skip
    """The best fit of every skeleton, from its own constants where it has them, else from random ones."""
    width = max((len(s.theta) for s in skeletons), default=0)
    given = [[*s.theta, *[math.nan] * (width - len(s.theta))] for s in skeletons]
    theta = torch.tensor(given, dtype=torch.float64)
    known = bool(torch.isfinite(theta).any())
    copies = 1 if known else COPIES
    many = tokens.repeat_interleave(copies, 0)
    flags = None if plain is None else plain.repeat_interleave(copies)
    starts = theta.repeat_interleave(copies, 0) if width else None
    tried = fit(
        many, grammar, problem, torch.Generator().manual_seed(seed), starts=1 if known else STARTS,
        iterations=(15, 60), theta=starts, plain=flags,
    )  # fmt: skip
    safe = in_domain(many, grammar, tried, problem, domain).view(-1, copies)
    sse = tried.sse.view(-1, copies)
    barred = torch.where(safe | ~safe.any(1, keepdim=True), sse, torch.inf)
    rows = torch.arange(len(tokens)) * copies + barred.argmin(1)
    return Fit(tried.theta[rows], tried.beta[rows], tried.sse[rows])


def _constant(task: KernelTask, name: str, expression: Expression) -> Fitted:
    """A kernel that is one number: the mean, left out class by class."""
    classes = distance_classes(task)
    scale = np.ones_like(task.y) if task.mixing is None else task.mixing.sum(1)
    held = classes[None, :] == np.unique(classes)[:, None]
    above, below = np.where(held, 0.0, scale * task.y).sum(1), np.where(held, 0.0, scale**2).sum(1)
    value = float((scale * task.y).sum() / (scale**2).sum())
    left = task.y - value * scale
    out = np.abs(task.y - (above / below)[classes] * scale)
    return Fitted(
        name, expression, (value,), 1, split_errors(np.abs(left), out, classes), True, *criteria(left, 1)
    )


def split_errors(train: Floats, left_out: Floats, classes: Integers) -> Errors:
    """Means of absolute errors [row] in training and left out, the latter also for inner and outermost classes."""
    outermost = (classes == 0) | (classes == classes.max())
    inner = left_out[~outermost]
    with np.errstate(over="ignore"):  # what grows may reach infinity when it is left out
        interior = float(inner.mean()) if len(inner) else math.nan
        return Errors(
            float(train.mean()), float(left_out.mean()), interior, float(left_out[outermost].mean())
        )


def criteria(residual: Floats, k: int) -> tuple[float, float]:
    """AICc and BIC of residuals [row] left by k constants; AICc is NaN where rows are too few for it."""
    n = len(residual)
    fit_term = n * math.log(max(float(np.mean(residual**2)), 1e-300))
    few = n - k - 1
    return fit_term + 2 * k + 2 * k * (k + 1) / few if few > 0 else math.nan, fit_term + k * math.log(n)


# ---------------------------------------------------------------- baselines without a formula


def look_up_table(task: KernelTask) -> Fitted:
    """The mean of every distance class; left out: a straight line between its neighbours, constant at the ends."""
    r, values, classes = _class_means(task)
    share = (r[1:-1] - r[:-2]) / (r[2:] - r[:-2])
    inner = values[:-2] + share * (values[2:] - values[:-2])
    guess = np.concatenate([values[1:2], inner, values[-2:-1]]) if len(r) > 1 else np.full(1, math.nan)
    return _table(task, "look-up table", values, guess, classes)


def nearest_neighbour(task: KernelTask) -> Fitted:
    """The value of the nearest distance class, left out: of the nearest other one."""
    r, values, classes = _class_means(task)
    apart = np.abs(r[:, None] - r[None, :])
    np.fill_diagonal(apart, np.inf)
    guess = values[apart.argmin(1)] if len(r) > 1 else np.full(1, math.nan)
    return _table(task, "nearest neighbour", values, guess, classes)


def _class_means(task: KernelTask) -> tuple[Floats, Floats, Integers]:
    """Distance and mean value of every class, and the class of every row."""
    classes = distance_classes(task)
    count = np.bincount(classes)
    return np.bincount(classes, nearest(task)) / count, np.bincount(classes, task.y) / count, classes


def _table(task: KernelTask, name: str, values: Floats, guess: Floats, classes: Integers) -> Fitted:
    left_out = np.nan_to_num(np.abs(task.y - guess[classes]), nan=np.inf)
    errors = split_errors(np.abs(task.y - values[classes]), left_out, classes)
    return Fitted(name, None, (), len(values), errors)
