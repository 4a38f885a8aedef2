"""Turn the fitted table of a pair label into the search of a formula, and into the formula of few points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Constant, Expression, Number, Variable, n_constants
from defectdb.learn.dense.structures import SAME, PairClasses
from defectdb.learn.pairs.kernel_task import MIN_ROWS, Kernel, TableTask

NOTHING = 1.0
"""A table whose values are missed by less than this, in units of the noise, is no interaction."""

FAR = 4.0
"""A formula that misses the table by more than this, in units of the noise, is too far from it."""

LONGEST_SERIES = 6
"""Terms of a series in 1/r."""

MOVES = 0.1
"""Share of a table's range by which a series may change within one distance class."""

SPARE = 0.5
"""A simpler formula may miss the table by so much more than the best one, in units of the noise."""


@dataclass(frozen=True)
class PairFormula:
    """A pair kernel with its front.

    Attributes:
        classes: the pairs it is about
        kernel: the search that found it; None where there were too few distances for one
        expression, constants: f(r), eV
    """

    classes: PairClasses
    kernel: Kernel | None
    expression: Expression
    constants: tuple[float, ...]

    def values(self) -> Floats:
        """The kernel at its classes [class], eV."""
        return np.zeros(len(self.classes.r)) + evaluate_numpy(
            self.expression, {"r": self.classes.r}, self.constants
        )

    def scaled(self, factor: float) -> PairFormula:
        """The kernel times a factor: in its first constant where that is a coefficient of all, else as a new one."""
        if factor == 1.0:
            return self
        at = len(self.constants)
        tree = Call("mul", (Constant(at), self.expression))
        return PairFormula(self.classes, self.kernel, tree, (*self.constants, factor))


def table_task(classes: PairClasses, values: Floats, precision: Floats, cutoff: float) -> TableTask | None:
    """The search of a formula near ``values`` [class] under the metric ``precision``; None where they are nothing."""
    if float(values @ precision @ values) < NOTHING:
        return None
    root = np.linalg.cholesky(
        precision + 1e-9 * np.trace(precision) / len(precision) * np.eye(len(precision))
    )
    return TableTask(
        label=classes.label, dz_min=classes.dz_min, dz_max=classes.dz_max, x=classes.r[None], y=root.T @ values,
        weight=np.ones(len(values)), mixing=np.ascontiguousarray(root.T), values=values,
        frequency=classes.counts.sum(0), spare=SPARE, cutoff=cutoff,
    )  # fmt: skip


def has_few_points(task: TableTask) -> bool:
    """Whether a search would only give a constant."""
    return len(task.r) < MIN_ROWS


def power_series(task: TableTask, classes: PairClasses) -> PairFormula:
    """The shortest smooth series a + b/r + c/r^2 ... near the table; the nearest smooth one where none is near.

    Smooth is a series that moves by no more than ``MOVES`` of the table's range where a distance moves by as much as
    those of one class may differ: a series through every point of a noisy table swings between them.
    """
    tree: Expression = Constant(0)
    powers = task.r[:, None] ** -np.arange(float(min(len(task.r), LONGEST_SERIES)))
    allowed = MOVES * max(float(np.ptp(task.values)), float(np.abs(task.values).max()))
    best: PairFormula | None = None
    least = np.inf
    for n in range(1, powers.shape[1] + 1):
        if n > 1:
            tree = Call("add", (tree, Call("mul", (Constant(n - 1), _power(n - 1)))))
        root = task.mixing @ powers[:, :n]
        size = np.sqrt((root**2).sum(0))
        found = np.linalg.lstsq(root / size, task.y, rcond=1e-14)[0] / size
        misfit = float(((task.y - root @ found) ** 2).sum())
        slope = np.abs(powers[:, :n] / task.r[:, None] @ (np.arange(n) * found))
        if misfit < least and (n == 1 or float(slope.max()) * SAME <= allowed):
            best, least = PairFormula(classes, None, tree, tuple(float(c) for c in found)), misfit
        if least < SPARE:
            break
    assert best is not None
    return best


def _power(n: int) -> Expression:
    """r to the power -n."""
    inverse: Expression = Call("inv", (Variable("r"),))
    whole = inverse
    for _ in range(n - 1):
        whole = Call("mul", (whole, inverse))
    return whole


def formula_of(kernel: Kernel, classes: PairClasses) -> PairFormula:
    """The chosen formula of a search; the power series where all of the front stay far from the table."""
    best, task = kernel.best, kernel.task
    assert isinstance(task, TableTask)
    if best.mse * len(task.y) > FAR:
        return replace(power_series(task, classes), kernel=kernel)
    return PairFormula(classes, kernel, best.expression, best.constants)


def weighted_sum(trees: list[Expression], weights: list[float]) -> tuple[Expression, tuple[float, ...]]:
    """The sum of trees without constants, each with a coefficient."""
    whole: Expression | None = None
    for i, tree in enumerate(trees):
        assert n_constants(tree) == 0
        term: Expression = Constant(i) if tree == Number(1.0) else Call("mul", (Constant(i), tree))
        whole = term if whole is None else Call("add", (whole, term))
    assert whole is not None
    return whole, tuple(weights)
