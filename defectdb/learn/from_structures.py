"""Learn the whole material model of one target, term by term a formula, from structures with any number of defects."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

import polars as pl

from defectdb.db import Database
from defectdb.learn.config import LearnConfig
from defectdb.learn.dense.split import Split, split_structures
from defectdb.learn.dense.structures import DenseData
from defectdb.learn.dense_model import load_part, new_dense_model, quick_options
from defectdb.learn.from_pairs import learn_pairs
from defectdb.learn.gap_model import gap_selection, load_gap, new_gap_model
from defectdb.learn.job import Job, settle
from defectdb.learn.material.structures import ModelData, load_structures
from defectdb.learn.outcome import Learned, Progress
from defectdb.learn.pairs.kernel_task import Kernel
from defectdb.learn.publish import NewModel, fail_run, open_run, publish
from defectdb.learn.records import generation_rows
from defectdb.learn.searches import searches
from defectdb.learn.select import Selection, frame_hash
from defectdb.learn.sparse_model import new_sparse_model


def learn_model(
    db: Database, config: LearnConfig, progress: Progress | None = None, *, executor: Executor | None = None,
    resumes: int | None = None,
) -> Learned:  # fmt: skip
    """Learn the whole material model of one target and activate it.

    From pairs (``config.protocol``): the kernels of every pair label. From all: from hosts with structures of one
    defect kernels and three-body terms beside these; from other hosts all terms together. A material with both gets
    two models, each for its own numbers of defects. ``executor``, ``resumes`` and what is raised: as ``learn_pairs``.
    """
    if config.protocol == "pairs":
        return learn_pairs(db, config, None, progress, executor=executor, resumes=resumes)
    progress = progress or Progress()
    begin = time.monotonic()
    job = replace(settle(db, config, source="pairs"), executor=executor, resumes=resumes)
    read = _energy if job.target == "formation_energy" else _gap
    selection, find = read(db, job, progress)
    run_id = open_run(db, "model", job, selection)
    progress.begun(run_id)
    models: list[NewModel] = []
    try:
        models = find(run_id)
        model_ids, ids = publish(db, run_id, job, models, lambda: read(db, job, Progress())[0])
    except BaseException as error:
        raise fail_run(db, run_id, error, job, _kernels(models)) or error from error.__cause__
    kernels = _kernels(models)
    return Learned(run_id, model_ids[-1], job.material, kernels, ids, time.monotonic() - begin)


def _kernels(models: list[NewModel]) -> list[Kernel]:
    return [term.kernel for new in models for term in new.terms]


Find = Callable[[int], list[NewModel]]
"""Finds the models of the run with this id."""


def _gap(db: Database, job: Job, progress: Progress) -> tuple[Selection, Find]:
    """The rows of a gap or level, and how its model is found."""
    few, many = load_gap(db, job, progress)
    return gap_selection(few, many), lambda run_id: [new_gap_model(db, job, few, many, progress, run_id)]


def _energy(db: Database, job: Job, progress: Progress) -> tuple[Selection, Find]:
    """The rows of the formation energy, and how its models are found."""
    split = split_structures(db, job)
    sparse = load_structures(db, job, split.sparse[1]) if split.sparse else None
    dense = load_part(db, job, split) if split.dense else None
    if split.note:
        progress.note(split.note)
    return _selection(sparse, dense), lambda run_id: _models(db, job, split, sparse, dense, progress, run_id)


def _selection(sparse: ModelData | None, dense: DenseData | None) -> Selection:
    """All rows of the job, and the SELECTs that gave them."""
    found = [part.selection for part in (sparse, dense) if part is not None]
    if len(found) == 1:
        return found[0]
    frame = pl.concat([part.frame.select("structure_id", "value") for part in found])
    return Selection(frame, ";\n\n".join(part.sql for part in found), frame_hash(frame))


def _models(
    db: Database, job: Job, split: Split, sparse: ModelData | None, dense: DenseData | None, progress: Progress,
    run_id: int,
) -> list[NewModel]:  # fmt: skip
    """The models of few and of many defects, as far as there are structures of either."""
    log, blind_log = list[Kernel](), list[Kernel]()
    cold = replace(job, config=job.config.model_copy(update={"warm": False}))
    models: list[NewModel] = []
    if sparse is not None and split.sparse is not None:
        _, new = new_sparse_model(
            job,
            sparse,
            searches(db, job, progress, log),
            searches(db, cold, progress, blind_log),
            progress.note,
        )
        models.append(replace(new, n_defects=split.sparse))
    if dense is not None and split.dense is not None:
        quick = replace(job, config=quick_options(job.config))
        learn, blind = (searches(db, quick, progress, kept) for kept in (log, blind_log))
        models.append(
            replace(new_dense_model(job, dense, learn, blind, progress.note), n_defects=split.dense)
        )
    rows = [generation_rows(k, run_id) for k in log]
    rows += [generation_rows(k, run_id, " without a fold") for k in blind_log]
    return [replace(models[0], generations=[r for r in rows if r.height]), *models[1:]]
