"""The learner's second door: every selected structure to one material model, term by term a formula."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.formulas import activate_model, append_formulas, append_generations, append_model, finish_run
from defectdb.learn.config import LearnConfig, resolve_device
from defectdb.learn.jobs import Learned, Progress, learn_pairs
from defectdb.learn.kernels import Kernel, KernelTask, domain_of, learn_kernels
from defectdb.learn.model_fit import (
    REACH,
    Part,
    cross_validate,
    fit_table,
    kernel_task,
    pair_part,
    predict,
    refine,
    robust_weights,
    total_values,
    triple_part,
    triple_task,
)
from defectdb.learn.publish import fail_run, formula_records, generation_rows, open_run, value_terms
from defectdb.learn.select import check_target, choose_material
from defectdb.learn.structures import ModelData, load_structures
from defectdb.learn.warm import warm_tasks
from defectdb.schema.records import Aggregator, ModelRecord, TermRecord

Floats = NDArray[np.float64]

PAYS = 0.995
"""A three-body term stays where it lowers the cross-validated error at least to this share."""

AGGREGATORS: dict[str, Aggregator] = {
    "formation_energy": "sum",
    "homo_lumo_gap": "shift_min",
    "lumo": "shift_min",
    "homo": "shift_max",
}
"""How a model learned from all structures combines its terms."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model: its terms in place, out-of-fold residuals [structure] in eV and those of the training."""

    parts: list[Part]
    residual: Floats
    residual_cv: Floats


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
        kernels = _search(db, data, config, device, progress)
        fitted = _assemble(data, kernels)
        model_id, used, ids = _publish(db, run_id, config, data, kernels, fitted)
    except BaseException:
        fail_run(db, run_id)
        raise
    return Learned(run_id, model_id, material, used, ids, time.monotonic() - begin)


def _search(
    db: Database, data: ModelData, config: LearnConfig, device: str, progress: Progress
) -> dict[str, Kernel]:
    """Fronts of all kernels and three-body candidates, by task name."""
    y = total_values(data)
    table, _ = fit_table(data.blocks, y, np.ones(len(y), dtype=bool))
    residual = y - sum((b.counts @ t for b, t in zip(data.blocks, table, strict=True)), np.zeros_like(y))
    weights = robust_weights(residual, REACH)
    error = float((weights * residual**2).sum())
    tasks: list[KernelTask] = [
        kernel_task(block, values, weights, error, config, device)
        for block, values in zip(data.blocks, table, strict=True)
    ]
    triples = [triple_task(t, residual, weights, data.n_defects, config, device) for t in data.triples]
    tasks += [task for task in triples if task is not None]
    tasks = warm_tasks(db, tasks, config, data.selection.material)
    found: dict[str, Kernel] = {}
    progress.kernel(None, 0, len(tasks))
    for kernel in learn_kernels(tasks, progress.generation):
        found[kernel.task.name] = kernel
        progress.kernel(kernel, len(found), len(tasks))
    return found


def _assemble(data: ModelData, kernels: dict[str, Kernel]) -> Fitted:
    """Chosen kernels refined together; then every three-body term that pays for itself."""
    y = total_values(data)
    everything = np.ones(len(y), dtype=bool)
    pairs = [k for k in kernels.values() if len(k.task.variables) == 1]
    by_window = {(k.task.label, k.task.dz_min): k for k in pairs}
    parts = []
    for block in data.blocks:
        kernel = by_window[block.label, block.dz_min]
        best = kernel.front[kernel.chosen]
        parts.append(pair_part(block, best.expression, best.constants, domain_of(kernel.task)))
    parts = refine(parts, y, everything)
    blind = cross_validate(parts, y, data.fold)
    for triples in data.triples:
        if triples.label not in kernels:
            continue
        kernel = kernels[triples.label]
        best, domain = kernel.front[kernel.chosen], domain_of(kernel.task)
        new = triple_part(triples, best.expression, best.constants, kernel.task.variables, domain)
        trial = refine([*parts, new], y, everything, rounds=15)
        trial_blind = cross_validate(trial, y, data.fold)
        if np.abs(trial_blind).mean() < PAYS * np.abs(blind).mean():
            parts, blind = trial, trial_blind
    return Fitted(parts, y - predict(parts, len(y)), blind)


def _publish(
    db: Database,
    run_id: int,
    config: LearnConfig,
    data: ModelData,
    kernels: dict[str, Kernel],
    fitted: Fitted,
) -> tuple[int, list[Kernel], list[int]]:
    """Append fronts and the model in one transaction and activate it; model id, the kernels used, their formula ids."""
    used, ids, terms = [], [], []
    material = data.selection.material
    places = {(p.label, p.dz_min): p for p in fitted.parts}
    with db.transaction():
        for kernel in kernels.values():
            part = places.get((kernel.task.label, kernel.task.dz_min))
            if part is not None:
                kernel = _refined(kernel, part)  # noqa: PLW2901
            records = formula_records(kernel, run_id, material)
            if part is not None:
                touched = _touched(part, len(data.y))
                error = float(np.abs(fitted.residual_cv[touched]).mean())
                records[kernel.chosen] = records[kernel.chosen].model_copy(update={"mae_cv": error})
            new = append_formulas(db, records)
            append_generations(db, generation_rows(kernel, run_id))
            if part is not None:
                terms.append(TermRecord(order=part.order, label=part.label, formula_id=new[kernel.chosen]))
                used.append(kernel)
                ids.append(new[kernel.chosen])
        record = ModelRecord(
            run_id=run_id, material_id=material, target=config.target, aggregator=AGGREGATORS[config.target],
            images=config.images, trained_on="all", n_train=len(data.y),
            mae_train=float(np.abs(fitted.residual).mean()), mae_cv=float(np.abs(fitted.residual_cv).mean()),
            interval_90=conformal_quantile(np.abs(fitted.residual_cv), 0.9),
        )  # fmt: skip
        model_id = append_model(db, record, [*value_terms(db, config, material), *terms])
        activate_model(db, model_id)
        finish_run(db, run_id, "done")
    return model_id, used, ids


def conformal_quantile(scores: Floats, coverage: float) -> float:
    """Half-width of the conformal interval of that coverage, from out-of-fold absolute errors (Vovk et al. 2005)."""
    n = len(scores)
    rank = min(n, int(np.ceil((n + 1) * coverage)))
    return float(np.sort(scores)[rank - 1])


def _refined(kernel: Kernel, part: Part) -> Kernel:
    """The kernel with its chosen formula's constants as refined, and the errors that they leave at the table."""
    best = kernel.front[kernel.chosen]
    moved = replace(best, constants=part.constants)
    front = [moved if i == kernel.chosen else s for i, s in enumerate(kernel.front)]
    return replace(kernel, front=front)


def _touched(part: Part, n: int) -> NDArray[np.bool_]:
    """Structures that the term adds to."""
    if part.counts is not None:
        touched: NDArray[np.bool_] = part.counts.sum(1) > 0
        return touched
    touched = np.zeros(n, dtype=bool)
    touched[part.rows] = True
    return touched
