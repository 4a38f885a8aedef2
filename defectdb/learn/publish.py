"""Learned kernels to versioned rows: the fronts as formulas, the chosen ones as the terms of a new model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb import __version__
from defectdb.db import Database
from defectdb.db.formulas import (
    adopt_model,
    append_formulas,
    append_generations,
    append_model,
    finish_run,
    start_run,
)
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.finishing.uncertainty import covariance
from defectdb.engine.search.outcome import islands_of
from defectdb.expressions.arrays import Floats
from defectdb.learn.config import LearnConfig
from defectdb.learn.material.fit_model import Fitted
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.material.structures import ModelData
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.pairs.measured import data_of, with_constants
from defectdb.learn.pairs.self_images import self_images
from defectdb.learn.select import Selection
from defectdb.schema.fields import TARGETS
from defectdb.schema.records import Aggregator, FormulaRecord, ModelRecord, RunRecord, TermRecord

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


def formula_records(kernel: Kernel, run_id: int, material: str) -> list[FormulaRecord]:
    """The front as records; what is not known or not finite is NULL."""
    task = kernel.task
    inside = task.x[[i for i, v in enumerate(task.variables) if v.startswith("r")]]
    return [
        FormulaRecord(
            run_id=run_id, material_id=material, pair_label=task.label, target=task.config.target,
            expression=scored.expression, constants=scored.constants,
            constant_errors=constant_errors(scored, task),
            n_train=int((task.weight > 0).sum()), mae_train=scored.mae, mae_cv=_known(scored.mae_cv),
            bic=_known(scored.bic),
            description_length=_known(scored.description_length),
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
        adopt_model(db, model_id, activate=config.activate)
        finish_run(db, run_id, "done")
    return model_id, chosen


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


AGGREGATORS: dict[str, Aggregator] = {
    "formation_energy": "sum",
    "homo_lumo_gap": "shift_min",
    "lumo": "shift_min",
    "homo": "shift_max",
}
"""How a model learned from all structures combines its terms."""


def _publish(
    db: Database,
    run_id: int,
    config: LearnConfig,
    data: ModelData,
    fitted: Fitted,
    generations: Sequence[pl.DataFrame],
) -> tuple[int, list[Kernel], list[int]]:
    """Append fronts, generations and the model in one transaction and activate it.

    Model id, the kernels used and their formula ids.
    """
    used, ids, terms = [], [], []
    material = data.selection.material
    with db.transaction():
        for rows in generations:
            append_generations(db, rows)
        for kernel in fitted.spare:
            append_formulas(db, formula_records(kernel, run_id, material))
        for found, part in fitted.terms:
            kernel = with_constants(found, part.constants)
            records = formula_records(kernel, run_id, material)
            touched = _touched(part, len(data.y))
            error = float(np.abs(fitted.residual_cv[touched]).mean())
            records[kernel.chosen] = records[kernel.chosen].model_copy(update={"mae_cv": error})
            new = append_formulas(db, records)
            terms.append(TermRecord(order=part.order, label=part.label, formula_id=new[kernel.chosen]))
            used.append(kernel)
            ids.append(new[kernel.chosen])
        record = ModelRecord(
            run_id=run_id, material_id=material, target=config.target, aggregator=AGGREGATORS[config.target],
            images=config.images, trained_on="all", n_train=len(data.y),
            mae_train=float(np.abs(fitted.residual).mean()), mae_cv=float(np.abs(fitted.residual_cv).mean()),
            interval_90=conformal_quantile(np.abs(fitted.residual_cv), 0.9),
        )  # fmt: skip
        model_id = append_model(db, record, [*value_terms(db, config, material, terms), *terms])
        adopt_model(db, model_id, activate=config.activate)
        finish_run(db, run_id, "done")
    return model_id, used, ids


def conformal_quantile(scores: Floats, coverage: float) -> float:
    """Half-width of the conformal interval of that coverage, from out-of-fold absolute errors (Vovk et al. 2005)."""
    n = len(scores)
    rank = min(n, int(np.ceil((n + 1) * coverage)))
    return float(np.sort(scores)[rank - 1])


def _touched(part: Part, n: int) -> NDArray[np.bool_]:
    """Structures that the term adds to."""
    if part.counts is not None:
        touched: NDArray[np.bool_] = part.counts.sum(1) > 0
        return touched
    touched = np.zeros(n, dtype=bool)
    touched[part.rows] = True
    return touched
