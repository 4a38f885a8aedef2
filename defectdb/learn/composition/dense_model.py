"""The model of a gap or level that is known of dense structures alone: a law of the composition and of close pairs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np

from defectdb.engine.finishing.scored import Scored, criterion
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, complexity
from defectdb.learn.composition.law import GapLaw, learn_law, mean_over_defects
from defectdb.learn.composition.library import (
    counting_texts,
    electron_texts,
    function_of,
    product_texts,
    usable,
)
from defectdb.learn.composition.pair_functions import REACH, pair_functions
from defectdb.learn.composition.structures import DenseStructures
from defectdb.learn.job import Job
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.schema.labels import COMPOSITION, join_labels
from defectdb.schema.records import TermRecord


def dense_law(data: DenseStructures) -> GapLaw:
    """The law of the structures: counts and electrons, then products of them, each without and with pairs."""
    groups = counting_texts(data.kinds, float(data.sites.mean()))
    simple = [text for texts in groups for text in texts] + electron_texts(data.kinds)
    first = usable([function_of(text, data.variables) for text in simple])
    more = usable([*first, *(function_of(text, data.variables) for text in product_texts(groups))])
    known = {id(function) for function in first}
    return learn_law(
        data.y, data.fold, [first, [f for f in more if id(f) not in known]], pair_functions(data)
    )


def dense_terms(job: Job, data: DenseStructures, law: GapLaw) -> tuple[list[Kernel], list[TermRecord]]:
    """The law as the terms of a model that adds up: formulas, and the values 0 of defects and of pairs without one."""
    tree, constants = law.formula()
    mean = np.zeros(len(data.y))
    blind = float(np.abs(law.residual_cv).mean())
    kernels = []
    for label, (kernel, weights) in law.kernels().items():
        own = (data.pairs.labels == label) & (data.pairs.r < REACH)
        r = data.pairs.r[own]
        values = evaluate_numpy(kernel, {"r": r}, weights)
        mean += np.bincount(data.pairs.rows[own], values, minlength=len(mean)) / data.numbers.sum(1)
        kernels.append(formula_kernel(job, label, {"r": r}, values, kernel, weights, ends=REACH))
    variables = dict(data.variables)
    if kernels:
        tree = mean_over_defects(tree)
        variables["v"] = mean * data.numbers.sum(1)
    y = data.y - variables.get("v", 0.0)
    kernels.append(formula_kernel(job, COMPOSITION, variables, y, tree, constants, blind=blind))
    values_of = [TermRecord(order=1, label=kind, value=0.0) for kind in data.kinds]
    labels = {join_labels(pair) for pair in combinations_with_replacement(data.kinds, 2)}
    acting = {kernel.task.label for kernel in kernels}
    values_of += [TermRecord(order=2, label=label, value=0.0) for label in sorted(labels - acting)]
    return kernels, values_of


def formula_kernel(
    job: Job, label: str, variables: Mapping[str, Floats], y: Floats, tree: Expression,
    constants: tuple[float, ...], *, blind: float = np.nan, ends: float = np.inf,
) -> Kernel:  # fmt: skip
    """A formula that no search wrote, with its errors on the rows ``y`` [row]; ``blind`` (eV) is the left-out one."""
    task = KernelTask(
        label=label, x=np.stack(list(variables.values())), y=y, weight=np.ones(len(y)), config=job.config,
        variables=tuple(variables), ends=ends,
    )  # fmt: skip
    error = y - evaluate_numpy(tree, variables, constants)
    mse = float((error**2).mean())
    bic = criterion(max(mse, 1e-24), len(y), len(constants))
    scored = Scored(
        tree, constants, complexity(tree), mse, float(np.abs(error).mean()), blind, np.nan, bic, ()
    )
    return Kernel(task, [scored], 0, [], 0.0, 0)
