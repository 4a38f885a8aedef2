"""Fit the constants of a potential to energies and forces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from defectdb.engine.equation_learner.least_squares import minimise
from defectdb.expressions.arrays import Floats
from defectdb.learn.potential.fitting.tables import Tables
from defectdb.learn.potential.physics.potential import DENSITY, EMBEDDING, PAIR, Model

_HOPELESS = 1e10  # values beyond this, or none at all, are no place to go


AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, slots=True)
class PotentialLoss:
    """Residuals of potentials on given configurations.

    ``tables``: configurations, targets and weights.
    """

    tables: Tables

    def residuals(self, model: Model) -> Floats | None:
        """Scaled errors [row]; None where the potential has no value."""
        state = self.state(model)
        return None if state is None else self._errors(state)

    def both(self, model: Model) -> tuple[Floats, Floats] | None:
        """Scaled errors [row] and their derivatives [row, constant]; None where the potential has no value."""
        state = self.state(model)
        if state is None:
            return None
        return self._errors(state), self._derivatives(model, state)

    def state(self, model: Model) -> tuple[Floats, Floats, Floats, Floats] | None:
        """phi [2, K], rho [2, K], densities [n], F [3, n] on the tables; None where one is not finite."""
        grid = self.tables.grid
        with np.errstate(all="ignore"):
            phi = np.stack(model.pair_term(grid)[:2])
            rho = np.stack(model.density(grid)[:2])
            densities = self.tables.densities(rho[0])
            embedded = np.stack(model.embedded(densities))
        for part in (phi, rho, embedded):
            if not (np.abs(part) < _HOPELESS).all():
                return None
        return phi, rho, densities, embedded

    def _errors(self, state: tuple[Floats, ...]) -> Floats:
        phi, rho, _, embedded = state
        t = self.tables
        pulls = t.pulls(embedded[1], rho[1])
        energy = t.energy_of_phi @ phi[0] + t.frame_sum @ embedded[0]
        return t.without_shifts(np.concatenate([energy, t.force_of_phi @ phi[1] + t.pull @ pulls]) - t.target)

    def _derivatives(self, model: Model, state: tuple[Floats, ...]) -> Floats:
        _, rho, densities, (_, slope, bend) = state
        t = self.tables
        phi_change, phi1_change = model.changes(PAIR, t.grid)
        rho_change, rho1_change = model.changes(DENSITY, t.grid)
        f_change, f1_change = model.changes(EMBEDDING, densities)
        moved = t.densities(rho_change)
        pulls = t.pulls(slope, rho1_change) + t.pulls(bend[:, None] * moved, rho[1])
        columns = [
            np.concatenate([t.energy_of_phi @ phi_change, t.force_of_phi @ phi1_change]),
            np.concatenate([t.frame_sum @ (slope[:, None] * moved), t.pull @ pulls]),
            np.concatenate([t.frame_sum @ f_change, t.pull @ t.pulls(f1_change, rho[1])]),
        ]
        return t.without_shifts(np.concatenate(columns, axis=1))


@dataclass(frozen=True, slots=True)
class ConstantsOf:
    """The same loss as a sum of squares of a model's constants.

    ``model``: whose constants are tried.
    ``loss``: on which configurations.
    """

    model: Model
    loss: PotentialLoss

    def residuals(self, constants: Floats) -> Floats | None:
        """Scaled errors [row]; None where the potential has no value."""
        return self.loss.residuals(self.model.with_constants(constants))

    def both(self, constants: Floats) -> tuple[Floats, Floats] | None:
        """Scaled errors [row] and their derivatives [row, constant]; None where the potential has no value."""
        return self.loss.both(self.model.with_constants(constants))


@dataclass(frozen=True, slots=True)
class Fitted(Generic[AnyModel]):
    """A potential with fitted constants.

    ``potential``: it.
    ``loss``: root of the mean squared residual; infinite where it has no value.
    ``evaluations``: times that residuals were computed.
    """

    potential: AnyModel
    loss: float
    evaluations: int


def fit(
    potential: AnyModel,
    loss: PotentialLoss,
    *,
    iterations: int = 40,
    tolerance: float = 1e-6,
    give_up: Callable[[int, float], bool] | None = None,
) -> Fitted[AnyModel]:
    """The potential with the constants of the nearest minimum."""
    found = minimise(
        ConstantsOf(potential, loss),
        potential.constants,
        iterations=iterations,
        tolerance=tolerance,
        give_up=give_up,
    )
    root = float(np.sqrt(found.loss / max(1, loss.tables.n_rows)))
    return Fitted(potential.with_constants(found.constants), root, found.evaluations)
