"""Tree search, many starts and SEGVAE for one potential under the same quadratic form, at the same number of trials.

Columns: the lowest loss of potentials with up to six constants in the quadratic form and under the true loss, in units
of the splines' own loss; every seed a row. Then whether the search finds the formulas that made synthetic data.
Needs the copper set of ``$DEFECTDB_DATA/copper``.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

from benchmarks.potential_recovery import recovery
from defectdb.db import open_database
from defectdb.engine.equation_learner.learner import Learner, LearnerSettings
from defectdb.engine.equation_learner.networks import structure_text
from defectdb.ingest import load
from defectdb.learn.potential.fitting.fit import PotentialLoss, fit
from defectdb.learn.potential.fitting.metric import MetricTask, metric_of
from defectdb.learn.potential.learn import PotentialConfig, prepare
from defectdb.learn.potential.physics.potential import Potential, Window
from defectdb.learn.potential.search import form_centre, spline_reference
from defectdb.learn.potential.segvae_parts import segvae_potentials
from defectdb.learn.potential.spaces import networks

DATA = Path(os.environ.get("DEFECTDB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SEEDS = int(os.environ.get("BENCH_SEEDS", "3"))
EVALUATIONS = int(os.environ.get("BENCH_EVALUATIONS", "10000"))
CONSTANTS = 6
PLAYOUTS = 3000  # to find the formulas of synthetic data
WINDOW = Window(6.0, 1.5)


def main() -> None:
    """Print one row per engine and seed."""
    source = DATA / "copper" / "cu_poet.extxyz.gz"
    if not source.exists():
        print(f"{source} is not there", file=sys.stderr)
        return
    with open_database(":memory:") as db:
        load(db, [source])
        ready = prepare(db, PotentialConfig("Cu"))
    loss = ready.loss
    spline = spline_reference(loss, WINDOW)
    metric = metric_of(form_centre(spline.potential, loss), loss, WINDOW)
    task = MetricTask(metric, WINDOW, networks(float(loss.tables.grid[0]), WINDOW.cutoff))
    floor = spline.loss
    print(f"splines of {len(spline.potential.constants)} numbers: loss {floor:.4f}; others relative to it")
    print(
        f"{'engine':<12} {'seed':>4} {'form':>7} {'true':>7} {'trials':>7} {'CPU s':>6}  structure",
        flush=True,
    )
    for seed in range(SEEDS):
        spent = 0.0
        for strategy in ("tree", "multistart"):
            began = time.process_time()
            settings = LearnerSettings(
                strategy=strategy, max_constants=CONSTANTS, playouts=10**6, evaluations=EVALUATIONS,
                time_limit=math.inf, seed=seed,
            )  # fmt: skip
            found = Learner(task, settings).run()
            spent = time.process_time() - began
            starts = [(task.potential(c.functions, c.constants), c.loss) for c in found.candidates[:8]]
            text = structure_text(found.candidates[0].structure)
            _row(strategy, seed, starts, loss, floor, found.evaluations, spent, text)
        began = time.process_time()
        pairs = segvae_potentials(metric, spline.potential, WINDOW, CONSTANTS, spent, seed)
        _row("segvae", seed, pairs[:8], loss, floor, 0, time.process_time() - began, "")
    recovery(ready.train, WINDOW, PLAYOUTS, SEEDS)


def _row(
    engine: str, seed: int, found: list[tuple[Potential, float]], loss: PotentialLoss, floor: float, trials: int,
    seconds: float, text: str,
) -> None:  # fmt: skip
    if not found:
        print(f"{engine:<12} {seed:>4} nothing", flush=True)
        return
    form = math.sqrt(found[0][1] / loss.tables.n_rows) / floor
    true = min(fit(potential, loss, iterations=25).loss for potential, _ in found) / floor
    print(f"{engine:<12} {seed:>4} {form:>7.3f} {true:>7.3f} {trials:>7} {seconds:>6.1f}  {text}", flush=True)
