"""Make the terms of a stored model of a fitted dense model: values, and kernels with fronts for what is a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np

from defectdb.engine.finishing.scored import Scored
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Constant, Expression, Number, Variable, complexity
from defectdb.learn.dense.design import library_of, one_defect_columns, triangle_columns, within
from defectdb.learn.dense.fit import DenseModel, kernel_sums
from defectdb.learn.dense.kernels import PairFormula, weighted_sum
from defectdb.learn.dense.structures import EDGES, DenseData
from defectdb.learn.pairs.kernel_task import Kernel, PairTask, TripleTask
from defectdb.learn.pairs.measured import measured
from defectdb.schema.labels import COMPOSITION, join_labels
from defectdb.schema.records import TermRecord

HOST = "host"
"""Label of the term of the pristine energy's error."""


@dataclass(frozen=True)
class DenseTerms:
    """The terms of a dense model.

    Attributes:
        values: one-defect values, host offset, and pairs without interaction
        kernels: everything that is a formula, with its front
    """

    values: list[TermRecord]
    kernels: list[Kernel]


def dense_terms(data: DenseData, model: DenseModel, residual: Floats) -> DenseTerms:
    """The terms whose sum is what ``predict_dense`` gives; ``residual`` [structure] is what it leaves, eV."""
    n_free = one_defect_columns(data).shape[1]
    n_used, n_pairs = len(model.library), len(model.pairs)
    free, used, factors, triangles = np.split(model.coefficients, np.cumsum([n_free, n_used, n_pairs]))
    pairs = [pair.scaled(1.0 + float(f)) for pair, f in zip(model.pairs, factors, strict=True)]
    kernels = [_pair_kernel(pair, model.shape.pairs) for pair in _every_window(data, pairs)]
    kernels += _triangle_kernels(data, model, triangles)
    kernels.append(_composition_kernel(data, model, used, residual))
    values = [
        TermRecord(order=1, label=kind, value=float(v)) for kind, v in zip(data.kinds, free, strict=False)
    ]
    values.append(TermRecord(order=0, label=HOST, value=float(free[-1])))
    acting = {kernel.task.label for kernel in kernels}
    labels = {join_labels(pair) for pair in combinations_with_replacement(data.kinds, 2)}
    values += [TermRecord(order=2, label=label, value=0.0) for label in sorted(labels - acting)]
    return DenseTerms(values, kernels)


def _every_window(data: DenseData, pairs: Sequence[PairFormula]) -> list[PairFormula]:
    """The kernels, and a zero for the |dz| windows that have none where another one of the label has."""
    known = {(p.classes.label, p.classes.dz_min) for p in pairs}
    labels = {label for label, _ in known}
    zeros = [
        PairFormula(block, None, Constant(0), (0.0,))
        for block in data.pairs
        if block.label in labels and (block.label, block.dz_min) not in known
    ]
    return sorted([*pairs, *zeros], key=lambda p: (p.classes.label, p.classes.dz_min))


def unscored(expression: Expression, constants: tuple[float, ...]) -> Scored:
    """A formula whose errors are not known yet."""
    return Scored(expression, constants, complexity(expression), np.inf, np.inf, np.nan, np.nan, np.nan, ())


def _pair_kernel(pair: PairFormula, cutoff: float) -> Kernel:
    """The formula in use behind the front of its search."""
    classes, found = pair.classes, pair.kernel
    task = PairTask(
        label=classes.label, dz_min=classes.dz_min, dz_max=classes.dz_max, x=classes.r[None], y=pair.values(),
        weight=np.ones(len(classes.r)), ends=cutoff,
    ) if found is None else replace(found.task, ends=cutoff)  # fmt: skip
    scored = measured(unscored(pair.expression, pair.constants), pair.expression, pair.constants, task)
    if found is None:
        return Kernel(task, [scored], 0, [], 0.0, 0)
    front = [*found.front, scored]
    return replace(found, task=task, front=front, chosen=len(found.front))


def plain_kernel(
    label: str, variables: Mapping[str, Floats], y: Floats, expression: Expression, constants: Sequence[float],
    ends: float = np.inf,
) -> Kernel:  # fmt: skip
    """A formula that no search wrote, with its error on the rows ``y``."""
    task = TripleTask(
        label=label, x=np.stack(list(variables.values())), y=y, weight=np.ones(len(y)),
        variables=tuple(variables), offset=False, spare=0.0, ends=ends,
    )  # fmt: skip
    fixed = tuple(float(c) for c in constants)
    return Kernel(task, [measured(unscored(expression, fixed), expression, fixed, task)], 0, [], 0.0, 0)


def _triangle_kernels(data: DenseData, model: DenseModel, coefficients: Floats) -> list[Kernel]:
    """One formula for every triple label that has a function left."""
    found = []
    for triangles in data.triangles:
        at = [i for i, term in enumerate(model.triangles) if term.label == triangles.label]
        if not at:
            continue
        near = within(triangles, model.shape.triangles)
        tree, constants = weighted_sum(
            [model.triangles[i].tree for i in at], [float(coefficients[i]) for i in at]
        )
        variables = dict(zip(EDGES, near.x, strict=True))
        zero = np.zeros(near.x.shape[1])
        found.append(plain_kernel(triangles.label, variables, zero, tree, constants, model.shape.triangles))
    return found


def _composition_kernel(data: DenseData, model: DenseModel, coefficients: Floats, residual: Floats) -> Kernel:
    """The composition formula, with what screening takes from all interactions."""
    library = library_of(data)
    trees, weights = [library.trees[i] for i in model.library], [float(c) for c in coefficients]
    tree, constants = weighted_sum(trees, weights) if trees else (Constant(0), (0.0,))
    variables = dict(data.variables)
    if model.shape.screening:
        tree = Call("add", (tree, _screening(len(constants))))
        constants = (*constants, -model.shape.screening)
        variables["interaction"] = interaction_energy(data, model)
    own = np.zeros(len(data.y)) + evaluate_numpy(tree, variables, constants)
    return plain_kernel(COMPOSITION, variables, own + residual, tree, constants)


def _screening(constant: int) -> Expression:
    """(exp(c * n / sites) - 1) * interaction, c being the constant of this number."""
    concentration = Call("div", (Variable("n"), Variable("sites")))
    left = Call("exp", (Call("mul", (Constant(constant), concentration)),))
    return Call("mul", (Call("sub", (left, Number(1.0))), Variable("interaction")))


def interaction_energy(data: DenseData, model: DenseModel) -> Floats:
    """What pair kernels and triangles add up to before they are screened [structure], eV."""
    n_before = one_defect_columns(data).shape[1] + len(model.library)
    _, factors, triangles = np.split(model.coefficients, np.cumsum([n_before, len(model.pairs)]))
    pairs = [pair.scaled(1.0 + float(f)) for pair, f in zip(model.pairs, factors, strict=True)]
    bent = triangle_columns(data, model.triangles, model.shape.triangles) @ triangles
    total: Floats = kernel_sums(data, pairs) + bent
    return total
