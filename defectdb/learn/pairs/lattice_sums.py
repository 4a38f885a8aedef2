"""Sums over periodic images: what a row's own distance is, where such a kernel must be quiet, and self-images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectdb.db import Database
from defectdb.engine.safety.domain import MAX_OVERSHOOT, Domain
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_ast
from defectdb.schema.records import TermRecord

if TYPE_CHECKING:
    from defectdb.learn.pairs.kernel_search import KernelTask

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAME_DISTANCE = 1e-3
"""Distances that agree to this (angstrom) are one class and are left out together."""

MAX_FOLDS = 64
FALL = 3
"""Behind the data a kernel falls at least with this power of the distance: elastic and dipolar tails just do."""

NOTHING = 1e-5
"""Share of the data's range that counts as nothing."""


def nearest(task: KernelTask) -> Floats:
    """Distance of every row, of its nearest image where rows are sums, angstrom."""
    if task.mixing is None:
        return task.r
    shortest: Floats = np.where(task.mixing > 0, task.r, np.inf).min(axis=1)
    return shortest


def distance_classes(task: KernelTask) -> Integers:
    """Class [row] of every row's distance (of its nearest image), counted from the shortest."""
    found: Integers = np.unique(np.round(nearest(task) / SAME_DISTANCE), return_inverse=True)[1]
    return found.astype(np.int64)


def class_folds(task: KernelTask) -> Tensor:
    """Folds [row] that leave out one distance class at a time, in turns where there are more than 64."""
    return torch.from_numpy(distance_classes(task) % MAX_FOLDS)


@dataclass(frozen=True, slots=True)
class LatticeDomain(Domain):
    """A domain behind whose data the kernel falls from what it was in their last third.

    A tail that stays adds nearly the same to every pair of one cell, so the data cannot tell it from an error of the
    host's energy; in another cell it adds something else.
    """

    def holds(self, values: Tensor) -> Tensor:
        """Which formulas obey, bool [formula], from their values on the grid [formula, point]."""
        inside, behind = self.grid[0, : self.n_inside], self.grid[0, self.n_inside :]
        third = inside >= inside[-1] - (inside[-1] - inside[0]) / 3
        before = values[:, : self.n_inside][:, third].abs().amax(1, keepdim=True)
        bound = before * (inside[-1] / behind) ** FALL + NOTHING * (self.high - self.low)
        falls = (values[:, self.n_inside :].abs() <= bound).all(1)
        return Domain.holds(self, values) & falls


def lattice_domain(task: KernelTask) -> LatticeDomain:
    """Where the kernel behind sums must be finite and quiet: it is near the sum, shared among the nearest images."""
    assert task.mixing is not None
    close = nearest(task)
    shared = (task.mixing * (task.r <= close[:, None] + SAME_DISTANCE)).sum(1)
    reach = max(task.cutoff, float(task.r.max()))
    plain = Domain.of(torch.from_numpy(close), torch.from_numpy(task.y / shared), cutoff=reach, decay=True)
    fields = {name: getattr(plain, name) for name in Domain.__dataclass_fields__}
    margin = MAX_OVERSHOOT * float(np.ptp(task.y / shared))  # what ends at zero may pass it
    fields |= {"low": min(plain.low, -margin), "high": max(plain.high, margin)}
    return LatticeDomain(**fields)


def self_images(db: Database, material: str, terms: Sequence[TermRecord]) -> dict[tuple[str, str], float]:
    """What a defect's own images add to its energy (eV) by host and label: half the sum of its pair with itself.

    ``terms`` are a model's kernels; where they have none for like pairs at equal height nothing is known and
    nothing added.
    """
    kernels = db.frame(
        "SELECT pair_label AS label, ast, constants FROM formulas WHERE list_contains($ids, formula_id) "
        "AND images = 'sum' AND dz_min <= 0 AND split_part(pair_label, '-', 1) = split_part(pair_label, '-', 2)",
        {"ids": [term.formula_id for term in terms if term.order == 2 and term.formula_id is not None]},
    )
    images = db.frame(
        "SELECT host_id, sqrt(pow(o.image_a * h.a_x + o.image_b * h.b_x, 2) "
        "+ pow(o.image_a * h.a_y + o.image_b * h.b_y, 2)) AS r FROM hosts AS h CROSS JOIN image_offsets AS o "
        "WHERE h.material_id = $material AND (o.image_a <> 0 OR o.image_b <> 0) "
        "AND r <= (SELECT max(cutoff) FROM datasets)",
        {"material": material},
    )
    found: dict[tuple[str, str], float] = {}
    for label, ast, constants in kernels.iter_rows():
        values = evaluate_numpy(from_ast(ast), {"r": images["r"].to_numpy()}, constants)
        sums = images.with_columns(value=pl.Series(values)).group_by("host_id").agg(pl.col("value").sum() / 2)
        found |= {(host, label.split("-")[0]): value for host, value in sums.iter_rows()}
    return found
