"""Rows of one kernel to fitted laws: every law and formula through the same fit, the same folds, the same domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from defectdb.engine.finishing.cross_validation import cross_validate
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.programs.finished import finish
from defectdb.engine.safety.fitted_values import in_domain, predict
from defectdb.engine.seeds.physical_laws import LAWS
from defectdb.expressions.expression import Expression
from defectdb.learn.judging.errors import Fitted, criteria, split_errors
from defectdb.learn.pairs.distance_classes import class_folds, distance_classes
from defectdb.learn.pairs.kernel_task import KernelTask, mixing_of
from defectdb.learn.pairs.law_fits import best_fits, encoded, law_skeletons
from defectdb.learn.pairs.skeleton import Skeleton, skeleton_of
from defectdb.learn.pairs.tasks import domain_of, problem_of


def fit_laws(task: KernelTask, seed: int = 0) -> list[Fitted]:
    """Every law of ``LAWS`` fitted to the task's rows, with the offset or without, whichever is better left out.

    Constants out of the task's domain (frequencies between the points, poles) count only where no others fit.
    """
    flags = (False, True) if task.offset else (True,)
    skeletons = [replace(law, no_offset=flag) for law in law_skeletons() for flag in flags]
    scored = _fitted([law.name for law in LAWS for _ in flags], skeletons, task, seed)
    best: dict[str, Fitted] = {}
    for found in scored:
        known = best.get(found.law)
        if known is None or (not found.safe, found.errors.interior) < (not known.safe, known.errors.interior):
            best[found.law] = found
    return list(best.values())


def refit(task: KernelTask, name: str, expression: Expression, constants: tuple[float, ...]) -> Fitted:
    """A finished formula with all its constants fitted anew to the task's rows, from where they are."""
    skeleton = skeleton_of(expression, constants)
    if not skeleton.names:
        return _constant(task, name, expression)
    return _fitted([name], [skeleton], task, 0)[0]


def _fitted(names: Sequence[str], skeletons: Sequence[Skeleton], task: KernelTask, seed: int) -> list[Fitted]:
    grammar, tokens = encoded(skeletons)
    problem = replace(problem_of(task), max_terms=max(s.n_terms for s in skeletons))
    no_offset = torch.tensor([s.no_offset for s in skeletons]) if problem.offset else None
    domain = domain_of(task)
    best = best_fits(tokens, grammar, problem, domain, skeletons, no_offset, seed)
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


def _constant(task: KernelTask, name: str, expression: Expression) -> Fitted:
    """A kernel that is one number: the mean, left out class by class."""
    classes = distance_classes(task)
    mixing = mixing_of(task)
    scale = np.ones_like(task.y) if mixing is None else mixing.sum(1)
    held = classes[None, :] == np.unique(classes)[:, None]
    above, below = np.where(held, 0.0, scale * task.y).sum(1), np.where(held, 0.0, scale**2).sum(1)
    value = float((scale * task.y).sum() / (scale**2).sum())
    left = task.y - value * scale
    out = np.abs(task.y - (above / below)[classes] * scale)
    return Fitted(
        name, expression, (value,), 1, split_errors(np.abs(left), out, classes), True, *criteria(left, 1)
    )
