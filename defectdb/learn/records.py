"""Make database rows of learned formulas: fronts, generations, standard errors."""

from __future__ import annotations

import numpy as np
import polars as pl

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.uncertainty import covariance
from defectdb.engine.search.outcome import islands_of
from defectdb.expressions.families import law_of
from defectdb.learn.job import Job
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.pairs.measured import data_of
from defectdb.schema.labels import COMPOSITION
from defectdb.schema.records import FormulaRecord

_ROUNDING = 1e-4
"""Sources round coordinates: a distance within this (angstrom) of the range learned on is inside it."""


def constant_errors(scored: Scored, task: KernelTask) -> tuple[float, ...] | None:
    """Standard errors of the constants from the curvature of the squared error (see ``covariance``), None where there
    are no constants, or rows are too few.
    """
    found = covariance(scored, data_of(task))
    if not found.size or not np.isfinite(found).all():
        return None
    return tuple(float(x) for x in np.sqrt(np.clip(np.diag(found), 0, None)))


def _known(value: float) -> float | None:
    """A number as it is stored: None (NULL) where it is not finite."""
    return float(value) if np.isfinite(value) else None


def formula_records(kernel: Kernel, run_id: int, job: Job) -> list[FormulaRecord]:
    """The front as records; what is not known or not finite is NULL."""
    task = kernel.task
    ranged = ("n",) if task.label == COMPOSITION else ("r", "r12", "r13", "r23")
    inside = task.x[[i for i, v in enumerate(task.variables) if v in ranged]]
    return [
        FormulaRecord(
            run_id=run_id, material_id=job.material, pair_label=task.label, target=job.target,
            expression=scored.expression, constants=scored.constants,
            constant_errors=constant_errors(scored, task),
            n_train=int((task.weight > 0).sum()), mae_train=scored.mae, mae_cv=_known(scored.mae_cv),
            mae_cv_interior=_known(scored.mae_cv_interior), law=law_of(scored.expression, scored.constants),
            bic=_known(scored.bic),
            description_length=_known(scored.description_length),
            r_min=float(inside.min()) - _ROUNDING, r_max=float(inside.max()) + _ROUNDING,
            dz_min=task.dz_min, dz_max=task.dz_max,
            images=job.config.images, cutoff=_known(task.ends),
        )
        for scored in kernel.front
    ]  # fmt: skip


def generation_rows(kernel: Kernel, run_id: int, note: str = "") -> pl.DataFrame:
    """The search's log as rows of ``generations``; ``note`` stands behind the task's name."""
    rows = [
        {
            "run_id": run_id, "task": kernel.task.name + note, "island": island, "generation": g.generation,
            "seconds": g.seconds, "n_candidates": g.n_candidates, "n_unique": g.n_unique, "n_new": g.n_new,
            "n_in_domain": g.n_in_domain, "best_mse": g.best_mse, "kl": g.kl, "loss": g.loss,
            "reached": [{"complexity": c, "mse": mse} for c, mse in g.reached],
        }
        for island, g in zip(islands_of(kernel.generations), kernel.generations, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows)
