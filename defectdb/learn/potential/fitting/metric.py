"""A quadratic form around a spline potential: what a change of its functions costs, in a fraction of a millisecond.

The residuals of a fitted spline potential are linearised in the values that phi, rho and F have at a few dozen points
each, between which they are splines. Two freedoms leave a potential what it is: rho -> s rho with F(rho) -> F(rho / s),
for which a trial has a number of its own, and phi -> phi + 2 g rho with F -> F - g rho, to which the form is blind
because the residuals are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.interpolate import BSpline

from defectdb.engine.equation_learner.least_squares import Objective
from defectdb.engine.equation_learner.networks import Built, Network
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.learn.potential.fitting.fit import PotentialLoss
from defectdb.learn.potential.fitting.spline_eam import SplineEam, knots
from defectdb.learn.potential.physics.guards import faults
from defectdb.learn.potential.physics.potential import Formula, Potential, Window

_POINTS = (64, 64, 32)  # of phi, rho and F
_KEPT = 1e-12  # share of the largest eigenvalue below which a direction costs nothing
_HOPELESS = 1e8


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """The quadratic form: residuals ``rows @ [phi, rho, F] - target``.

    ``distances`` [K] (angstrom), ``densities`` [D]: where the functions are looked at; densities in units of the
    splines.
    ``window`` [K]: the factor that ends phi and rho.
    ``rows`` [row, 2 K + D], ``target`` [row].
    ``floor``: part of the sum of squared residuals that no functions can undercut.
    ``rho`` [K]: density function of the splines.
    ``n_rows``: residuals that the sums of squares are about.
    """

    distances: Floats
    densities: Floats
    window: Floats
    rows: Floats
    target: Floats
    floor: float
    rho: Floats
    n_rows: int


def metric_of(spline: SplineEam, loss: PotentialLoss, window: Window) -> Metric:
    """The form around fitted splines. Raises AssertionError where they have no value on their own data."""
    t = loss.tables
    state = loss.state(spline)
    assert state is not None
    _, rho, at_atoms, (_, slope, bend) = state
    ends = [(t.grid[0], window.cutoff)] * 2 + [(0.98 * float(at_atoms.min()), 1.02 * float(at_atoms.max()))]
    lines = [knots(low, high, count - 3) for (low, high), count in zip(ends, _POINTS, strict=True)]
    points = [np.array([line[i + 1 : i + 4].mean() for i in range(len(line) - 4)]) for line in lines]
    inside = np.minimum(t.grid, window.cutoff)
    bases = [_basis(line, x) for line, x in zip(lines, (inside, inside, at_atoms), strict=True)]
    beyond = (t.grid < window.cutoff)[:, None]
    (phi, phi1), (rho_b, rho1_b) = ((v * beyond, d * beyond) for v, d in bases[:2])
    f, f1 = bases[2]
    moved = t.densities(rho_b)
    pulls = t.pulls(slope, rho1_b) + t.pulls(bend[:, None] * moved, rho[1])
    slopes = t.without_shifts(
        np.concatenate(
            [
                np.concatenate([t.energy_of_phi @ phi, t.force_of_phi @ phi1]),
                np.concatenate([t.frame_sum @ (slope[:, None] * moved), t.pull @ pulls]),
                np.concatenate([t.frame_sum @ f, t.pull @ t.pulls(f1, rho[1])]),
            ],
            axis=1,
        )
    )
    to_coefficients = sparse.block_diag(
        [np.linalg.inv(_basis(line, x)[0]) for line, x in zip(lines, points, strict=True)]
    ).toarray()
    values = np.concatenate(
        [spline.pair_term(points[0])[0], spline.density(points[1])[0], spline.embedded(points[2])[0]]
    )
    errors = loss.residuals(spline)
    assert errors is not None
    size, vectors = np.linalg.eigh(slopes.T @ slopes)
    kept = size > _KEPT * size[-1]
    root, vectors = np.sqrt(size[kept]), vectors[:, kept]
    rows = (root[:, None] * vectors.T) @ to_coefficients
    explained = (vectors.T @ (slopes.T @ errors)) / root
    floor = max(0.0, float(errors @ errors - explained @ explained))
    return Metric(
        points[0], points[2], window.at(points[0])[0], rows, rows @ values - explained, floor,
        spline.density(points[1])[0], len(errors),
    )  # fmt: skip


def _basis(line: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Cubic B-splines over the knots ``line`` and their slopes at ``x``, [point, spline] each."""
    every = BSpline(line, np.eye(len(line) - 4), 3)
    return every(x), every.derivative(1)(x)


@dataclass(frozen=True, slots=True, eq=False)
class MetricObjective:
    """The form as a sum of squares of the constants of phi, rho and F and, last, of the density's scale."""

    metric: Metric
    functions: tuple[Built, ...]

    def residuals(self, constants: Floats) -> Floats | None:
        """Residuals [row]; None where a function has no value."""
        values = [self._values(i, part, constants[-1]) for i, part in enumerate(self._parts(constants))]
        together = np.concatenate(values)
        if not (np.abs(together) < _HOPELESS).all():
            return None
        return np.append(self.metric.rows @ together - self.metric.target, np.sqrt(self.metric.floor))

    def both(self, constants: Floats) -> tuple[Floats, Floats] | None:
        """Residuals [row] and their derivatives [row, constant]; None where a function has no value."""
        parts, s = self._parts(constants), float(constants[-1])
        values = [self._values(i, part, s) for i, part in enumerate(parts)]
        together = np.concatenate(values)
        if not (np.abs(together) < _HOPELESS).all():
            return None
        m, k = self.metric, len(self.metric.distances)
        blocks = (slice(0, k), slice(k, 2 * k), slice(2 * k, None))
        change = np.zeros((len(together), len(constants)))
        column = 0
        for i, part in enumerate(parts):
            for j in range(len(part)):
                step = 1e-6 * max(abs(part[j]), 1e-3)
                moved = part.copy()
                moved[j] += step
                change[blocks[i], column] = (self._values(i, moved, s) - values[i]) / step
                column += 1
        step = 1e-6 * s
        for i in (1, 2):
            change[blocks[i], -1] = (self._values(i, parts[i], s + step) - values[i]) / step
        slopes = np.zeros((len(m.rows) + 1, len(constants)))
        slopes[:-1] = m.rows @ change
        return np.append(m.rows @ together - m.target, np.sqrt(m.floor)), slopes

    def _parts(self, constants: Floats) -> list[Floats]:
        ends = np.cumsum([len(f.start) for f in self.functions])
        return np.split(constants[:-1], ends[:-1])

    def _values(self, which: int, constants: Floats, scale: float) -> Floats:
        """Values of phi, rho or F at the form's points."""
        m, expression = self.metric, self.functions[which].expression
        if not scale > 0.0:
            return np.full(len(m.densities if which == 2 else m.distances), np.nan)
        if which == 2:
            return evaluate_numpy(expression, {"rho": m.densities / scale}, constants.tolist())
        with np.errstate(all="ignore"):  # what grows beyond all numbers counts as no value
            values = evaluate_numpy(expression, {"r": m.distances}, constants.tolist()) * m.window
            return scale * values if which == 1 else values


@dataclass(frozen=True, slots=True, eq=False)
class MetricTask:
    """Search for the three functions of a potential under the quadratic form.

    ``metric``: the form.
    ``window``: ends phi and rho at the cutoff.
    ``networks``: of phi, rho and F.
    """

    metric: Metric
    window: Window
    networks: tuple[Network, ...]

    def potential(self, functions: Sequence[Built], constants: Floats | None = None) -> Potential:
        """The potential of three functions."""
        parts = [Formula(f.expression, tuple(f.start.tolist())) for f in functions]
        found = Potential(parts[0], parts[1], parts[2], self.window)
        return found if constants is None else found.with_constants(constants)

    def objective(self, functions: Sequence[Built]) -> Objective:
        """The form as a sum of squares of the functions' constants and of the density's scale."""
        return MetricObjective(self.metric, tuple(functions))

    def start(self, functions: Sequence[Built]) -> Floats:
        """The scale that brings the density nearest to that of the splines."""
        rho = functions[1]
        with np.errstate(all="ignore"):
            own = (
                evaluate_numpy(rho.expression, {"r": self.metric.distances}, rho.start.tolist())
                * self.metric.window
            )
            scale = float(own @ self.metric.rho) / max(float(own @ own), 1e-300)
        return np.array([scale if np.isfinite(scale) and scale > 0 else 1.0])

    def permits(self, functions: Sequence[Built], constants: Floats) -> bool:
        """Whether the potential is safe to run, with densities in its own unit."""
        potential = self.potential(functions, constants[:-1])
        return not faults(potential, float(self.metric.densities[-1]) / float(constants[-1]))
