"""Fit a material model to structures: tables, searches against them, formulas refined together, terms that pay.

1. Tables of kernel values at every distance class, and of the factors of three-body products, are fitted to all
   structures by absolute errors: compact triangles are outliers of any pair model.
2. Every kernel and every factor is searched against its table with the structures' metric.
3. Further three-body terms are searched on what the tables leave.
4. The constants of all formulas are refined jointly, and formulas exchanged for shorter ones where that pays. A kernel
   that stays behind its table gets a second summand, searched against what is left to it. A three-body term stays
   where it pays in cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from defectdb.expressions.arrays import Flags, Floats
from defectdb.expressions.expression import complexity
from defectdb.learn.material.exchange import shortened
from defectdb.learn.material.formulas import Formulas, second_summands
from defectdb.learn.material.placed_formulas import Part, triple_part
from defectdb.learn.material.refine import cross_validate, predict, refine, total_values
from defectdb.learn.material.structures import N_FOLDS, ModelData
from defectdb.learn.material.tasks import REACH, TOKEN, shape_tasks, triple_task
from defectdb.learn.material.value_tables import PAYS, paying_shape, robust_weights
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask, TripleTask
from defectdb.learn.pairs.tasks import domain_of

MATTERS = 0.1
"""A general three-body term is searched for a triple label that holds this share of the error or more."""

Learn = Callable[[Sequence[KernelTask]], Iterable[Kernel]]
"""How searches are run: tasks to kernels, in any order."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model: every term's kernel (its front and the formula in use) and its place.

    ``residual`` [structure] in eV of the formulas as published, ``residual_cv`` of those refitted without the fold.
    ``table_error``: mean absolute error (eV) in training of free tables of the same shape.
    """

    terms: list[tuple[Kernel, Part]]
    spare: list[Kernel]
    residual: Floats
    residual_cv: Floats
    table_error: float

    @property
    def parts(self) -> list[Part]:
        """The terms in their places."""
        return [part for _, part in self.terms]


def fit_model(data: ModelData, learn: Learn, train: Flags) -> Fitted:
    """The model of the structures ``train``: forms and constants from these alone."""
    y = total_values(data)
    shape = paying_shape(data.blocks, data.triples, y, data.fold, train)
    weights = robust_weights(shape.tables.residual, REACH) * train
    tasks = shape_tasks(shape, weights)
    wanted = _triple_tasks(data, shape.tables.residual, weights)
    found = {kernel.task.name: kernel for kernel in learn([*tasks.values(), *wanted])}
    chosen = {place: (found[task.name],) for place, task in tasks.items()}
    longest = next((kernel.task.config.max_term for kernel in found.values()), None)
    formulas = shortened(Formulas(data, shape, chosen).refined(y, train), y, train, longest)
    again = second_summands(formulas, y, train)
    if again:
        more = {kernel.task.name: kernel for kernel in learn(list(again.values()))}
        for place, task in again.items():
            sums = {**formulas.chosen, place: (*formulas.chosen[place], more[task.name])}
            trial = replace(formulas, chosen=sums).refined(y, train)
            pays = trial.error(y, train) < paid(more[task.name].best.complexity) * formulas.error(y, train)
            if pays and (longest is None or trial.term_tokens(place) <= longest):
                formulas = trial
        formulas = shortened(formulas, y, train, longest)
    table_error = _mean(shape.tables.residual, train)
    return _with_triples(data, formulas.terms(), [found[task.name] for task in wanted], y, train, table_error)


def nested_residual(data: ModelData, learn: Learn) -> Floats:
    """Out-of-fold residuals [structure]: shape, forms and constants all learned anew without each fold."""
    residual = np.zeros(len(data.y))
    for k in range(N_FOLDS):
        held = data.fold == k
        if held.any() and not held.all():
            residual[held] = fit_model(data, learn, ~held).residual[held]
    return residual


def _triple_tasks(data: ModelData, residual: Floats, weights: Floats) -> list[TripleTask]:
    """General three-body searches for the labels that hold a tenth of what is left or more."""
    whole = np.abs(residual[weights > 0]).sum()
    tasks = []
    for triples in data.triples:
        rows = np.unique(triples.rows)
        if np.abs(residual[rows[weights[rows] > 0]]).sum() > MATTERS * whole:
            tasks.append(triple_task(triples, residual, weights, data.n_defects))
    return [task for task in tasks if task is not None]


def paid(tokens: int) -> float:
    """Share of the error that may be left where a term of that many tokens comes in."""
    return min(PAYS, 1 - TOKEN * tokens)


def _refined(
    terms: Sequence[tuple[Kernel, Part]], y: Floats, train: Flags, rounds: int = 25
) -> list[tuple[Kernel, Part]]:
    parts = refine([part for _, part in terms], y, train, rounds)
    return [(kernel, part) for (kernel, _), part in zip(terms, parts, strict=True)]


def paying(
    terms: list[tuple[Kernel, Part]], y: Floats, fold: NDArray[np.int64], train: Flags
) -> tuple[list[tuple[Kernel, Part]], Floats]:
    """The terms without the three-body ones that do not lower the error in cross-validation, each tried in turn, and
    the residuals [structure] of what is left, refitted without the fold.
    """
    blind = cross_validate([part for _, part in terms], y, fold, train)
    for place in reversed([i for i, (_, part) in enumerate(terms) if part.order == 3]):
        fewer = _refined([*terms[:place], *terms[place + 1 :]], y, train, 15)
        without = cross_validate([part for _, part in fewer], y, fold, train)
        if paid(complexity(terms[place][1].expression)) * _mean(without, train) < _mean(blind, train):
            terms, blind = fewer, without
    return terms, blind


def _with_triples(
    data: ModelData, terms: list[tuple[Kernel, Part]], spare: list[Kernel], y: Floats, train: Flags,
    table_error: float,
) -> Fitted:  # fmt: skip
    """The terms less the products that do not pay, and with the three-body terms that do."""
    terms, blind = paying(terms, y, data.fold, train)
    left = []
    for kernel in spare:
        triples = next(t for t in data.triples if t.label == kernel.task.label)
        best = kernel.front[kernel.chosen]
        new = triple_part(
            triples, best.expression, best.constants, kernel.task.variables, domain_of(kernel.task)
        )
        more = _refined([*terms, (kernel, new)], y, train, 15)
        with_it = cross_validate([p for _, p in more], y, data.fold, train)
        if _mean(with_it, train) < paid(best.complexity) * _mean(blind, train):
            terms, blind = more, with_it
        else:
            left.append(kernel)
    return Fitted(terms, left, y - predict([p for _, p in terms], len(y)), blind, table_error)


def _mean(residual: Floats, train: Flags) -> float:
    return float(np.abs(residual[train]).mean())
