"""Known potentials are found again from energies and forces that they made."""

from __future__ import annotations

import numpy as np
import pytest
from support.shaken_cells import shaken, with_numbers

from defectdb.engine.equation_learner.learner import Learner, LearnerSettings
from defectdb.engine.equation_learner.networks import Network
from defectdb.learn.potential.fitting.baselines import baselines, formula
from defectdb.learn.potential.fitting.fit import PotentialLoss, fit
from defectdb.learn.potential.fitting.metric import MetricTask, metric_of
from defectdb.learn.potential.fitting.tables import tables
from defectdb.learn.potential.fitting.weights import Scales, weights
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.neighbours import neighbours
from defectdb.learn.potential.physics.potential import DENSITY, EMBEDDING, PAIR, Potential, Window
from defectdb.learn.potential.search import form_centre, spline_reference

WINDOW = Window(5.0, 1.5)
LENNARD_JONES = Potential(
    formula("mul c0 pow r neg c1", 39000.0, 12.0), formula("pow r neg c0", 6.0), formula("mul c0 rho", -128.0), WINDOW
)  # fmt: skip
SUTTON_CHEN = next(form.potential for form in baselines(WINDOW) if form.name == "Sutton-Chen, refitted")


@pytest.mark.parametrize("truth", [LENNARD_JONES, SUTTON_CHEN], ids=["Lennard-Jones", "Sutton-Chen"])
def test_the_formulas_that_made_the_data_are_found_among_powers_and_exponentials(truth: Potential) -> None:
    frames = with_numbers(shaken(count=8, size=(2, 1, 1), strain=0.04), truth)
    near = neighbours(frames, WINDOW.cutoff)
    loss = PotentialLoss(tables(frames, near, weights(frames, Scales())))
    metric = metric_of(form_centre(spline_reference(loss, WINDOW).potential, loss), loss, WINDOW)
    r = (("r",), (float(loss.tables.grid[0]),), (WINDOW.cutoff,))
    task = MetricTask(metric, WINDOW, (
        Network(PAIR, *r, units=("exp", "power"), slots=1, products=False),
        Network(DENSITY, *r, units=("exp", "power"), slots=1, unit_amplitude=True, products=False),
        Network(EMBEDDING, ("rho",), (0.0,), (1.0,), units=("root", "identity"), slots=1, products=False),
    ))  # fmt: skip
    found = Learner(task, LearnerSettings(max_constants=4, playouts=60, seed=0)).run()
    fits = [
        fit(task.potential(c.functions, c.constants), loss, iterations=1000, tolerance=1e-14)
        for c in found.candidates
    ]
    best = min(fits, key=lambda one: one.loss)
    assert np.abs(predict(best.potential, frames, near).forces - frames.forces).max() < 1e-3
    assert np.allclose(best.potential.constants[1:3], truth.constants[1:3], rtol=1e-2)
