"""Store what was learned: the run, the fronts as formulas, the chosen ones as the terms of a new model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import polars as pl

from defectdb.db import Database
from defectdb.db.access.locks import patience
from defectdb.db.models.formulas import (
    adopt_model,
    append_formulas,
    append_generations,
    append_model,
    finish_run,
    resume_run,
    start_run,
)
from defectdb.db.models.intervals import calibrate
from defectdb.db.models.model_fronts import append_model_front
from defectdb.errors import ChangedDataError, DatabaseError, DefectDBError, UnknownNameError, UsageError
from defectdb.learn.job import Job
from defectdb.learn.model_front import ModelPoint
from defectdb.learn.one_defect_values import value_terms
from defectdb.learn.pairs.kernel_task import Kernel
from defectdb.learn.records import formula_records
from defectdb.learn.saved_fronts import save_fronts
from defectdb.learn.select import Selection
from defectdb.schema.labels import formula_order
from defectdb.schema.records import ANY_NUMBER, Aggregator, ModelRecord, RunRecord, TermRecord
from defectdb.version import __version__


@dataclass(frozen=True)
class LearnedTerm:
    """One term of a new model.

    Attributes:
        kernel: its front and the formula in use
        mae_cv: error on structures whose fold the constants did not see, eV; None keeps what the front says
    """

    kernel: Kernel
    mae_cv: float | None = None

    @property
    def order(self) -> int:
        """Number of defects that the formula is about."""
        return formula_order(self.kernel.task.label)


@dataclass(frozen=True)
class NewModel:
    """What a learner found, ready to be stored.

    Attributes:
        terms: the terms with formulas
        aggregator: how terms combine
        trained_on: the protocol
        n_train: number of structures
        generations: rows of the searches' logs
        others: fronts that are stored though no formula of them is in use
        kept: terms taken over from the model before
        with_pairs_before: whether the pair kernels of the model stored before it are its own as well
        values: one-defect values and host offset; None for those of structures with one and two defects
        n_defects: fewest and most defects of the structures that it predicts
        shift: what is added to the host offset of far pairs, eV
        mae_train, mae_cv, interval_90: errors of whole structures, eV; None where they were not measured
        left_out: structure_id and absolute error (eV) at structures whose fold the model did not see
        front: the most accurate models of every total length, of which these terms are one
    """

    terms: Sequence[LearnedTerm]
    aggregator: Aggregator
    trained_on: str
    n_train: int
    generations: Sequence[pl.DataFrame] = ()
    others: Sequence[Kernel] = ()
    kept: Sequence[TermRecord] = ()
    with_pairs_before: bool = False
    values: Sequence[TermRecord] | None = None
    n_defects: tuple[int, int] = ANY_NUMBER
    shift: float = 0.0
    mae_train: float | None = None
    mae_cv: float | None = None
    interval_90: float | None = None
    left_out: pl.DataFrame | None = None
    front: Sequence[ModelPoint] = ()


def open_run(db: Database, kind: str, job: Job, selection: Selection) -> int:
    """Append the run's row before the work starts, so that a run that dies leaves its trace; its id.

    The file is free for others then: call this when everything is read. Where the job takes up a run again, it is this
    one; raises UsageError where that run is done, at work or began with other rows.
    """
    if job.resumes is not None:
        return _reopen_run(db, job.resumes, selection)
    with db.transaction():
        run_id = start_run(
            db,
            RunRecord(
                kind=kind,
                config=job.config.model_dump_json(),
                selection_sql=selection.sql,
                selection_hash=selection.sha256,
                n_rows=selection.frame.height,
                seed=job.config.seed,
                device=job.device,
                version=__version__,
            ),
        )
    db.release()
    return run_id


def _reopen_run(db: Database, run_id: int, selection: Selection) -> int:
    with db.transaction():
        found = db.frame("SELECT status, selection_hash FROM runs WHERE run_id = ?", [run_id]).rows()
        if not found:
            raise UnknownNameError("run", str(run_id), [])
        [(status, sha256)] = found
        if status != "failed":
            raise UsageError(f"run {run_id} is {status}: only a run that ended before it was done is resumed")
        if sha256 != selection.sha256:
            raise UsageError(
                f"the rows that run {run_id} began with have changed; learn anew without --resume"
            )
        resume_run(db, run_id)
    db.release()
    return run_id


def fail_run(
    db: Database, run_id: int, error: BaseException | None = None, job: Job | None = None,
    kernels: Sequence[Kernel] = (),
) -> BaseException | None:  # fmt: skip
    """Mark a run that ended in an error or by interruption; the error to raise.

    What was found (``kernels``) goes to a file beside the database where it could not be stored, and the error says so.
    """
    if job is not None and kernels and isinstance(error, ChangedDataError | DatabaseError):
        kept = save_fronts(db.path, run_id, job, kernels)
        where = (
            f"what was found is in {kept}" if kept else "what was found could not be kept in a file either"
        )
        error = type(error)(f"run {run_id} is not published: {error}; {where}")
    reason = (
        "interrupted" if isinstance(error, KeyboardInterrupt) else str(error or "") or type(error).__name__
    )
    with suppress(DatabaseError), db.transaction(wait=patience()):
        finish_run(db, run_id, "failed", reason)
    return error


def publish(
    db: Database,
    run_id: int,
    job: Job,
    models: Sequence[NewModel] | Callable[[], Sequence[NewModel]],
    select_again: Callable[[], Selection] | None = None,
) -> tuple[list[int], list[int]]:
    """Append fronts, logs and models in one transaction, and activate them where asked.

    ``models`` that hang on what is stored at that moment are made by a function, called within the transaction.
    ``select_again`` selects the rows anew. Model ids, and the formula id of every term of all models.

    Raises ChangedDataError where these rows are not those that the run began with.
    """
    import_module("sympy")  # writes LaTeX: loaded here, where nobody waits for the file
    model_ids: list[int] = []
    formula_ids: list[int] = []
    pairs: list[TermRecord] = []
    with db.transaction():
        if select_again is not None and db.is_file:
            _demand_unchanged(db, run_id, select_again)
        for new in models() if callable(models) else models:
            model_id, formulas = _append(db, run_id, job, new, pairs)
            model_ids.append(model_id)
            formula_ids += [f.formula_id for f in formulas if f.formula_id is not None]
            pairs = [term for term in formulas if term.order == 2]
            adopt_model(db, model_id, activate=job.config.activate)
            calibrate(db, model_id, new.left_out)
        finish_run(db, run_id, "done")
    return model_ids, formula_ids


def _demand_unchanged(db: Database, run_id: int, select_again: Callable[[], Selection]) -> None:
    """Raises ChangedDataError unless the rows selected now have the hash that was stored with the run."""
    try:
        now = select_again().sha256
    except DatabaseError:
        raise
    except DefectDBError as cause:
        raise ChangedDataError(f"its rows were removed while it searched ({cause})") from cause
    if now != db.value("SELECT selection_hash FROM runs WHERE run_id = ?", [run_id]):
        raise ChangedDataError("the rows that it learned from changed while it searched; learn again")


def _append(
    db: Database, run_id: int, job: Job, new: NewModel, before: Sequence[TermRecord]
) -> tuple[int, list[TermRecord]]:
    """Append a model; its id and its own terms. ``before`` are the pair kernels of the one before."""
    for rows in new.generations:
        append_generations(db, rows)
    for kernel in new.others:
        append_formulas(db, formula_records(kernel, run_id, job))
    stored = [_append_term(db, run_id, job, term) for term in new.terms]
    own = [_term_record(term, ids[term.kernel.chosen]) for term, ids in zip(new.terms, stored, strict=True)]
    if new.front:
        append_model_front(db, run_id, [_front_row(point, stored) for point in new.front])
    kept = [*new.kept, *(before if new.with_pairs_before else ())]
    values = value_terms(db, job, [*kept, *own], new.shift) if new.values is None else new.values
    model_id = append_model(db, _model_record(run_id, job, new), [*values, *kept, *own])
    return model_id, own


def _front_row(point: ModelPoint, stored: Sequence[Sequence[int]]) -> dict[str, object]:
    """A row of ``model_fronts``; ``stored`` are the formula ids of every term's front."""
    ids = [formulas[at] for formulas, at in zip(stored, point.chosen, strict=True)]
    return {"tokens": point.tokens, "error": point.error, "formula_ids": ids}


def _append_term(db: Database, run_id: int, job: Job, term: LearnedTerm) -> list[int]:
    """Append a term's front; the ids of its formulas."""
    records, chosen = formula_records(term.kernel, run_id, job), term.kernel.chosen
    if term.mae_cv is not None:
        records[chosen] = records[chosen].model_copy(update={"mae_cv": term.mae_cv})
    return append_formulas(db, records)


def _term_record(term: LearnedTerm, formula_id: int) -> TermRecord:
    return TermRecord(order=term.order, label=term.kernel.task.label, formula_id=formula_id)


def _model_record(run_id: int, job: Job, new: NewModel) -> ModelRecord:
    return ModelRecord(
        run_id=run_id, material_id=job.material, target=job.target, aggregator=new.aggregator,
        images=job.config.images, trained_on=new.trained_on, n_train=new.n_train,
        mae_train=new.mae_train, mae_cv=new.mae_cv, interval_90=new.interval_90,
        n_defects_min=new.n_defects[0], n_defects_max=new.n_defects[1],
    )  # fmt: skip
