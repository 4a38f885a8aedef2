"""A potential of one element as three formulas.

E = sum_i [1/2 sum_j phi(r_ij) + F(rho_i)] with rho_i = sum_j rho(r_ij).

The form of Daw and Baskes (Phys. Rev. B 29, 6443, 1984) and of Finnis and Sinclair (Philos. Mag. A 50, 45, 1984).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.derivatives import derivatives
from defectdb.expressions.expression import Expression

PAIR, DENSITY, EMBEDDING = "phi", "rho", "F"
ROLES = (PAIR, DENSITY, EMBEDDING)
"""The parts of a potential: pair term phi(r), density rho(r), embedding F(rho)."""

VARIABLE: Mapping[str, str] = {PAIR: "r", DENSITY: "r", EMBEDDING: "rho"}
"""Variable of every part: r is the distance in angstrom, rho the density in the unit that the formula gives it."""


class Model(Protocol):
    """What can be fitted: three functions with constants, be they formulas or splines."""

    @property
    def constants(self) -> Floats: ...
    @property
    def cutoff(self) -> float: ...
    def with_constants(self, values: Floats) -> Self: ...
    def pair_term(self, r: Floats) -> tuple[Floats, Floats, Floats]: ...
    def density(self, r: Floats) -> tuple[Floats, Floats, Floats]: ...
    def embedded(self, rho: Floats) -> tuple[Floats, Floats, Floats]: ...
    def changes(self, role: str, points: Floats) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula with its constants.

    ``expression``: the tree.
    ``constants``: values of its constants c0, c1 ...
    """

    expression: Expression
    constants: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """The factor that takes functions of the distance to zero at the cutoff, with two continuous derivatives.

    1 up to ``cutoff - width``, then 1 - 10 x^3 + 15 x^4 - 6 x^5 with x from 0 to 1, 0 from ``cutoff`` on (angstrom).
    """

    cutoff: float
    width: float

    def at(self, r: Floats) -> tuple[Floats, Floats, Floats]:
        """The factor and its first and second derivative at distances ``r`` (angstrom), shaped like them."""
        x = np.clip((r - self.cutoff + self.width) / self.width, 0.0, 1.0)
        value = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x * x)
        slope = -30.0 * (x * (1.0 - x)) ** 2 / self.width
        bend = -60.0 * x * (1.0 - x) * (1.0 - 2.0 * x) / self.width**2
        return value, slope, bend


@dataclass(frozen=True, slots=True)
class Potential:
    """Three formulas and the window that multiplies phi and rho from outside.

    ``phi``, ``rho``: formulas of r (angstrom); phi in eV.
    ``embedding``: formula of rho, in eV.
    ``window``: ends phi and rho at the cutoff.
    """

    phi: Formula
    rho: Formula
    embedding: Formula
    window: Window

    @property
    def parts(self) -> dict[str, Formula]:
        """The formulas by role."""
        return {PAIR: self.phi, DENSITY: self.rho, EMBEDDING: self.embedding}

    @property
    def cutoff(self) -> float:
        """Distance from which phi and rho are nothing, angstrom."""
        return self.window.cutoff

    @property
    def constants(self) -> Floats:
        """All constants, those of phi first, then of rho and of F."""
        return np.array([c for part in self.parts.values() for c in part.constants])

    def with_constants(self, values: Floats) -> Potential:
        """The same formulas with other constants, in the order of ``constants``."""
        parts, at = [], 0
        for part in self.parts.values():
            count = len(part.constants)
            parts.append(replace(part, constants=tuple(float(v) for v in values[at : at + count])))
            at += count
        return Potential(parts[0], parts[1], parts[2], self.window)

    def changes(self, role: str, points: Floats) -> tuple[Floats, Floats]:
        """Derivatives of a part and of its slope by its constants at ``points`` (r, angstrom, or rho), [point, k] each.

        By central differences, exact to some eight digits.
        """
        part = self.parts[role]
        value, slope = np.zeros((2, len(points), len(part.constants)))
        for i, constant in enumerate(part.constants):
            step = 1e-6 * max(abs(constant), 1e-3)
            ends = [
                derivatives(
                    part.expression, VARIABLE[role], points,
                    (*part.constants[:i], constant + sign * step, *part.constants[i + 1 :]),
                )
                for sign in (1.0, -1.0)
            ]  # fmt: skip
            value[:, i], slope[:, i] = ((ends[0][k] - ends[1][k]) / (2 * step) for k in (0, 1))
        if role != EMBEDDING:
            w, w1, _ = (block[:, None] for block in self.window.at(points))
            value, slope = value * w, slope * w + value * w1
        return np.nan_to_num(value), np.nan_to_num(slope)

    def pair_term(self, r: Floats) -> tuple[Floats, Floats, Floats]:
        """phi times the window and its two derivatives at ``r`` (angstrom), in eV."""
        return _windowed(self.phi, self.window, r)

    def density(self, r: Floats) -> tuple[Floats, Floats, Floats]:
        """rho times the window and its two derivatives at ``r`` (angstrom)."""
        return _windowed(self.rho, self.window, r)

    def embedded(self, rho: Floats) -> tuple[Floats, Floats, Floats]:
        """F and its two derivatives at densities ``rho``, in eV; nothing where there is no density: an atom alone."""
        found = derivatives(self.embedding.expression, VARIABLE[EMBEDDING], rho, self.embedding.constants)
        alone = rho == 0.0
        value, slope, bend = (np.where(alone, 0.0, part) for part in found)
        return value, slope, bend


def _windowed(formula: Formula, window: Window, r: Floats) -> tuple[Floats, Floats, Floats]:
    f, f1, f2 = derivatives(formula.expression, "r", r, formula.constants)
    w, w1, w2 = window.at(r)
    return f * w, f1 * w + f * w1, f2 * w + 2.0 * f1 * w1 + f * w2
