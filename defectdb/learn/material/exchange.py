"""Exchange a model's formulas for shorter ones of their fronts where the whole model errs little more for it.

Every formula was chosen by how near it comes to its table, one at a time. What is left to it when all others are in
place is another question: here each front is looked through once more with the model's own error in view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from defectdb.expressions.arrays import Flags, Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.learn.material.formulas import Formulas, free_step
from defectdb.learn.material.tasks import REACH, TOKEN, design_of, metric_task
from defectdb.learn.material.terms import Place
from defectdb.learn.material.value_tables import robust_weights
from defectdb.learn.pairs.kernel_task import Kernel, TableTask
from defectdb.learn.pairs.measured import data_of, with_constants
from defectdb.learn.pairs.tasks import domain_of

_SWEEPS = 4
"""Looks at all functions, each followed by a refinement of all constants."""


@dataclass(frozen=True)
class _Situation:
    """What a function's place asks of it while all others stay: the search of it, its values, and what it is worth.

    Attributes:
        task: the function near the values that would be best in its place
        design: what its values at the classes add to every structure [structure, class]
        residual: what the model leaves now [structure], eV
        now: its values at the classes, eV
    """

    task: TableTask
    design: Floats
    residual: Floats
    now: Floats

    def error(self, values: Floats, train: Flags) -> float:
        """Mean absolute error with other values in its place, to first order, eV."""
        return float(np.abs(self.residual - self.design @ (values - self.now))[train].mean())


def shortened(formulas: Formulas, y: Floats, train: Flags, longest: int | None) -> Formulas:
    """The formulas of least log(error) + ``TOKEN`` x tokens that exchanges of one at a time lead to.

    No term is longer than ``longest`` tokens, where there is such a limit and its fronts hold formulas that short.
    """
    for _ in range(_SWEEPS):
        exchanged = False
        for place in formulas.chosen:
            better = _exchanged(formulas, place, y, train, longest)
            exchanged |= better is not None
            formulas = better or formulas
        if not exchanged:
            break
        formulas = formulas.refined(y, train, 10)
    return formulas


def _exchanged(
    formulas: Formulas, place: Place, y: Floats, train: Flags, longest: int | None
) -> Formulas | None:
    """The formulas with another one in this place; None where none is better."""
    situation = _situation(formulas, place, y, train)
    room = _room(formulas, place, longest)
    now = formulas.cost(y, train) if formulas.tokens_at(place) <= room else math.inf
    best = formulas
    trials = []
    for kernels in _alternatives(formulas.chosen[place], situation.task):
        trial = replace(formulas, chosen={**formulas.chosen, place: kernels})
        if trial.tokens_at(place) > room:
            continue
        function = trial.function(place)
        values = evaluate_numpy(function.expression, {"r": situation.task.r}, function.constants)
        error = situation.error(values + np.zeros_like(situation.now), train)
        if np.isfinite(error):
            trials.append((math.log(max(error, 1e-12)) + TOKEN * trial.tokens(), trial))
    for _, trial in sorted(trials, key=lambda found: found[0])[:2]:
        cost = trial.cost(y, train)
        if cost < now - 1e-9:
            best, now = trial, cost
    return None if best is formulas else best


def _situation(formulas: Formulas, place: Place, y: Floats, train: Flags) -> _Situation:
    shape = replace(formulas.shape, tables=formulas.tables(y))
    residual = shape.tables.residual
    design = design_of(shape, place, len(y))
    name, window, r, now = shape.function(place)
    wanted = now + free_step(design, residual, train)
    weights = robust_weights(residual, REACH) * train
    task = metric_task(name, window, r, wanted, design, weights, float((weights * residual**2).sum()))
    seen = np.isin(r, task.r)
    return _Situation(task, design[:, seen], residual, now[seen])


def _alternatives(kernels: tuple[Kernel, ...], task: TableTask) -> Iterator[tuple[Kernel, ...]]:
    """The other formulas of the first one's front, with constants fitted to this place; and those without the rest."""
    first = kernels[0]
    task = replace(task, config=first.task.config, device=first.task.device)
    data, domain = data_of(task), domain_of(task)
    for index, scored in enumerate(first.front):
        kernel = replace(first, chosen=index)
        constants = data.refit(scored.expression, scored.constants)
        if domain.permits(scored.expression, constants, task.variables):
            kernel = with_constants(kernel, constants)
        if index != first.chosen or len(kernels) > 1:
            yield (kernel,)


def _room(formulas: Formulas, place: Place, longest: int | None) -> float:
    """Tokens that the function in this place may have; the two factors of a product share theirs."""
    if longest is None:
        return math.inf
    at, side = place
    copies, overhead = formulas.shape.room(place)
    even = (longest - overhead) // copies
    if (at, 1 - side) not in formulas.chosen:
        return even
    return max(even, longest - overhead - formulas.tokens_at((at, 1 - side)))
