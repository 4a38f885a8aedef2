"""A law of gaps or levels: functions of the composition and of pairs, chosen together, and its formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats, Integers
from defectdb.expressions.expression import Call, Constant, Expression, Variable
from defectdb.learn.composition.library import Function
from defectdb.learn.composition.pair_functions import PairFunction, kernel_of
from defectdb.learn.composition.selection import Law, choose, left_out


@dataclass(frozen=True)
class GapLaw:
    """A chosen law.

    Attributes:
        functions: chosen functions of the composition
        pairs: chosen functions of pairs
        offset: the constant, eV
        weights: coefficients of ``functions``, then of ``pairs``, eV
        residual: target less the law [structure], eV
        residual_cv: the same of laws chosen and fitted without the structure's fold [structure], eV
    """

    functions: tuple[Function, ...]
    pairs: tuple[PairFunction, ...]
    offset: float
    weights: tuple[float, ...]
    residual: Floats
    residual_cv: Floats

    def formula(self) -> tuple[Expression, tuple[float, ...]]:
        """The part in the composition alone, with its constants."""
        whole: Expression = Constant(0)
        for i, function in enumerate(self.functions, start=1):
            whole = Call("add", (whole, Call("mul", (Constant(i), function.tree))))
        return whole, (self.offset, *self.weights[: len(self.functions)])

    def kernels(self) -> dict[str, tuple[Expression, tuple[float, ...]]]:
        """Pair label to kernel and constants."""
        found = {}
        weights = self.weights[len(self.functions) :]
        for label in dict.fromkeys(pair.label for pair in self.pairs):
            own = [i for i, pair in enumerate(self.pairs) if pair.label == label]
            tree = kernel_of([self.pairs[i].tree for i in own])
            found[label] = (tree, tuple(weights[i] for i in own))
        return found


def learn_law(
    y: Floats, fold: Integers, functions: Sequence[Sequence[Function]], pairs: Sequence[PairFunction] = ()
) -> GapLaw:
    """The law of the target ``y`` [structure]: groups of ``functions`` are offered in turn, each with those before it,
    without and with ``pairs``; a longer offer must pay in cross-validation.
    """
    every = [function for group in functions for function in group]
    candidates: list[Function | PairFunction] = [*every, *pairs]
    x = np.column_stack([c.values for c in candidates])
    tokens = np.array([float(c.tokens) for c in candidates])
    subsets = _offers([len(group) for group in functions], len(pairs))
    law = choose(x, y, tokens, fold, subsets)
    blind = left_out(x, y, tokens, fold, subsets)
    return _law_of(law, every, pairs, y - law.predict(x), blind)


def _offers(sizes: Sequence[int], n_pairs: int) -> list[Integers]:
    """Indices of the candidates that are offered together, shortest first."""
    ends = np.cumsum(sizes)
    behind = np.arange(ends[-1], ends[-1] + n_pairs)
    offers = []
    for end in ends:
        offers.append(np.arange(end))
        if n_pairs:
            offers.append(np.concatenate([np.arange(end), behind]))
    return offers


def _law_of(
    law: Law, every: Sequence[Function], pairs: Sequence[PairFunction], residual: Floats, blind: Floats
) -> GapLaw:
    weights = dict(zip(law.chosen, (float(c) for c in law.coefficients), strict=True))
    own = sorted(i for i in law.chosen if i < len(every))
    of_pairs = sorted(i for i in law.chosen if i >= len(every))
    return GapLaw(
        tuple(every[i] for i in own),
        tuple(pairs[i - len(every)] for i in of_pairs),
        law.offset,
        tuple(weights[i] for i in (*own, *of_pairs)),
        residual,
        blind,
    )


def mean_over_defects(law: Expression) -> Expression:
    """law + v/n - v: what pairs add up to counts once for every defect, so that it does not grow with the cell."""
    value = Variable("v")
    return Call("add", (law, Call("sub", (Call("div", (value, Variable("n"))), value))))
