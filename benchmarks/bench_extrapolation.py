"""Pair kernels fitted to distances below 9 angstrom and judged beyond: formulas, named laws, look-up, spline.

The formulas' forms are those of the stored front, which has seen all distances; constants and choice (least BIC among
the safe ones) know the near distances alone, and once more these and one row that says that the interaction is zero
beyond. Laws know the near distances. `python -m benchmarks extrapolation` needs
$DEFECTDB_BENCH: a database with a model front of formation energies of one material.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from defectdb.db import Database, open_database
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, from_ast, variables
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import Job, settle
from defectdb.learn.judging.fitted_laws import fit_laws
from defectdb.learn.pairs.kernel_task import MIN_ROWS, PairTask
from defectdb.learn.pairs.law_fits import fitted
from defectdb.learn.pairs.skeleton import skeleton_of
from defectdb.learn.pairs.tasks import kernel_tasks
from defectdb.learn.select import select_pairs

Floats = NDArray[np.float64]
Valued = Callable[[Expression, tuple[float, ...]], Floats]
SPLIT = 9.0
METHODS = (
    "formulas",
    "formulas, zero tail",
    "best law",
    "look-up, zero tail",
    "look-up, last value",
    "spline",
)


def front_of(db: Database, job: Job, task: PairTask) -> list[tuple[Expression, tuple[float, ...]]]:
    """The stored front of a kernel."""
    rows = db.frame(
        "SELECT ast, constants FROM formulas WHERE run_id = (SELECT max(run_id) FROM model_fronts) "
        "AND material_id = ? AND target = ? AND pair_label = ? AND abs(dz_min - ?) < 0.01 ORDER BY complexity",
        [job.material, job.target, task.label, task.dz_min],
    )
    found = [(from_ast(row["ast"]), tuple(row["constants"])) for row in rows.iter_rows(named=True)]
    return [(tree, constants) for tree, constants in found if variables(tree)]


def with_zero_tail(near: PairTask, far: PairTask) -> PairTask:
    """The near rows, and zeros at the far distances that weigh as much as one row."""
    weight = np.full(len(far.y), near.weight.mean() / len(far.y))
    return replace(
        near, x=np.concatenate([near.x, far.x], axis=1), y=np.concatenate([near.y, np.zeros_like(far.y)]),
        weight=np.concatenate([near.weight, weight]), hosts=(*near.hosts, *far.hosts),
    )  # fmt: skip


def chosen_beyond(
    task: PairTask, far: PairTask, front: list[tuple[Expression, tuple[float, ...]]], of: Valued
) -> Floats:
    """At the far distances, the formula of the front that tells the task's rows with least BIC; else their median."""
    weight = task.weight / task.weight.max()
    n = float(weight.sum())  # the zeros beyond count as one row
    best, chosen = math.inf, np.full(far.r.shape, np.median(task.y))
    for fit in fitted(task, ["formula"] * len(front), [skeleton_of(*f) for f in front]):
        left = task.y - np.broadcast_to(
            evaluate_numpy(fit.expression, {"r": task.r}, fit.constants), task.r.shape
        )
        squares = float((weight * left**2).sum()) / n
        score = n * math.log(max(squares, 1e-14)) + fit.n_constants * math.log(n)
        if fit.safe and fit.n_constants < n - 1 and score < best:
            best, chosen = score, of(fit.expression, fit.constants)
    return chosen


def errors_beyond(
    near: PairTask, far: PairTask, front: list[tuple[Expression, tuple[float, ...]]]
) -> dict[str, float]:
    """Mean absolute error at the far rows by method, eV."""

    def off(values: Floats) -> float:
        return float(np.abs(np.nan_to_num(values, nan=1.0, posinf=1.0, neginf=-1.0) - far.y).mean())

    def of(tree: Expression, constants: tuple[float, ...]) -> Floats:
        return np.broadcast_to(evaluate_numpy(tree, {"r": far.r}, constants), far.r.shape)

    laws = [law for law in fit_laws(near) if law.safe and law.expression is not None]
    law = min(laws, key=lambda f: f.errors.interior, default=None)
    order = np.argsort(near.r)
    r, index = np.unique(near.r[order].round(3), return_index=True)
    y = near.y[order][index]
    spline = CubicSpline(r, y, bc_type="natural") if len(r) > 2 else None
    return {
        "formulas": off(chosen_beyond(near, far, front, of)),
        "formulas, zero tail": off(chosen_beyond(with_zero_tail(near, far), far, front, of)),
        "best law": off(of(law.expression, law.constants)) if law and law.expression else math.nan,
        "look-up, zero tail": off(np.zeros_like(far.y)),
        "look-up, last value": off(np.full_like(far.y, y[-1])),
        "spline": off(spline(far.r)) if spline else math.nan,
    }


def main() -> None:
    """Print the errors beyond 9 angstrom by kernel, meV, and how often formulas are as good as laws and tables."""
    path = os.environ.get("DEFECTDB_BENCH")
    if path is None:
        print("skipped: $DEFECTDB_BENCH names no database with a model front", file=sys.stderr)
        return
    rows = []
    with open_database(Path(path), read_only=True) as db:
        material = db.value(
            "SELECT any_value(material_id) FROM models WHERE run_id = (SELECT max(run_id) FROM model_fronts)"
        )
        job = settle(db, LearnConfig(material=material, device="cpu"))
        print(f"{'kernel':26}" + "".join(f"{name:>21}" for name in METHODS))
        for task in kernel_tasks(db, select_pairs(db, job), job):
            below = task.r < SPLIT
            near, far = (
                replace(
                    task, x=task.x[:, some], y=task.y[some], weight=task.weight[some],
                    hosts=tuple(np.array(task.hosts)[some]),
                )
                for some in (below, ~below)
            )  # fmt: skip
            if len(np.unique(near.r.round(3))) < MIN_ROWS or not len(far.y):
                print(f"{task.name:26} too few distances on one side of {SPLIT:g} angstrom")
                continue
            errors = errors_beyond(near, far, front_of(db, job, task))
            rows.append(errors)
            print(f"{task.name:26}" + "".join(f"{1000 * errors[name]:21.2f}" for name in METHODS), flush=True)
    print(f"{'mean':26}" + "".join(f"{1000 * np.nanmean([r[name] for r in rows]):21.2f}" for name in METHODS))
    for rival in METHODS[2:]:
        for ours in METHODS[:2]:
            wins = sum(r[ours] <= r[rival] * 1.0001 for r in rows)
            print(f"{ours} as good as {rival}: {wins} of {len(rows)} kernels")


if __name__ == "__main__":
    main()
