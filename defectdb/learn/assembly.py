"""Structures to a whole-material model: tables, searches against them, formulas refined together, terms that pay.

1. Tables of kernel values at every distance class, and of the factors of three-body products, are fitted to all
   structures by absolute errors: compact triangles are outliers of any pair model.
2. Every kernel and every factor is searched against its table with the structures' metric.
3. Further three-body terms are searched on what the tables leave.
4. The constants of all formulas are refined jointly. A kernel that stays behind its table is searched once more
   against what the others leave to it. A three-body term stays where it pays in cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from defectdb.learn.config import LearnConfig
from defectdb.learn.factors import PAYS, Shape, edge_values, paying_shape, robust_weights
from defectdb.learn.kernels import Kernel, KernelTask, domain_of
from defectdb.learn.model_fit import cross_validate, predict, refine, total_values
from defectdb.learn.model_tasks import REACH, factor_tasks, kernel_task, triple_task
from defectdb.learn.parts import Part, edge_part, pair_part, product_part, triple_part
from defectdb.learn.structures import ModelData
from defectdb.schema.expression import complexity
from defectdb.schema.records import EVERY_DZ

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Learn = Callable[[Sequence[KernelTask]], Iterable[Kernel]]
"""How searches are run: tasks to kernels, in any order."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model: every term's kernel (its front and the formula in use) and its place.

    ``residual`` [structure] in eV of the formulas as published, ``residual_cv`` of those refitted without the fold.
    """

    terms: list[tuple[Kernel, Part]]
    spare: list[Kernel]
    residual: Floats
    residual_cv: Floats

    @property
    def parts(self) -> list[Part]:
        """The terms in their places."""
        return [part for _, part in self.terms]


def fit_model(data: ModelData, config: LearnConfig, device: str, learn: Learn, train: Flags) -> Fitted:
    """The model of the structures ``train``: forms and constants from these alone."""
    y = total_values(data)
    shape = paying_shape(data.blocks, data.triples, y, data.fold, train)
    tasks = _tasks(data, shape, config, device, train)
    kernels = {kernel.task.name: kernel for kernel in learn(tasks)}
    terms = [_block_term(data, shape, at, kernels) for at in range(len(shape.blocks))]
    terms += [_product_term(shape, at, kernels) for at in range(len(shape.corners))]
    terms = _refined(terms, y, train)
    used = {kernel.task.name for kernel, _ in terms}
    spare = [k for name, k in kernels.items() if name not in used and len(k.task.variables) > 1]
    return _with_triples(data, terms, spare, y, train)


def _tasks(data: ModelData, shape: Shape, config: LearnConfig, device: str, train: Flags) -> list[KernelTask]:
    tables = shape.tables
    weights = robust_weights(tables.residual, REACH) * train
    error = float((weights * tables.residual**2).sum())
    tasks = [
        kernel_task(block, values, weights, error, config, device)
        for block, values in zip(shape.blocks, tables.pairs, strict=True)
    ]
    for corner, factors in zip(shape.corners, tables.factors, strict=True):
        tasks += factor_tasks(corner, factors, weights, error, config, device)
    triples = [triple_task(t, tables.residual, weights, data.n_defects, config, device) for t in data.triples]
    return [*tasks, *(task for task in triples if task is not None)]


def _block_term(data: ModelData, shape: Shape, at: int, kernels: dict[str, Kernel]) -> tuple[Kernel, Part]:
    """A pair kernel, or a function of a triple's edge."""
    block = shape.blocks[at]
    kernel = next(k for k in kernels.values() if (k.task.label, k.task.dz_min) == (block.name, block.dz_min))
    best, domain = kernel.front[kernel.chosen], domain_of(kernel.task)
    if not block.edges:
        return kernel, pair_part(block, best.expression, best.constants, domain)
    triples = next(t for t in data.triples if t.label == block.label)
    part = edge_part(block, triples, best.expression, best.constants, domain)
    return _composed([kernel], part, edge_values(block, triples, shape.tables.pairs[at])), part


def _product_term(shape: Shape, at: int, kernels: dict[str, Kernel]) -> tuple[Kernel, Part]:
    """The product of the factors' chosen formulas."""
    corner, (first, second) = shape.corners[at], shape.tables.factors[at]
    found = [kernels[name] for edge in corner.edges if (name := corner.name(edge)) in kernels]
    both = found * 2 if corner.shared else found
    part = product_part(corner, [k.front[k.chosen] for k in both], [domain_of(k.task) for k in both])
    return _composed(found, part, corner.sign * first[corner.at_first] * second[corner.at_second]), part


def _composed(found: Sequence[Kernel], part: Part, y: Floats) -> Kernel:
    """The formula of a term made of others' formulas as a kernel of its own, with its error at the triples ``y``."""
    error = y - part.values()
    scored = replace(
        found[0].front[found[0].chosen], expression=part.expression, constants=part.constants,
        complexity=complexity(part.expression), mse=float((error**2).mean()), mae=float(np.abs(error).mean()),
        mae_cv=np.nan, mae_cv_interior=np.nan, bic=0.0,
    )  # fmt: skip
    task = replace(
        found[0].task, label=part.label, dz_min=0.0, dz_max=EVERY_DZ, x=np.stack(list(part.x.values())), y=y,
        weight=np.ones(len(y)), mixing=None, variables=tuple(part.x), values=None, offset=False, frequency=None,
    )  # fmt: skip
    generations = [g for k in found for g in k.generations]
    seconds, n_fits = sum(k.seconds for k in found), sum(k.n_fits for k in found)
    return Kernel(task, [scored], 0, generations, seconds, n_fits)


def _refined(
    terms: Sequence[tuple[Kernel, Part]], y: Floats, train: Flags, rounds: int = 25
) -> list[tuple[Kernel, Part]]:
    parts = refine([part for _, part in terms], y, train, rounds)
    return [(kernel, part) for (kernel, _), part in zip(terms, parts, strict=True)]


def _with_triples(
    data: ModelData, terms: list[tuple[Kernel, Part]], spare: list[Kernel], y: Floats, train: Flags
) -> Fitted:
    """The terms less the products that do not pay, and with the three-body terms that do."""
    blind = cross_validate([p for _, p in terms], y, data.fold, train)
    for term in [t for t in terms if t[1].order == 3]:
        fewer = _refined([t for t in terms if t is not term], y, train, 15)
        without = cross_validate([p for _, p in fewer], y, data.fold, train)
        if PAYS * _mean(without, train) < _mean(blind, train):
            terms, blind = fewer, without
    left = []
    for kernel in spare:
        triples = next(t for t in data.triples if t.label == kernel.task.label)
        best = kernel.front[kernel.chosen]
        new = triple_part(
            triples, best.expression, best.constants, kernel.task.variables, domain_of(kernel.task)
        )
        more = _refined([*terms, (kernel, new)], y, train, 15)
        with_it = cross_validate([p for _, p in more], y, data.fold, train)
        if _mean(with_it, train) < PAYS * _mean(blind, train):
            terms, blind = more, with_it
        else:
            left.append(kernel)
    return Fitted(terms, left, y - predict([p for _, p in terms], len(y)), blind)


def _mean(residual: Floats, train: Flags) -> float:
    return float(np.abs(residual[train]).mean())
