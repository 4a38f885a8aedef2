"""The functions of distance of which the pair kernels of a law are made: decays and a damped oscillation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Constant, Expression, complexity, from_prefix
from defectdb.learn.composition.structures import DenseStructures

REACH = 7.0
"""Pairs from here on count nothing, angstrom: at high density farther ones only add noise."""

SHAPES = ("exp neg r", "exp neg div r 2", "exp neg div r 5", "mul exp neg div r 3 cos r")
"""Shapes of a pair kernel in prefix tokens, r in angstrom."""


@dataclass(frozen=True)
class PairFunction:
    """One function of the distance of one kind of pair.

    Attributes:
        label: pair label
        tree: the formula in ``r``, without constants
        values: its mean over the defects: the sum over the structure's pairs by the number of defects [structure]
    """

    label: str
    tree: Expression
    values: Floats

    @property
    def tokens(self) -> int:
        """Length of the formula."""
        return complexity(self.tree)


def pair_functions(data: DenseStructures) -> list[PairFunction]:
    """All shapes of all pair labels, those that vary among the structures."""
    trees = [from_prefix(shape.split()) for shape in SHAPES]
    near = data.pairs.r < REACH
    rows, r, labels = data.pairs.rows[near], data.pairs.r[near], data.pairs.labels[near]
    values = [evaluate_numpy(tree, {"r": r}) for tree in trees]
    n = data.numbers.sum(1)
    found = []
    for label in np.unique(labels):
        own = labels == label
        for tree, each in zip(trees, values, strict=True):
            total = np.bincount(rows[own], each[own], minlength=len(n))
            if total.std() > 0:
                found.append(PairFunction(str(label), tree, total / n))
    return found


def kernel_of(trees: list[Expression]) -> Expression:
    """The sum of the functions, each with a coefficient."""
    terms: list[Expression] = [Call("mul", (Constant(i), tree)) for i, tree in enumerate(trees)]
    whole = terms[0]
    for term in terms[1:]:
        whole = Call("add", (whole, term))
    return whole
