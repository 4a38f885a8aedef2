"""Whether the search finds the formulas that made the data: Lennard-Jones and Sutton-Chen on the geometries of copper.

Energies and forces of the copper set's training configurations are replaced by those of a known potential; fixed forms
take no part. Columns: structure found, constants, largest and mean error of the forces (eV/angstrom).
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from defectdb.engine.equation_learner.learner import Learner, LearnerSettings
from defectdb.engine.equation_learner.networks import structure_text
from defectdb.learn.potential.fitting.baselines import baselines, formula
from defectdb.learn.potential.fitting.fit import PotentialLoss, fit
from defectdb.learn.potential.fitting.metric import MetricTask, metric_of
from defectdb.learn.potential.fitting.tables import tables
from defectdb.learn.potential.fitting.weights import Scales, weights
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import neighbours
from defectdb.learn.potential.physics.potential import Potential, Window
from defectdb.learn.potential.search import form_centre, spline_reference
from defectdb.learn.potential.spaces import networks

_DEPTH, _SIZE = 0.415, 2.315  # eV, angstrom: copper's, about
_REFINED = 30  # candidates


def lennard_jones(window: Window) -> Potential:
    """4 e (s^12 r^-12 - s^6 r^-6), its attraction as a density of which F is a multiple."""
    return Potential(
        formula("mul c0 pow r neg c1", 4 * _DEPTH * _SIZE**12, 12.0), formula("pow r neg c0", 6.0),
        formula("mul c0 rho", -2 * _DEPTH * _SIZE**6), window,
    )  # fmt: skip


def recovery(frames: Frames, window: Window, playouts: int, seeds: int) -> None:
    """Print one row per potential and seed."""
    forms = {form.name: form.potential for form in baselines(window)}
    near = neighbours(frames, window.cutoff)
    print(
        f"{'truth':<14} {'seed':>4} {'max force':>9} {'mean':>9} {'CPU s':>6}  structure, constants",
        flush=True,
    )
    for name, truth in (
        ("Lennard-Jones", lennard_jones(window)),
        ("Sutton-Chen", forms["Sutton-Chen, refitted"]),
    ):
        made = predict(truth, frames, near)
        known = replace(
            frames, energies=made.energies, forces=made.forces, atoms_zero=(True,) * len(frames.sources)
        )
        loss = PotentialLoss(tables(known, near, weights(known, Scales())))
        metric = metric_of(form_centre(spline_reference(loss, window).potential, loss), loss, window)
        task = MetricTask(metric, window, networks(float(loss.tables.grid[0]), window.cutoff))
        for seed in range(seeds):
            began = time.process_time()
            settings = LearnerSettings(max_constants=4, playouts=playouts, time_limit=600.0, seed=seed)
            found = Learner(task, settings).run()
            refined = [
                (
                    fit(task.potential(c.functions, c.constants), loss, iterations=100, tolerance=1e-12),
                    c.structure,
                )
                for c in found.candidates[:_REFINED]
            ]
            best, structure = min(refined, key=lambda pair: pair[0].loss)
            errors = np.abs(predict(best.potential, known, near).forces - known.forces)
            constants = " ".join(f"{c:.5g}" for c in best.potential.constants)
            print(
                f"{name:<14} {seed:>4} {errors.max():>9.1e} {errors.mean():>9.1e} "
                f"{time.process_time() - began:>6.1f}  {structure_text(structure)}: {constants}",
                flush=True,
            )
