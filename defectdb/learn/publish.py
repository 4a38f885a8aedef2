"""Learned kernels to versioned rows: the fronts as formulas, the chosen ones as the terms of a new model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb import __version__
from defectdb.db import Database
from defectdb.db.formulas import (
    activate_model,
    append_formulas,
    append_generations,
    append_model,
    finish_run,
    start_run,
)
from defectdb.learn.config import LearnConfig
from defectdb.learn.kernels import Kernel, KernelTask
from defectdb.learn.lattice import self_images
from defectdb.learn.segvae.front import Scored
from defectdb.learn.select import Selection
from defectdb.schema.engines import evaluate_numpy
from defectdb.schema.fields import TARGETS
from defectdb.schema.records import FormulaRecord, ModelRecord, RunRecord, TermRecord

Floats = NDArray[np.float64]
_ROUNDING = 1e-4
"""Sources round coordinates: a distance within this (angstrom) of the range learned on is inside it."""


def open_run(db: Database, kind: str, config: LearnConfig, selection: Selection, device: str) -> int:
    """Append the run's row before the work starts, so that a run that dies leaves its trace; its id."""
    with db.transaction():
        return start_run(
            db,
            RunRecord(
                kind=kind,
                config=config.model_dump_json(),
                selection_sql=selection.sql,
                selection_hash=selection.sha256,
                n_rows=selection.frame.height,
                seed=config.seed,
                device=device,
                version=__version__,
            ),
        )


def fail_run(db: Database, run_id: int) -> None:
    """Mark a run that ended in an error or by interruption."""
    with db.transaction():
        finish_run(db, run_id, "failed")


def constant_errors(scored: Scored, task: KernelTask) -> tuple[float, ...] | None:
    """Standard errors of the constants from the curvature of the squared error, None where rows are too few.

    Square roots of the diagonal of s^2 (J^T J)^-1, with J by central differences and s^2 the residual variance.
    """
    k, n = len(scored.constants), len(task.y)
    if not k or n <= k:
        return None
    env = dict(zip(task.variables, task.x, strict=True))

    def rows(constants: list[float]) -> Floats:
        points = evaluate_numpy(scored.expression, env, constants)
        return points if task.mixing is None else task.mixing @ points

    columns = []
    for i, value in enumerate(scored.constants):
        step = 1e-6 * max(abs(value), 1e-3)
        up, down = list(scored.constants), list(scored.constants)
        up[i], down[i] = value + step, value - step
        columns.append((rows(up) - rows(down)) / (2 * step))
    root = np.sqrt(task.weight)
    jacobian = np.stack(columns, axis=1) * root[:, None]
    residual = (task.y - rows(list(scored.constants))) * root
    if not (np.isfinite(jacobian).all() and np.isfinite(residual).all()):
        return None
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * float(residual @ residual) / (n - k)
    return tuple(float(x) for x in np.sqrt(np.clip(np.diag(covariance), 0, None)))


def formula_records(kernel: Kernel, run_id: int, material: str) -> list[FormulaRecord]:
    """The front as records."""
    task = kernel.task
    inside = task.x[[i for i, v in enumerate(task.variables) if v.startswith("r")]]
    return [
        FormulaRecord(
            run_id=run_id, material_id=material, pair_label=task.label, target=task.config.target,
            expression=scored.expression, constants=scored.constants,
            constant_errors=constant_errors(scored, task),
            n_train=len(task.y), mae_train=scored.mae,
            mae_cv=scored.mae_cv if np.isfinite(scored.mae_cv) else None,
            bic=scored.bic if scored.bic else None,
            description_length=scored.description_length if np.isfinite(scored.description_length) else None,
            r_min=float(inside.min()) - _ROUNDING, r_max=float(inside.max()) + _ROUNDING,
            dz_min=task.dz_min, dz_max=task.dz_max,
            images=task.config.images,
        )
        for scored in kernel.front
    ]  # fmt: skip


def publish(
    db: Database, run_id: int, config: LearnConfig, selection: Selection, kernels: Sequence[Kernel]
) -> tuple[int, list[int]]:
    """Append fronts, generations and a new active model in one transaction; (model id, chosen formula ids)."""
    chosen: list[int] = []
    with db.transaction():
        for kernel in kernels:
            ids = append_formulas(db, formula_records(kernel, run_id, selection.material))
            chosen.append(ids[kernel.chosen])
            append_generations(db, generation_rows(kernel, run_id))
        kept, trained_on = _kept_terms(db, config, selection.material, kernels)
        pairs = kept + [
            TermRecord(order=2, label=kernel.task.label, formula_id=formula_id)
            for kernel, formula_id in zip(kernels, chosen, strict=True)
        ]
        terms = [*value_terms(db, config, selection.material, pairs, kernels[0].task.shift), *pairs]
        model_id = append_model(
            db,
            ModelRecord(
                run_id=run_id, material_id=selection.material, target=config.target,
                aggregator=TARGETS[config.target].aggregator, images=config.images,  # type: ignore[arg-type]
                trained_on=trained_on, n_train=selection.frame.height,
            ),
            terms,
        )  # fmt: skip
        activate_model(db, model_id)
        finish_run(db, run_id, "done")
    return model_id, chosen


def generation_rows(kernel: Kernel, run_id: int, note: str = "") -> pl.DataFrame:
    """The search's log as rows of ``generations``; ``note`` stands behind the task's name."""
    rows = [
        {
            "run_id": run_id, "task": kernel.task.name + note, "generation": g.generation, "seconds": g.seconds,
            "n_candidates": g.n_candidates, "n_unique": g.n_unique, "n_new": g.n_new, "n_in_domain": g.n_in_domain,
            "best_mse": g.best_mse, "reached": [{"complexity": c, "mse": mse} for c, mse in g.reached],
            "kl": g.kl, "loss": g.loss,
        }
        for g in kernel.generations
    ]  # fmt: skip
    return pl.DataFrame(rows)


def value_terms(
    db: Database, config: LearnConfig, material: str, kernels: Sequence[TermRecord] = (), shift: float = 0.0
) -> list[TermRecord]:
    """The one-defect values and, for formation energies, the host offset: means over the material's hosts.

    In a model of lattice sums a one-defect value is that of a lone defect: what its own images add, by the model's
    ``kernels``, is taken off. ``shift`` (eV) is added to the offset.
    """
    singles = db.frame(
        "SELECT o.label, o.host_id, o.value FROM one_defect_energies AS o JOIN hosts AS h USING (host_id) "
        "WHERE h.material_id = ? AND o.target = ? ORDER BY o.label, o.host_id",
        [material, config.target],
    )
    images = self_images(db, material, kernels) if config.images == "sum" else {}
    values: dict[str, list[float]] = {}
    for label, host, value in singles.iter_rows():
        values.setdefault(label, []).append(value - images.get((host, label), 0.0))
    terms = [TermRecord(order=1, label=label, value=float(np.mean(v))) for label, v in values.items()]
    if config.target == "formation_energy":
        offset = db.value(
            "SELECT avg(o.value) FROM host_offsets AS o JOIN hosts AS h USING (host_id) WHERE h.material_id = ?",
            [material],
        )
        terms.insert(0, TermRecord(order=0, label="host", value=float(offset or 0.0) + shift))
    return terms


def _kept_terms(
    db: Database, config: LearnConfig, material: str, kernels: Sequence[Kernel]
) -> tuple[list[TermRecord], str]:
    """The kernels of the active model that this run did not learn anew, and what the new model is trained on.

    With kernels its three-body terms stay, where they are added in the same way. A model of several protocols
    says so: its errors are those of none of them.
    """
    learned = [kernel.task.label for kernel in kernels]
    frame = db.frame(
        'SELECT t."order", t.label, t.formula_id, t.value, m.trained_on FROM model_terms AS t '
        "JOIN models AS m USING (model_id) WHERE m.status = 'active' AND m.material_id = $material "
        "AND m.target = $target AND m.images = $images AND NOT list_contains($learned, t.label) "
        'AND (t."order" = 2 OR (t."order" = 3 AND m.aggregator = $aggregator)) ORDER BY ALL',
        {
            "material": material,
            "target": config.target,
            "images": config.images,
            "learned": learned,
            "aggregator": TARGETS[config.target].aggregator,
        },
    )
    if not frame.filter(pl.col("order") == 2).height:
        return [], config.protocol
    [before] = frame["trained_on"].unique().to_list()
    trained_on = config.protocol if before == config.protocol else "pairs and all"
    return [TermRecord(**row) for row in frame.drop("trained_on").to_dicts()], trained_on
