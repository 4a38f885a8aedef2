"""Rows of one kernel to fitted laws: every law and formula through the same fit, the same folds, the same domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression
from defectdb.learn.judging.errors import Fitted, criteria
from defectdb.learn.pairs.distance_classes import distance_classes
from defectdb.learn.pairs.kernel_task import KernelTask, mixing_of
from defectdb.learn.pairs.law_fits import LawFit, fitted, fitted_laws
from defectdb.learn.pairs.left_out import left_out, level_scale, split_errors
from defectdb.learn.pairs.skeleton import skeleton_of


def fit_laws(task: KernelTask, seed: int = 0) -> list[Fitted]:
    """Every law of ``LAWS`` fitted to the task's rows, with the offset or without, whichever is better left out.

    Constants out of the task's domain (frequencies between the points, poles) count only where no others fit.
    """
    best: dict[str, Fitted] = {}
    for found in _judged(task, fitted_laws(task, seed)):
        known = best.get(found.law)
        if known is None or (not found.safe, found.errors.interior) < (not known.safe, known.errors.interior):
            best[found.law] = found
    return list(best.values())


def refit(task: KernelTask, name: str, expression: Expression, constants: tuple[float, ...]) -> Fitted:
    """A finished formula with all its constants fitted anew to the task's rows, from where they are."""
    skeleton = skeleton_of(expression, constants)
    if not skeleton.names:
        return _constant(task, name, expression)
    return _judged(task, fitted(task, [name], [skeleton]))[0]


def judge(task: KernelTask, name: str, expression: Expression, constants: tuple[float, ...]) -> Fitted:
    """A finished formula as it is stored: its errors in training, and left out as fronts and tables have them."""
    k = skeleton_of(expression, constants).n_constants
    return _judged(task, [LawFit(name, expression, constants, k, safe=True)])[0]


def _judged(task: KernelTask, fits: Sequence[LawFit]) -> list[Fitted]:
    """Fitted formulas with their errors in training and left out."""
    classes, mixing = distance_classes(task), mixing_of(task)
    blind = left_out(task, [(f.expression, f.constants) for f in fits])
    found = []
    for fit, out in zip(fits, blind, strict=True):
        points = np.broadcast_to(evaluate_numpy(fit.expression, {"r": task.r}, fit.constants), task.r.shape)
        left = task.y - (points if mixing is None else mixing @ points)
        errors = split_errors(np.abs(left), out, classes)
        found.append(
            Fitted(
                fit.name, fit.expression, fit.constants, fit.n_constants, errors, fit.safe,
                *criteria(left, fit.n_constants),
            )
        )  # fmt: skip
    return found


def _constant(task: KernelTask, name: str, expression: Expression) -> Fitted:
    """A kernel that is one number: the mean, left out class by class."""
    scale = level_scale(task)
    value = float((scale * task.y).sum() / (scale**2).sum())
    return judge(task, name, expression, (value,))
