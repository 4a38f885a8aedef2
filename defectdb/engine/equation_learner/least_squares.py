"""Levenberg and Marquardt's method for the constants of a formula (J. Soc. Ind. Appl. Math. 11, 431, 1963)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from defectdb.expressions.arrays import Floats

_TRIES = 8  # times that a step is shortened before the place counts as a minimum


class Objective(Protocol):
    """A sum of squares of some constants."""

    def residuals(self, constants: Floats) -> Floats | None:
        """Scaled errors [row]; None where the formula has no value."""

    def both(self, constants: Floats) -> tuple[Floats, Floats] | None:
        """Scaled errors [row] and their derivatives [row, constant]; None where the formula has no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """Where the method stopped.

    ``constants`` [k]: there.
    ``loss``: sum of squared residuals there, infinite where the start had no value.
    ``evaluations``: times that residuals were computed.
    """

    constants: Floats
    loss: float
    evaluations: int


def minimise(
    objective: Objective,
    start: Floats,
    *,
    iterations: int = 40,
    tolerance: float = 1e-6,
    give_up: Callable[[int, float], bool] | None = None,
) -> Minimum:
    """The nearest minimum; every constant is scaled by the norm of its column of derivatives.

    It ends when a step gains less than the share ``tolerance``. ``give_up`` is asked before every step with the steps
    made and the loss.
    """
    with np.errstate(all="ignore"):  # what grows beyond all numbers counts as no value
        return _descend(objective, np.asarray(start, dtype=np.float64), iterations, tolerance, give_up)


def _descend(
    objective: Objective,
    here: Floats,
    iterations: int,
    tolerance: float,
    give_up: Callable[[int, float], bool] | None,
) -> Minimum:
    now = objective.both(here)
    evaluations = 1
    if now is None:
        return Minimum(here, float("inf"), evaluations)
    errors, slopes = now
    loss, damping = float(errors @ errors), 1e-2
    for step_number in range(iterations):
        if not len(here) or (give_up is not None and give_up(step_number, loss)):
            break
        gradient, normal = slopes.T @ errors, slopes.T @ slopes
        if not (np.isfinite(gradient).all() and np.isfinite(normal).all()):
            break
        scale = np.diag(normal) + 1e-12 * np.trace(normal) + 1e-30
        gained = 0.0
        for _ in range(_TRIES):
            trial = here - np.linalg.solve(normal + np.diag(damping * scale), gradient)
            found = objective.residuals(trial)
            evaluations += 1
            new = np.inf if found is None else float(found @ found)
            if new < loss:
                gained, damping = loss - new, max(damping / 5.0, 1e-10)
                here, loss = trial, new
                break
            damping *= 4.0
        if gained <= tolerance * loss:
            break
        again = objective.both(here)
        if again is None:
            break
        errors, slopes = again
    return Minimum(here, loss, evaluations)
