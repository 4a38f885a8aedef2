"""The model of structures with few defects, whose one-defect values structures with one defect give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.job import Job
from defectdb.learn.material.fit_model import Fitted, Learn, fit_model, nested_residual
from defectdb.learn.material.placed_formulas import Part
from defectdb.learn.material.structures import ModelData
from defectdb.learn.pairs.measured import with_constants
from defectdb.learn.publish import LearnedTerm, NewModel
from defectdb.learn.select import Selection
from defectdb.schema.records import Aggregator

AGGREGATORS: dict[str, Aggregator] = {
    "formation_energy": "sum",
    "homo_lumo_gap": "shift_min",
    "lumo": "shift_min",
    "homo": "shift_max",
}
"""How a model learned from all structures combines its terms."""


def new_sparse_model(
    job: Job, data: ModelData, learn: Learn, blind: Learn, note: Callable[[str], None] = lambda _: None
) -> tuple[Fitted, NewModel]:
    """The fitted model and what is stored of it; ``blind`` runs the searches without a fold.

    ``note`` is told the error of free tables in training, which says what the formulas cost.
    """
    fitted = fit_model(data, learn, np.ones(len(data.y), dtype=bool))
    error = 1000 * float(np.abs(fitted.residual).mean())
    note(
        f"free tables in place of the formulas: {1000 * fitted.table_error:.2f} meV in training, "
        f"the formulas {error:.2f}"
    )
    if job.config.nested:
        fitted = replace(fitted, residual_cv=nested_residual(data, blind))
    residual, left_out = np.abs(fitted.residual), np.abs(fitted.residual_cv)
    terms = [
        LearnedTerm(
            with_constants(kernel, part.constants), float(left_out[_touched(part, len(left_out))].mean())
        )
        for kernel, part in fitted.terms
    ]
    return fitted, NewModel(
        terms=terms,
        aggregator=AGGREGATORS[job.target],
        trained_on="all",
        n_train=len(residual),
        others=fitted.spare,
        mae_train=float(residual.mean()),
        mae_cv=float(left_out.mean()),
        interval_90=conformal_quantile(left_out, 0.9),
        left_out=blind_errors(data.selection, left_out),
    )


def blind_errors(selection: Selection, left_out: Floats) -> pl.DataFrame:
    """structure_id and absolute out-of-fold error (eV) of the selected structures."""
    return selection.frame.select("structure_id").with_columns(error=pl.Series(np.abs(left_out)))


def conformal_quantile(scores: Floats, coverage: float) -> float:
    """Half-width of the conformal interval of that coverage, from out-of-fold absolute errors (Vovk et al. 2005)."""
    n = len(scores)
    rank = min(n, int(np.ceil((n + 1) * coverage)))
    return float(np.sort(scores)[rank - 1])


def _touched(part: Part, n: int) -> Flags:
    """Structures that the term adds to."""
    if part.counts is not None:
        touched: Flags = part.counts.sum(1) > 0
        return touched
    touched = np.zeros(n, dtype=bool)
    touched[part.rows] = True
    return touched
