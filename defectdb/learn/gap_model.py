"""The models of a gap or a level: of few defects, of many alone, or one of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.expressions.arrays import Floats
from defectdb.learn.composition.learn_gap import both_selections, dense_model, report, with_dense
from defectdb.learn.composition.structures import DenseStructures, load_dense
from defectdb.learn.job import Job, known_labels
from defectdb.learn.material.structures import ModelData, load_structures
from defectdb.learn.outcome import Progress
from defectdb.learn.pairs.kernel_task import Kernel
from defectdb.learn.publish import NewModel
from defectdb.learn.records import generation_rows
from defectdb.learn.searches import searches
from defectdb.learn.select import Selection
from defectdb.learn.sparse_model import blind_errors, conformal_quantile, new_sparse_model


def load_gap(db: Database, job: Job, progress: Progress) -> tuple[ModelData | None, DenseStructures | None]:
    """The structures with few and with many defects, as far as there are any."""
    dense = load_dense(db, job, progress.note)
    if dense is not None and not known_labels(db, job.material):
        return None, dense
    return load_structures(db, job), dense


def gap_selection(data: ModelData | None, dense: DenseStructures | None) -> Selection:
    """All rows of the job, and the SELECT that gave them."""
    if data is not None and dense is not None:
        return both_selections(data.selection, dense.selection)
    part = data if dense is None else dense
    assert part is not None
    return part.selection


def new_gap_model(
    db: Database,
    job: Job,
    data: ModelData | None,
    dense: DenseStructures | None,
    progress: Progress,
    run_id: int,
) -> NewModel:
    """The model with its errors; where there are few and many defects one model serves both."""
    if data is None:
        assert dense is not None
        new, residual, blind = dense_model(job, dense)
        report(progress.note, [("dense structures", blind)])
        return replace(_judged(new, residual, blind), left_out=blind_errors(dense.selection, blind))
    log, blind_log = list[Kernel](), list[Kernel]()
    cold = replace(job, config=job.config.model_copy(update={"warm": False}))
    fitted, new = new_sparse_model(
        job, data, searches(db, job, progress, log), searches(db, cold, progress, blind_log), progress.note
    )
    rows = [generation_rows(k, run_id) for k in log]
    new = replace(
        new, generations=[*rows, *(generation_rows(k, run_id, " without a fold") for k in blind_log)]
    )
    if dense is None:
        return new
    both, law = with_dense(db, job, new, data.selection.frame, fitted.residual, dense)
    parts = [("dilute structures", fitted.residual_cv), ("dense structures", law.residual_cv)]
    report(progress.note, parts)
    residual = np.concatenate([fitted.residual, law.residual])
    errors = [
        blind_errors(data.selection, fitted.residual_cv), blind_errors(dense.selection, law.residual_cv)
    ]  # fmt: skip
    both = replace(both, left_out=pl.concat(errors))
    return _judged(both, residual, np.concatenate([fitted.residual_cv, law.residual_cv]))


def _judged(new: NewModel, residual: Floats, blind: Floats) -> NewModel:
    """The model with its errors: residuals in training and left out [structure], eV."""
    blind = np.abs(blind)
    return replace(
        new,
        mae_train=float(np.abs(residual).mean()),
        mae_cv=float(blind.mean()),
        interval_90=conformal_quantile(blind, 0.9),
    )
