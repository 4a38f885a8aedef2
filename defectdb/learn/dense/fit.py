"""Fit a dense model: reaches, tables, a formula for every table, and all coefficients together at last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectdb.expressions.arrays import Flags, Floats, Integers
from defectdb.learn.dense.design import (
    Design,
    Shape,
    TriangleTerm,
    library_of,
    make_design,
    one_defect_columns,
    screened,
    triangle_columns,
)
from defectdb.learn.dense.evidence import LinearFit, fit_evidence, needed_columns
from defectdb.learn.dense.kernels import PairFormula, formula_of, has_few_points, power_series, table_task
from defectdb.learn.dense.structures import DenseData
from defectdb.learn.material.structures import N_FOLDS
from defectdb.learn.pairs.kernel_task import Kernel, TableTask

PAIR_REACHES = (6.2, 7.0, 8.0)
"""Cutoffs of pairs that are tried, angstrom."""

TRIANGLE_REACHES = (0.0, 3.5, 4.5, 5.6)
"""Reaches of triangles that are tried, angstrom."""

SCREENING = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0)
"""Exponents of screening, per concentration of defects, that are tried."""

SCREENING_PAYS = 0.99
"""Screening stays where it lowers the left-out error to this share."""

Learn = Callable[[Sequence[TableTask]], Iterable[Kernel]]
"""How searches are run: tasks to kernels, in any order."""


@dataclass(frozen=True)
class DenseModel:
    """A fitted model of dense structures.

    Attributes:
        shape: where pairs and triangles end, and how they are screened
        pairs: the pair kernels
        triangles: functions of triangles
        library: which functions of the composition are used [function of the library]
        coefficients: of one-defect terms and offset, functions used, pair kernels (deviation from 1), triangles
        table_error: left-out error of free tables in place of the formulas, in training, eV
    """

    shape: Shape
    pairs: tuple[PairFormula, ...]
    triangles: tuple[TriangleTerm, ...]
    library: Integers
    coefficients: Floats
    table_error: float


def blind_error(design: Design, fold: Integers, train: Flags) -> float:
    """Mean absolute left-out error of free tables, by folds within ``train``, eV."""
    total = 0.0
    for k in range(N_FOLDS):
        held, seen = train & (fold == k), train & (fold != k)
        if held.any() and seen.any():
            found = fit_evidence(design.x[seen], design.y[seen], design.groups).coefficients
            total += float(np.abs(design.y - design.x @ found)[held].sum())
    return total / float(train.sum())


def choose_shape(data: DenseData, fold: Integers, train: Flags) -> tuple[Shape, float]:
    """The shape of least left-out error, and that error, eV; screening has to pay for its constant."""
    tried: dict[Shape, float] = {}

    def error(shape: Shape) -> float:
        if shape not in tried:
            tried[shape] = blind_error(make_design(data, shape), fold, train)
        return tried[shape]

    longest = data.images / 2
    best = min((Shape(r) for r in ([p for p in PAIR_REACHES if p <= longest] or [longest])), key=error)
    if data.triangles:
        best = min((replace(best, triangles=r) for r in TRIANGLE_REACHES), key=error)
    denser = min((replace(best, screening=s) for s in SCREENING), key=error)
    best = denser if error(denser) < SCREENING_PAYS * error(best) else best
    return best, error(best)


def fit_dense(data: DenseData, learn: Learn, train: Flags, fold: Integers) -> DenseModel:
    """The model of the structures ``train``: shape, forms and coefficients from these alone."""
    shape, error = choose_shape(data, fold, train)
    design = make_design(data, shape)
    tables = fit_evidence(design.x[train], design.y[train], design.groups)
    pairs = pair_formulas(design, tables, shape.pairs, learn)
    x, groups = final_columns(data, pairs, design.triangles, range(len(design.library.trees)), shape)
    offset = screened(data, shape) * kernel_sums(data, pairs)
    fit = fit_evidence(
        (x / design.per[:, None])[train], design.y[train] - (offset / design.per)[train], groups
    )
    optional = range(design.n_free, x.shape[1])
    alive, found = needed_columns(fit, list(optional))
    first = design.n_free + len(design.library.trees)
    used = np.flatnonzero(alive[design.n_free : first])
    behind = first + len(pairs)
    kept = tuple(t for t, stays in zip(design.triangles, alive[behind:], strict=True) if stays)
    stays = np.concatenate([np.ones(design.n_free, bool), alive[design.n_free : first]])
    columns = np.concatenate([stays, np.ones(len(pairs), bool), alive[behind:]])
    return DenseModel(shape, pairs, kept, used, found[columns], error)


def pair_formulas(design: Design, tables: LinearFit, cutoff: float, learn: Learn) -> tuple[PairFormula, ...]:
    """A formula for every table that says something."""
    tasks, few = {}, []
    for block, at in zip(design.pairs, design.starts, strict=False):
        columns = slice(at, at + len(block.r))
        seen = tables.coefficients[columns] != 0
        if not seen.any():
            continue
        precision = tables.precision[columns, columns]
        task = table_task(block, tables.coefficients[columns], precision, cutoff)
        if task is None:
            continue
        if has_few_points(task):
            few.append(power_series(task, block))
        else:
            tasks[task.name] = (task, block)
    found = [
        formula_of(kernel, tasks[kernel.task.name][1]) for kernel in learn([t for t, _ in tasks.values()])
    ]
    return tuple(sorted([*few, *found], key=lambda f: (f.classes.label, f.classes.dz_min)))


def kernel_sums(data: DenseData, pairs: Sequence[PairFormula]) -> Floats:
    """What all pair kernels add up to, not screened [structure], eV."""
    return sum((p.classes.counts @ p.values() for p in pairs), np.zeros(len(data.y)))


def final_columns(
    data: DenseData, pairs: Sequence[PairFormula], triangles: Sequence[TriangleTerm], used: Sequence[int] | Integers,
    shape: Shape,
) -> tuple[Floats, Integers]:  # fmt: skip
    """Columns of the last fit, where every pair kernel has one coefficient, and their groups."""
    free, library = one_defect_columns(data), library_of(data)
    chosen = np.asarray(list(used), dtype=np.int64)
    left = screened(data, shape)
    kernels = [left * kernel_sums(data, [p]) for p in pairs]
    blocks = [free, library.values(data.variables)[:, chosen]]
    blocks.append(np.column_stack(kernels) if kernels else np.zeros((len(data.y), 0)))
    blocks.append(triangle_columns(data, triangles, shape.triangles) * left[:, None])
    last = int(library.groups.max(initial=0)) + 1
    labels = list(dict.fromkeys(t.label for t in triangles))
    groups = [np.zeros(free.shape[1], dtype=np.int64), library.groups[chosen]]
    groups.append(last + np.arange(len(pairs)))
    groups.append(np.array([last + len(pairs) + labels.index(t.label) for t in triangles], dtype=np.int64))
    return np.concatenate(blocks, axis=1), np.concatenate(groups)


def predict_dense(data: DenseData, model: DenseModel) -> Floats:
    """The model's values [structure], eV."""
    x, _ = final_columns(data, model.pairs, model.triangles, model.library, model.shape)
    values: Floats = screened(data, model.shape) * kernel_sums(data, model.pairs) + x @ model.coefficients
    return values


def refitted(data: DenseData, model: DenseModel, train: Flags) -> Floats:
    """The model's values [structure] with all coefficients of sums fitted to ``train`` alone, forms kept."""
    x, groups = final_columns(data, model.pairs, model.triangles, model.library, model.shape)
    per = data.n_defects
    kernels = screened(data, model.shape) * kernel_sums(data, model.pairs)
    fit = fit_evidence((x / per[:, None])[train], ((data.y - kernels) / per)[train], groups)
    values: Floats = kernels + x @ fit.coefficients
    return values


def left_out(data: DenseData, predict: Callable[[Flags], Floats]) -> Floats:
    """Residuals [structure] of ``predict``, called with the structures outside every fold in turn."""
    residual = np.zeros(len(data.y))
    for k in range(N_FOLDS):
        held = data.fold == k
        if held.any() and not held.all():
            residual[held] = (data.y - predict(~held))[held]
    return residual
