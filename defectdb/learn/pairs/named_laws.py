"""Put the field's laws on a kernel's front, and let them win over anonymous formulas that are no better than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectdb.engine.finishing.scored import Scored, pareto_front
from defectdb.expressions.arrays import Floats
from defectdb.expressions.dimensions import ENERGY, constant_units, kernel_unit
from defectdb.expressions.expression import Expression, complexity, variables
from defectdb.expressions.families import law_of
from defectdb.learn.pairs.distance_classes import distance_classes
from defectdb.learn.pairs.kernel_task import KernelTask, PairTask
from defectdb.learn.pairs.law_fits import fitted_laws
from defectdb.learn.pairs.left_out import left_out, split_errors
from defectdb.learn.pairs.measured import data_of, measured

_LENGTH = {"r": kernel_unit("r")}

LONGER = 2
"""Tokens that a law may be longer than the anonymous formula whose place it takes."""


@dataclass(frozen=True)
class _Candidate:
    """A formula of the front with what its place there depends on.

    Attributes:
        scored: the formula
        named: whether it is a law
        noise: standard error of its mean absolute errors in training and left out at inner distances, eV
    """

    scored: Scored
    named: bool
    noise: tuple[float, float]


def front_with_laws(front: Sequence[Scored], task: PairTask) -> list[Scored]:
    """The front and the laws fitted to the same rows, every left-out error taken by the one procedure (``left_out``).

    A law takes the place of an anonymous formula, at most ``LONGER`` tokens shorter, whose errors in training and left
    out at inner distances are less than the law's own by no more than their standard error. What is left is a front
    again: lower in error than all that is as short or shorter.
    """
    restricted = task.config.required or task.config.forbidden  # laws are written in operators of their own
    candidates = list(front) if restricted else [*front, *_laws(task)]
    every = _judged(candidates, task)
    laws = [c for c in every if c.named]
    kept = [c.scored for c in every if c.named or not any(_wins(law, c) for law in laws)]
    return pareto_front(kept)


def judged(front: Sequence[Scored], task: KernelTask) -> list[Scored]:
    """The formulas with their left-out errors taken anew by the one procedure."""
    return [candidate.scored for candidate in _judged(front, task)]


def _laws(task: PairTask) -> list[Scored]:
    """The safe ones among the fitted laws, with their errors in training."""
    found = [
        fit
        for fit in fitted_laws(task)
        if fit.safe
        and variables(fit.expression)
        and (not task.config.units or constant_units(fit.expression, _LENGTH, ENERGY) is not None)
    ]
    return [measured(_blank(f.expression, f.constants), f.expression, f.constants, task) for f in found]


def _blank(expression: Expression, constants: tuple[float, ...]) -> Scored:
    """A record to be filled."""
    unknown = math.nan
    return Scored(
        expression, constants, complexity(expression), unknown, unknown, unknown, unknown, unknown, ()
    )


def _judged(front: Sequence[Scored], task: KernelTask) -> list[_Candidate]:
    """Every formula with its left-out errors and their noise."""
    classes, data = distance_classes(task), data_of(task)
    inner = (classes != 0) & (classes != classes.max())
    found = []
    blind = left_out(task, [(s.expression, s.constants) for s in front])
    for scored, out in zip(front, blind, strict=True):
        train = np.abs(data.residuals(scored.expression, scored.constants))
        errors = split_errors(train, out, classes)
        new = replace(scored, mae_cv=errors.cv, mae_cv_interior=errors.interior)
        noise = _standard_error(train), _standard_error(out[inner])
        found.append(_Candidate(new, law_of(new.expression, new.constants) is not None, noise))
    return found


def _standard_error(values: Floats) -> float:
    if len(values) < 2 or not np.isfinite(values).all():
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _wins(law: _Candidate, other: _Candidate) -> bool:
    """Whether the law takes the other formula's place."""
    if not variables(other.scored.expression):
        return False
    ours, theirs = law.scored, other.scored
    return (
        ours.complexity <= theirs.complexity + LONGER
        and ours.mae <= theirs.mae + law.noise[0]
        and ours.mae_cv_interior <= theirs.mae_cv_interior + law.noise[1]
    )
