"""Units of a formula's constants, and whether any make it dimensionally sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm

import numpy as np

from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import Call, Constant, Expression, Number, Variable, n_constants

POWERS = {"neg": 1.0, "abs": 1.0, "inv": -1.0, "square": 2.0, "cube": 3.0, "sqrt": 0.5}
"""Operators that raise their operand's unit to a power; an operand of any unit will do."""

SUMS, PRODUCTS = ("add", "sub"), ("mul", "div")
"""Operators of operands with equal units, and of operands with any; all others take and give pure numbers."""

ENERGY = (0.0, 1.0)
"""Exponents of (angstrom, eV) of a kernel's values, whatever the target: all are in eV."""

_TOLERANCE = 1e-9


def kernel_unit(variable: str) -> tuple[float, ...]:
    """Exponents of (angstrom, eV) of a kernel's variable: distances are lengths, all else is a pure number."""
    return (1.0, 0.0) if variable.startswith(("r", "dz")) else (0.0, 0.0)


def unit_text(unit: Sequence[float] | None) -> str:
    """A unit of (angstrom, eV) for people: ``eV angstrom^-1``, ``1`` for a pure number, ``any`` for one left open."""
    if unit is None:
        return "any"
    powers = [(name, x) for name, x in zip(("eV", "angstrom"), reversed(unit), strict=True) if x]
    return " ".join(name if x == 1 else f"{name}^{x:g}" for name, x in powers) or "1"


def constant_units(
    expression: Expression, variables: Mapping[str, Sequence[float]], value: Sequence[float] | None = None
) -> list[tuple[float, ...] | None] | None:
    """Exponents of the base units of every constant, None for one that may have any; None for an unsound formula.

    ``variables`` gives the exponents of each variable, ``value`` those of the formula (none: whatever comes out).
    Numbers are pure, so a number that stands for a constant with a unit makes a formula unsound.
    """
    size = len(next(iter(variables.values())))
    system = _System(n_constants(expression), size, variables)
    root = system.unit(expression)
    if value is not None:
        system.rows.append(root - np.concatenate([np.zeros(system.n), np.asarray(value, dtype=np.float64)]))
    return system.solved()


class _System:
    """Linear equations for the constants' units; a unit is a row of one factor per constant, then exponents."""

    def __init__(self, n: int, size: int, variables: Mapping[str, Sequence[float]]) -> None:
        self.n, self.size, self.variables = n, size, variables
        self.rows: list[Floats] = []  # units that must be pure

    def unit(self, node: Expression) -> Floats:
        """The unit of a node; what must hold for it is added to the rows."""
        out = np.zeros(self.n + self.size)
        match node:
            case Variable(name):
                out[self.n :] = self.variables[name]
            case Constant(index):
                out[index] = 1.0
            case Call("pow", (base, Number(exponent))):
                out = exponent * self.unit(base)
            case Call(name, args):
                out = self._call(name, [self.unit(arg) for arg in args])
        return out

    def _call(self, name: str, operands: list[Floats]) -> Floats:
        first, last = operands[0], operands[-1]
        if name in POWERS:
            return POWERS[name] * first
        if name in PRODUCTS:
            return first + last if name == "mul" else first - last
        if name in SUMS:
            self.rows.append(first - last)
            return first
        self.rows += operands
        return np.zeros_like(first)

    def solved(self) -> list[tuple[float, ...] | None] | None:
        """The constants' units, None for one that the equations leave open; None where they contradict."""
        rows = np.array(self.rows).reshape(-1, self.n + self.size)
        matrix, right = rows[:, : self.n], -rows[:, self.n :]
        solution, _, rank, _ = np.linalg.lstsq(matrix, right, rcond=None) if matrix.size else (None, 0, 0, 0)
        found = np.zeros((self.n, self.size)) if solution is None else solution
        if np.abs(matrix @ found - right).max(initial=0.0) > _TOLERANCE:
            return None
        _, _, v = np.linalg.svd(matrix) if matrix.size else (0, 0, np.eye(self.n))
        loose = np.abs(v[int(rank) :]).max(axis=0, initial=0.0) > _TOLERANCE
        exact = np.round(found, 9) + 0.0
        return [None if free else tuple(row) for free, row in zip(loose, exact.tolist(), strict=True)]


_DENOMINATOR = 60


def scaled_units(units: Sequence[Sequence[float]]) -> tuple[list[list[int]], int]:
    """Exponents as integers [variable][base unit], and how many steps an exponent of one has.

    Raises UsageError for exponents that are no fractions with small denominators.
    """
    rows = [[Fraction(x).limit_denominator(_DENOMINATOR) for x in row] for row in units]
    for exact, given in (
        (e, g) for pair in zip(rows, units, strict=True) for e, g in zip(*pair, strict=True)
    ):
        if abs(float(exact) - given) > 1e-9:
            raise UsageError(
                f"exponent {given} of a unit is no fraction of small numbers; try {float(exact)!r}"
            )
    step = lcm(*(x.denominator for row in rows for x in row))
    return [[int(x * step) for x in row] for row in rows], step
