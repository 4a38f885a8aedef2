"""Compare the formula in use of a pair label with known laws and tables on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.asymptotics import Tail, tails
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import complexity, from_ast
from defectdb.expressions.texts import to_infix
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import Job, settle
from defectdb.learn.judging.errors import Fitted
from defectdb.learn.judging.fitted_laws import fit_laws, judge
from defectdb.learn.judging.lookups import look_up_table, nearest_neighbour
from defectdb.learn.pairs.distance_classes import nearest
from defectdb.learn.pairs.host_offsets import without_host_offsets
from defectdb.learn.pairs.kernel_task import KernelTask
from defectdb.learn.pairs.tasks import kernel_tasks
from defectdb.learn.select import select_pairs
from defectdb.schema.quoting import quoted_text
from defectdb.schema.records import Images

DISCOVERED = "discovered"
"""Name of the formula in use among the laws."""

BETTER = 1.05
"""A law must beat the formula in use by this factor to count as better."""


@dataclass(frozen=True)
class Comparison:
    """One kernel: its task, the laws by their error when inner distances are left out, and their tails."""

    task: KernelTask
    fits: list[Fitted]
    tails: list[Tail | None]

    @property
    def discovered(self) -> Fitted:
        """The formula in use."""
        return next(f for f in self.fits if f.law == DISCOVERED)

    @property
    def winner(self) -> Fitted:
        """The best safe one when inner distances are left out; the formula in use where none betters it by 5 %."""
        ours = self.discovered
        best = next((f for f in self.fits if f.safe), ours)
        round_off = 1e-6 * float(np.abs(self.task.y - np.median(self.task.y)).mean())
        return best if ours.errors.interior > BETTER * best.errors.interior + round_off else ours


def compare(
    db: Database, label: str, target: str = "formation_energy", material: str | None = None,
    images: Images | None = None, dz: float | None = None, datasets: Sequence[str] = (),
) -> list[Comparison]:  # fmt: skip
    """The active formula of every |dz| window of the label (of the one that holds ``dz``) beside the baselines.

    ``images``: nearest or sum; by default what the formula was learned with. ``datasets`` (empty: all) leave out rows
    of others. Raises UnknownNameError, and
    UsageError where no formula is active or no window holds ``dz``.
    """
    where = f"dataset_id IN ({', '.join(quoted_text(name) for name in datasets)})" if datasets else None
    asked = LearnConfig(target=target, material=material, device="cpu", where=where)
    job = settle(db, asked, [label])
    active = _active(db, job)
    job = replace(job, config=asked.model_copy(update={"images": images or active["images"][0]}))
    tasks = without_host_offsets(db, kernel_tasks(db, select_pairs(db, job), job), job)
    if dz is not None:
        tasks = [task for task in tasks if task.dz_min <= abs(dz) < task.dz_max]
    db.release()
    return [_compared(task, active, fit_laws(task)) for task in tasks]


def _active(db: Database, job: Job) -> pl.DataFrame:
    [label] = job.labels
    found = db.frame(
        "SELECT formula_id, ast, constants, images, dz_min, dz_max FROM formulas WHERE status = 'active' "
        "AND pair_label = ? AND target = ? AND material_id = ? ORDER BY dz_min",
        [label, job.target, job.material],
    )
    if found.is_empty():
        hint = f"`defectdb learn --pair {label} --target {job.target}` finds one"
        raise UsageError(f"{label} has no active formula of {job.target}; {hint}")
    return found


def _compared(task: KernelTask, active: pl.DataFrame, laws: Sequence[Fitted]) -> Comparison:
    middle = float(task.dz_min + 1e-6)
    row = active.filter((pl.col("dz_min") <= middle) & (pl.col("dz_max") > middle)).to_dicts()
    if not row:
        raise UsageError(f"{task.name} has no active formula; `defectdb learn --pair {task.label}` finds one")
    expression, constants = from_ast(row[0]["ast"]), tuple(row[0]["constants"])
    ours = judge(task, DISCOVERED, expression, constants)
    fits = [ours, *laws, look_up_table(task), nearest_neighbour(task)]
    fits.sort(key=lambda f: (f.errors.interior, f.errors.cv, f.n_constants))
    symbolic = [(f.expression, f.constants) for f in fits if f.expression is not None]
    limits = iter(tails(symbolic))
    return Comparison(task, fits, [None if f.expression is None else next(limits) for f in fits])


def as_frame(found: Sequence[Comparison], digits: int | None = None) -> pl.DataFrame:
    """One row for every law and window: errors in eV, the value at infinity in eV, the slope there in eV/angstrom."""
    rows = [
        {
            "label": c.task.label, "target": c.task.config.target, "dz_min": c.task.dz_min, "dz_max": c.task.dz_max,
            "law": f.law, "n_rows": len(c.task.y), "n_constants": f.n_constants,
            "complexity": None if f.expression is None else complexity(f.expression),
            "mae_train": f.errors.train, "mae_cv": _finite(f.errors.cv), "mae_cv_interior": _finite(f.errors.interior),
            "mae_cv_ends": _finite(f.errors.ends), "aicc": _finite(f.aicc), "bic": _finite(f.bic),
            "value_at_infinity": tail.value if tail else None, "slope_at_infinity": tail.slope if tail else None,
            "safe": f.safe, "wins": f is c.winner,
            "formula": None if f.expression is None else to_infix(f.expression, f.constants, digits),
        }
        for c in found
        for f, tail in zip(c.fits, c.tails, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def curves(found: Comparison, points: int = 400) -> tuple[Floats, dict[str, Floats]]:
    """Distances (angstrom) over the data's range and the value of every formula there (eV), best first."""
    r = nearest(found.task)
    fine = np.linspace(r.min(), r.max(), points)
    return fine, {
        f.law: evaluate_numpy(f.expression, {"r": fine}, f.constants)
        for f in found.fits
        if f.expression is not None
    }
