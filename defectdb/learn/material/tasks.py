"""Tables of values to searches: every kernel and factor against its dozen points, with the structures' metric.

Around its table the weighted squared error of all structures is a quadratic form in a kernel's values at its distance
classes, so a kernel is searched against these points instead of thousands of structures. For a pair kernel this is
exact, for one factor of a product it is the Gauss-Newton form.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from defectdb.expressions.arrays import Floats
from defectdb.learn.material.structures import TRIPLE_VARIABLES, Triples
from defectdb.learn.material.terms import Place, Shape, product_design
from defectdb.learn.pairs.kernel_task import TableTask, TripleTask

REACH = 4e-3
"""How far (eV) a kernel of a few constants stays from a table of values: the metric of its search is blunt below."""

SPARE = 0.004
"""Added squared errors below this share of the tables' matter little."""

TOKEN = 0.0005
"""Share of the model's mean error that every token of a formula must save, twice that of its squared error."""

MIN_TRIPLES = 40
MAX_TRIPLES = 220
"""A three-body term is searched on at most this many triples and refined on all."""


def shape_tasks(shape: Shape, weights: Floats) -> dict[Place, TableTask]:
    """The searches of all functions of a shape with the metric of the ``weights`` [structure]."""
    error = float((weights * shape.tables.residual**2).sum())
    tasks = {}
    for place in shape.places():
        name, window, r, values = shape.function(place)
        design = design_of(shape, place, len(weights))
        copies, overhead = shape.room(place)
        task = metric_task(name, window, r, values, design, weights, error)
        tasks[place] = replace(task, copies=copies, overhead=overhead)
    return tasks


def design_of(shape: Shape, place: Place, n: int) -> Floats:
    """What a function's values at its classes add to ``n`` structures, the other functions held, [structure, class]."""
    at, side = place
    if at < len(shape.blocks):
        return shape.blocks[at].counts
    at -= len(shape.blocks)
    return product_design(shape.corners[at], shape.tables.factors[at], n)[1 + side]


def metric_task(
    label: str,
    window: tuple[float, float],
    r: Floats,
    values: Floats,
    design: Floats,
    weights: Floats,
    error: float,
) -> TableTask:
    """A function of r near ``values`` [class]; a deviation d costs what ``design`` [structure, class] @ d does.

    ``error`` is the tables' weighted squared error.
    """
    seen = np.abs(design[weights > 0]).sum(0) > 0
    r, values, design = r[seen], values[seen], design[:, seen]
    gram = design.T @ (design * weights[:, None])
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    lower = np.linalg.cholesky(gram).astype(np.float64)
    return TableTask(
        label=label, dz_min=window[0], dz_max=window[1], x=r[None], y=lower.T @ values, weight=np.ones(len(values)),
        mixing=lower.T, values=values, frequency=np.abs(design).sum(0), spare=SPARE * error,
        price=2 * TOKEN * error,
    )  # fmt: skip


def triple_task(
    triples: Triples,
    residual: Floats,
    weights: Floats,
    n_defects: NDArray[np.int64],
) -> TripleTask | None:
    """The search of one three-body term on what the pairs leave; None where there are too few triples."""
    alone = np.flatnonzero((n_defects[triples.rows] == 3) & (weights[triples.rows] > 0))
    if len(alone) < MIN_TRIPLES:
        return None
    left = residual[triples.rows[alone]]
    order = np.argsort(-np.abs(left), kind="stable")
    rest = order[MAX_TRIPLES // 2 :]
    step = max(1, len(rest) // (MAX_TRIPLES // 2))
    picked = np.concatenate([order[: MAX_TRIPLES // 2], rest[::step]])
    share = np.where(np.arange(len(picked)) < MAX_TRIPLES // 2, 1.0, float(step))
    chosen = alone[picked]
    varying = [i for i in range(len(TRIPLE_VARIABLES)) if np.ptp(triples.x[i]) > 1e-3]
    y = residual[triples.rows[chosen]]
    weight = share * weights[triples.rows[chosen]]
    return TripleTask(
        label=triples.label, x=triples.x[varying][:, chosen], y=y, weight=weight,
        variables=tuple(TRIPLE_VARIABLES[i] for i in varying), offset=False,
        spare=0.01 * float((weight * y**2).sum()),
    )  # fmt: skip
