"""A potential of splines: the floor of every formula of the same kind, and a quadratic form that ranks formulas.

Cubic splines with free coefficients for phi, rho and F (Ercolessi and Adams, Europhys. Lett. 26, 583, 1994).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.interpolate import BSpline

from defectdb.expressions.arrays import Floats
from defectdb.learn.potential.fitting.tables import Tables
from defectdb.learn.potential.physics.potential import DENSITY, EMBEDDING, PAIR, Model


@dataclass(frozen=True, slots=True, eq=False)
class Splines:
    """One function as a sum of cubic B-splines.

    ``knots``: all of them, the ends four times.
    ``coefficients`` [k]: of the splines that are free; those left out before (``skipped``) and after them are zero.
    """

    knots: Floats
    coefficients: Floats
    skipped: int = 0

    def basis(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """The free splines and their two derivatives at ``x``, [point, k] each; beyond the ends they go on straight."""
        low, high = float(self.knots[0]), float(self.knots[-1])
        inside = np.clip(x, low, high)
        total, k = len(self.knots) - 4, len(self.coefficients)
        every = BSpline(self.knots, np.eye(total)[:, self.skipped : self.skipped + k], 3)
        value, slope, bend = every(inside), every.derivative(1)(inside), every.derivative(2)(inside)
        beyond = (x - inside)[:, None]
        return value + slope * beyond, slope, np.where(beyond == 0.0, bend, 0.0)

    def at(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """The function and its two derivatives at ``x``, [point] each."""
        value, slope, bend = self.basis(x)
        return value @ self.coefficients, slope @ self.coefficients, bend @ self.coefficients


@dataclass(frozen=True, slots=True, eq=False)
class SplineEam:
    """A potential of three splines; F is one of the root of the density.

    ``phi``, ``rho``: splines of r (angstrom) that end at the cutoff with two continuous derivatives.
    ``embedding``: spline of the root of rho, nothing at no density.
    """

    phi: Splines
    rho: Splines
    embedding: Splines

    @property
    def cutoff(self) -> float:
        """Distance from which phi and rho are nothing, angstrom."""
        return float(self.phi.knots[-1])

    @property
    def constants(self) -> Floats:
        """All coefficients, those of phi first, then of rho and of F."""
        return np.concatenate([part.coefficients for part in (self.phi, self.rho, self.embedding)])

    def with_constants(self, values: Floats) -> Self:
        """The same splines with other coefficients, in the order of ``constants``."""
        a = len(self.phi.coefficients)
        b = a + len(self.rho.coefficients)
        return replace(
            self, phi=replace(self.phi, coefficients=values[:a]), rho=replace(self.rho, coefficients=values[a:b]),
            embedding=replace(self.embedding, coefficients=values[b:]),
        )  # fmt: skip

    def pair_term(self, r: Floats) -> tuple[Floats, Floats, Floats]:
        """phi and its two derivatives at ``r`` (angstrom), in eV."""
        return self._until_end(self.phi, r)

    def density(self, r: Floats) -> tuple[Floats, Floats, Floats]:
        """rho and its two derivatives at ``r`` (angstrom)."""
        return self._until_end(self.rho, r)

    def embedded(self, rho: Floats) -> tuple[Floats, Floats, Floats]:
        """F and its two derivatives at densities ``rho``, in eV."""
        root = np.sqrt(np.maximum(rho, _LEAST_DENSITY))
        f, f1, f2 = self.embedding.at(root)
        slope = f1 / (2.0 * root)
        return f, slope, (f2 - f1 / root) / (4.0 * root * root)

    def changes(self, role: str, points: Floats) -> tuple[Floats, Floats]:
        """Derivatives of a part and of its slope by its coefficients at ``points``, [point, k] each."""
        if role == EMBEDDING:
            root = np.sqrt(np.maximum(points, _LEAST_DENSITY))
            value, slope, _ = self.embedding.basis(root)
            return value, slope / (2.0 * root)[:, None]
        part = {PAIR: self.phi, DENSITY: self.rho}[role]
        value, slope, _ = part.basis(points)
        inside = (points < part.knots[-1])[:, None]
        return value * inside, slope * inside

    @staticmethod
    def _until_end(part: Splines, r: Floats) -> tuple[Floats, Floats, Floats]:
        value, slope, bend = part.at(r)
        inside = r < part.knots[-1]
        return value * inside, slope * inside, bend * inside


_LEAST_DENSITY = 1e-8


def knots(low: float, high: float, pieces: int) -> Floats:
    """Even knots of a cubic spline of ``pieces`` pieces, the ends four times."""
    inner = np.linspace(low, high, pieces + 1)
    return np.concatenate([[low] * 3, inner, [high] * 3])


def splines_like(x: Floats, values: Floats, low: float, high: float, free: int, *, at_end: bool) -> Splines:
    """``free`` splines nearest to a function's ``values`` at ``x``.

    ``at_end``: the function ends smoothly at ``high``; else it starts from nothing at ``low``.
    """
    pieces = free if at_end else free - 2
    start = Splines(knots(low, high, pieces), np.zeros(free), 0 if at_end else 1)
    basis, _, _ = start.basis(x)
    nearest: Floats = np.asarray(np.linalg.lstsq(basis, values, rcond=None)[0], dtype=np.float64)
    return replace(start, coefficients=nearest)


def splines_near(
    model: Model, tables: Tables, cutoff: float, sizes: tuple[int, int, int] = (13, 11, 10)
) -> SplineEam:
    """Splines like another potential, to start a fit from; the largest density of the configurations becomes 1.

    ``sizes``: free coefficients of phi, rho and F.
    """
    r = tables.grid
    phi, rho = model.pair_term(r)[0], model.density(r)[0]
    top = float(tables.densities(rho).max())
    reach = 1.15 * np.linspace(0.0, 1.0, 400)
    inside = np.minimum(r, cutoff)
    return SplineEam(
        splines_like(inside, phi, r[0], cutoff, sizes[0], at_end=True),
        splines_like(inside, rho / top, r[0], cutoff, sizes[1], at_end=True),
        splines_like(
            np.sqrt(reach), model.embedded(top * reach)[0], 0.0, float(np.sqrt(1.15)), sizes[2], at_end=False
        ),
    )
