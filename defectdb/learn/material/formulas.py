"""The formulas of a material model: one for every function of its shape, refined together and put in place."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from defectdb.expressions.arrays import Flags, Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import complexity
from defectdb.learn.material.placed_formulas import Function, Part, edge_part, pair_part, product_part
from defectdb.learn.material.refine import predict, refine
from defectdb.learn.material.structures import ModelData
from defectdb.learn.material.tasks import REACH, TOKEN, design_of, metric_task
from defectdb.learn.material.terms import Place, Shape, Tables, edge_values
from defectdb.learn.material.value_tables import robust_weights
from defectdb.learn.pairs.kernel_task import Kernel, TableTask, TripleTask
from defectdb.learn.pairs.measured import measured, with_constants
from defectdb.learn.pairs.tasks import domain_of

SECOND_GAIN = 0.004
"""A function gets a second summand where a free table in its place would lower the whole error by this share."""

LEAST_SECOND = 5
"""Tokens that must be left of a term's greatest length for a second summand."""

SECOND_ISLANDS = 2
"""Independent searches of each of these summands."""


@dataclass(frozen=True)
class Formulas:
    """A formula for every function of ``shape``: the sum of the chosen ones of these kernels' fronts, mostly one."""

    data: ModelData
    shape: Shape
    chosen: Mapping[Place, tuple[Kernel, ...]]

    def function(self, place: Place) -> Function:
        """The function in a place."""
        summands = [
            Function.guarded(best.expression, best.constants, domain_of(kernel.task))
            for kernel in self.chosen[place]
            for best in [kernel.front[kernel.chosen]]
        ]
        return reduce(operator.add, summands)

    def parts(self) -> list[Part]:
        """One part for every block and corner of the shape."""
        blocks = [self._block_part(at) for at in range(len(self.shape.blocks))]
        return blocks + [
            product_part(corner, *(self.function(place) for place in self._factors(at)))
            for at, corner in enumerate(self.shape.corners)
        ]

    def _block_part(self, at: int) -> Part:
        block, function = self.shape.blocks[at], self.function((at, 0))
        if not block.edges:
            return pair_part(block, function)
        return edge_part(block, next(t for t in self.data.triples if t.label == block.label), function)

    def _factors(self, at: int) -> tuple[Place, Place]:
        """Where a corner's two factors stand: a shared one is both."""
        first = len(self.shape.blocks) + at
        return (first, 0), (first, 0 if self.shape.corners[at].shared else 1)

    def refined(self, y: Floats, train: Flags, rounds: int = 25) -> Formulas:
        """The same formulas with all constants refined together."""
        parts = refine(self.parts(), y, train, rounds)
        chosen = dict(self.chosen)
        for at, part in enumerate(parts):
            left = part.constants
            for place in sorted(p for p in self.chosen if p[0] == at):
                summands = []
                for kernel in chosen[place]:
                    count = len(kernel.front[kernel.chosen].constants)
                    summands.append(with_constants(kernel, left[:count]))
                    left = left[count:]
                chosen[place] = tuple(summands)
        return replace(self, chosen=chosen)

    def residual(self, y: Floats) -> Floats:
        """What the formulas leave, [structure] in eV."""
        return y - predict(self.parts(), len(y))

    def error(self, y: Floats, train: Flags) -> float:
        """Mean absolute error on the structures ``train``, eV."""
        return float(np.abs(self.residual(y)[train]).mean())

    def tokens(self) -> int:
        """Length of all terms together."""
        return sum(complexity(part.expression) for part in self.parts())

    def tokens_at(self, place: Place) -> int:
        """Length of the function in a place, 0 where there is none."""
        return complexity(self.function(place).expression) if place in self.chosen else 0

    def term_tokens(self, place: Place) -> int:
        """Length of the whole term that the function in a place belongs to."""
        return complexity(self.parts()[place[0]].expression)

    def cost(self, y: Floats, train: Flags) -> float:
        """What the model errs and how long it is: log(error) + ``TOKEN`` x tokens."""
        return math.log(max(self.error(y, train), 1e-12)) + TOKEN * self.tokens()

    def tables(self, y: Floats) -> Tables:
        """The formulas' values at the classes of the shape."""

        def values(place: Place, r: Floats) -> Floats:
            found = self.function(place)
            return evaluate_numpy(found.expression, {"r": r}, found.constants) + np.zeros(len(r))

        pairs = [values((at, 0), block.r) for at, block in enumerate(self.shape.blocks)]
        factors = []
        for at, corner in enumerate(self.shape.corners):
            first, second = self._factors(at)
            factors.append((values(first, corner.first), values(second, corner.second)))
        return Tables(pairs, factors, self.residual(y))

    def terms(self) -> list[tuple[Kernel, Part]]:
        """Every part with the kernel to publish: its front, and behind it the formula in use where that is composed."""
        out = []
        for at, part in enumerate(self.parts()):
            kernels = [
                k for place in sorted(p for p in self.chosen if p[0] == at) for k in self.chosen[place]
            ]
            if part.order == 2:
                out.append((kernels[0] if len(kernels) == 1 else _summed(kernels, part), part))
            else:
                out.append((_composed(kernels, part, self._wanted(at)), part))
        return out

    def _wanted(self, at: int) -> Floats:
        """The fitted table's values of a three-body term at its triples, [triple]."""
        n, tables = len(self.shape.blocks), self.shape.tables
        if at < n:
            block = self.shape.blocks[at]
            triples = next(t for t in self.data.triples if t.label == block.label)
            return edge_values(block, triples, tables.pairs[at])
        corner, (first, second) = self.shape.corners[at - n], tables.factors[at - n]
        product: Floats = corner.sign * first[corner.at_first] * second[corner.at_second]
        return product


def _summed(found: Sequence[Kernel], part: Part) -> Kernel:
    """A pair kernel of several summands: the first one's front with their sum behind it."""
    first = found[0]
    of_sum = replace(first.front[-1], skeleton=())  # no search wrote it
    scored = measured(of_sum, part.expression, part.constants, first.task)
    return replace(
        first,
        front=[*first.front, scored],
        chosen=len(first.front),
        generations=[g for k in found for g in k.generations],
        seconds=sum(k.seconds for k in found),
        n_fits=sum(k.n_fits for k in found),
    )


def _composed(found: Sequence[Kernel], part: Part, y: Floats) -> Kernel:
    """A three-body term's whole formula as a kernel of its own, with its error at the triples ``y``."""
    first = found[0].task
    task = TripleTask(
        label=part.label, x=np.stack(list(part.x.values())), y=y, weight=np.ones(len(y)), variables=tuple(part.x),
        offset=False, spare=0.0, config=first.config, device=first.device,
    )  # fmt: skip
    of_whole = replace(found[0].front[found[0].chosen], skeleton=())  # no search wrote it
    scored = measured(of_whole, part.expression, part.constants, task)
    generations = [g for k in found for g in k.generations]
    seconds, n_fits = sum(k.seconds for k in found), sum(k.n_fits for k in found)
    return Kernel(task, [scored], 0, generations, seconds, n_fits)


def second_summands(formulas: Formulas, y: Floats, train: Flags) -> dict[Place, TableTask]:
    """The searches of second summands, for every function that a free table in its place would clearly better."""
    shape = replace(formulas.shape, tables=formulas.tables(y))
    residual = shape.tables.residual
    before = float(np.abs(residual[train]).mean())
    tasks = {}
    for place, kernels in formulas.chosen.items():
        if len(kernels[0].front) < 2:
            continue
        design = design_of(shape, place, len(y))
        step = free_step(design, residual, train)
        left = residual - design @ step
        if before - float(np.abs(left[train]).mean()) < SECOND_GAIN * before:
            continue
        weights = robust_weights(left, REACH) * train
        name, window, r, _ = shape.function(place)
        error = float((weights * left**2).sum())
        task = metric_task(f"{name} +", window, r, step, design, weights, error)
        copies, overhead = shape.room(place)
        overhead += copies * (formulas.tokens_at(place) + 1)
        longest = kernels[0].task.config.max_term
        if longest is None or longest - overhead >= copies * LEAST_SECOND:
            tasks[place] = replace(task, islands=SECOND_ISLANDS, copies=copies, overhead=overhead)
    return tasks


def free_step(design: Floats, residual: Floats, train: Flags, rounds: int = 15) -> Floats:
    """Changes of a function's values [class] that leave the least absolute error."""
    step = np.zeros(design.shape[1])
    rows = design[train]
    for _ in range(rounds):
        weights = robust_weights((residual - design @ step)[train])
        gram = rows.T @ (rows * weights[:, None])
        ridge = 1e-6 * np.trace(gram) / len(gram)
        step = np.linalg.solve(gram + ridge * np.eye(len(gram)), rows.T @ (weights * residual[train]))
    return step
