"""Chosen formulas in place: what each adds to every structure, its derivatives, and where it must stay quiet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectdb.engine.safety.domain import Domain
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, Number, Variable, substitute
from defectdb.learn.material.structures import TRIPLE_VARIABLES, Block, Triples
from defectdb.learn.material.terms import Corner
from defectdb.schema.records import EVERY_DZ


@dataclass(frozen=True)
class Guard:
    """Part of a formula, as a function of ``variables``, and where it must stay finite and quiet."""

    expression: Expression
    variables: tuple[str, ...]
    domain: Domain

    def shifted(self, by: int) -> Guard:
        """The same of a formula whose constants are counted from ``by`` on."""
        return Guard(substitute(self.expression, {}, by), self.variables, self.domain)

    def holds(self, constants: Sequence[float]) -> bool:
        """Whether it does with these constants."""
        return self.domain.permits(self.expression, constants, self.variables)


@dataclass(frozen=True)
class Part:
    """One formula in place: its variables' values ``x`` at the points and how points add up to structures.

    ``counts`` [structure, point] for pair kernels; for three-body terms ``rows`` [point] names the structure.
    ``guards`` say where the formula, or its factors, must stay finite and quiet whatever the constants become.
    """

    label: str
    order: int
    dz_min: float
    dz_max: float
    expression: Expression
    constants: tuple[float, ...]
    x: dict[str, Floats]
    counts: Floats | None
    rows: NDArray[np.int64] | None
    guards: tuple[Guard, ...] = ()

    def safe(self) -> bool:
        """Whether the formula with these constants obeys its guards."""
        return all(guard.holds(self.constants) for guard in self.guards)

    def spread(self, values: Floats, n: int) -> Floats:
        """Values at the points to sums over structures, [structure, ...]."""
        if self.counts is not None:
            out: Floats = self.counts @ values
            return out
        assert self.rows is not None
        total = np.zeros((n, *values.shape[1:]))
        np.add.at(total, self.rows, values)
        return total

    def values(self) -> Floats:
        """The formula at its points, [point]."""
        return evaluate_numpy(self.expression, self.x, self.constants)

    def contribution(self, n: int) -> Floats:
        """What this term adds to every structure, [structure]."""
        return self.spread(self.values(), n)

    def jacobian(self, n: int) -> Floats:
        """Derivatives of the contribution by the constants, central differences, [structure, constant]."""
        columns = []
        for i, value in enumerate(self.constants):
            step = 1e-6 * max(abs(value), 1e-3)
            sides = []
            for sign in (1.0, -1.0):
                moved = list(self.constants)
                moved[i] += sign * step
                sides.append(evaluate_numpy(self.expression, self.x, moved))
            columns.append((sides[0] - sides[1]) / (2 * step))
        return self.spread(np.stack(columns, axis=1), n) if columns else np.zeros((n, 0))


@dataclass(frozen=True)
class Function:
    """A function of ``r`` with its constants, and the guards of its summands."""

    expression: Expression
    constants: tuple[float, ...]
    guards: tuple[Guard, ...] = ()

    @classmethod
    def guarded(cls, expression: Expression, constants: Sequence[float], domain: Domain) -> Function:
        """One formula that must obey ``domain``."""
        return cls(expression, tuple(constants), (Guard(expression, ("r",), domain),))

    def __add__(self, other: Function) -> Function:
        """The sum, each summand under its own guards."""
        shift = len(self.constants)
        return Function(
            Call("add", (self.expression, substitute(other.expression, {}, shift))),
            self.constants + other.constants,
            self.guards + tuple(guard.shifted(shift) for guard in other.guards),
        )


def pair_part(block: Block, function: Function) -> Part:
    """A chosen kernel in its place."""
    return Part(
        block.label, 2, block.dz_min, block.dz_max, function.expression, function.constants, {"r": block.r},
        block.counts, None, function.guards,
    )  # fmt: skip


def triple_part(
    triples: Triples,
    expression: Expression,
    constants: Sequence[float],
    variables: tuple[str, ...] = TRIPLE_VARIABLES,
    domain: Domain | None = None,
) -> Part:
    """A chosen three-body term of these variables (those of the domain's grid) in its place."""
    x = {v: triples.x[TRIPLE_VARIABLES.index(v)] for v in variables}
    guards = () if domain is None else (Guard(expression, variables, domain),)
    return Part(triples.label, 3, 0.0, EVERY_DZ, expression, tuple(constants), x, None, triples.rows, guards)


def product_part(corner: Corner, first: Function, second: Function) -> Part:
    """The product of a corner's functions in its place; a shared one stands there twice with the same constants."""
    shift = 0 if corner.shared else len(first.constants)
    left = substitute(first.expression, {"r": Variable(corner.edges[0])})
    right = substitute(second.expression, {"r": Variable(corner.edges[1])}, shift)
    whole: Expression = Call("mul", (left, right))
    if corner.sign < 0:
        whole = Call("neg", (whole,))
    constants, guards = first.constants, first.guards
    if not corner.shared:
        constants = constants + second.constants
        guards = guards + tuple(guard.shifted(shift) for guard in second.guards)
    x = dict(zip(corner.edges, (corner.first[corner.at_first], corner.second[corner.at_second]), strict=True))
    return Part(corner.label, 3, 0.0, EVERY_DZ, whole, constants, x, None, corner.rows, guards)


def edge_part(block: Block, triples: Triples, function: Function) -> Part:
    """A function of one kind of edge in its place: w(r_13), or w(r_12) + w(r_13) where like defects share it.

    Where edges lie in two layers, the share of each function falls linearly in |dz| from one to the other: 1 and 0
    in the layers themselves.
    """
    trees: list[Expression] = []
    for edge in block.edges:
        tree = substitute(function.expression, {"r": Variable(edge)})
        if block.heights is not None:
            here, other = block.heights
            height = Variable(f"dz{edge[1:]}")
            rest = Call("sub", (height, Number(other))) if other else height
            tree = Call("mul", (Call("div", (rest, Number(round(here - other, 4)))), tree))
        trees.append(tree)
    whole = trees[0]
    for tree in trees[1:]:
        whole = Call("add", (whole, tree))
    names = [*block.edges, *(f"dz{e[1:]}" for e in block.edges if block.heights is not None)]
    x = {name: triples.x[TRIPLE_VARIABLES.index(name)] for name in names}
    return Part(
        block.label, 3, 0.0, EVERY_DZ, whole, function.constants, x, None, triples.rows, function.guards
    )
