"""The learner's second door: every selected structure to one material model, term by term a formula."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.formulas import adopt_model, append_formulas, append_generations, append_model, finish_run
from defectdb.learn.material.fit_model import Fitted, Learn, fit_model, nested_residual
from defectdb.learn.config import LearnConfig, resolve_device
from defectdb.learn.material.formulas import with_constants
from defectdb.learn.learn_pairs import Learned, Progress, learn_pairs
from defectdb.learn.pairs.kernel_search import Kernel, KernelTask, learn_kernels
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.publish import fail_run, formula_records, generation_rows, open_run, value_terms
from defectdb.learn.select import check_target, choose_material
from defectdb.learn.material.structures import ModelData, load_structures
from defectdb.learn.pairs.warm_start import warm_tasks
from defectdb.schema.records import Aggregator, ModelRecord, TermRecord

Floats = NDArray[np.float64]

AGGREGATORS: dict[str, Aggregator] = {
    "formation_energy": "sum",
    "homo_lumo_gap": "shift_min",
    "lumo": "shift_min",
    "homo": "shift_max",
}
"""How a model learned from all structures combines its terms."""


def learn_model(db: Database, config: LearnConfig, progress: Progress | None = None) -> Learned:
    """Learn the whole material model of one target and activate it.

    From pairs (``config.protocol``): the kernels of every pair label. From all: kernels and three-body terms through
    the sum over pairs and triples of every structure, constants refined together. Raises as ``learn_pairs``.
    """
    if config.protocol == "pairs":
        return learn_pairs(db, config, None, progress)
    progress = progress or Progress()
    begin = time.monotonic()
    check_target(config.target)
    device = resolve_device(config.device)
    material = choose_material(db, config.material)
    data = load_structures(db, config, material)
    run_id = open_run(db, "model", config, data.selection, device)
    try:
        everything = np.ones(len(data.y), dtype=bool)
        log, blind_log = list[Kernel](), list[Kernel]()
        learn = _learner(db, config, material, progress, log)
        fitted = fit_model(data, config, device, learn, everything)
        if config.nested:
            cold = config.model_copy(update={"warm": False})
            blind = _learner(db, cold, material, progress, blind_log)
            fitted = replace(fitted, residual_cv=nested_residual(data, config, device, blind))
        rows = [generation_rows(k, run_id) for k in log]
        rows += [generation_rows(k, run_id, " without a fold") for k in blind_log]
        model_id, used, ids = _publish(db, run_id, config, data, fitted, rows)
    except BaseException:
        fail_run(db, run_id)
        raise
    return Learned(run_id, model_id, material, used, ids, time.monotonic() - begin)


def _learner(
    db: Database, config: LearnConfig, material: str, progress: Progress, log: list[Kernel]
) -> Learn:
    """Searches run side by side, seeded with stored formulas where asked for, and watched; ``log`` keeps them all."""

    def learn(tasks: Sequence[KernelTask]) -> Iterator[Kernel]:
        warm = warm_tasks(db, tasks, config, material)
        progress.kernel(None, 0, len(warm))
        found = learn_kernels(warm, progress.generation, progress.beside)
        for done, kernel in enumerate(found, start=1):
            progress.kernel(kernel, done, len(warm))
            log.append(kernel)
            yield kernel

    return learn


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
