"""Models without a search: best law, look-up table, nearest neighbour, no interaction.

What formulas must be better than on structures that they never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import settle
from defectdb.learn.judging.fitted_laws import fit_laws
from defectdb.learn.pairs.distance_classes import distance_classes
from defectdb.learn.pairs.kernel_task import MIN_ROWS, KernelTask
from defectdb.learn.pairs.tasks import kernel_tasks
from defectdb.learn.select import select_pairs
from defectdb.schema.fields import TARGETS

METHODS = ("best law", "look-up table", "nearest neighbour", "no interaction")

Curve = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Simple:
    """Models of one target: a curve for every method, label and |dz| window, one-defect values and host offset (eV)."""

    target: str
    windows: dict[str, list[tuple[float, float, dict[str, Curve]]]]
    singles: dict[str, float]
    offset: float

    def predict(self, defects: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
        """structure_id and a column for every method (eV); pairs of unknown labels do not interact.

        ``defects`` (structure_id, label), ``pairs`` (structure_id, label, r, dz).
        """
        own = pl.col("label").replace_strict(self.singles, default=None, return_dtype=pl.Float64)
        valued = pairs.with_columns(pl.Series(name, self._values(pairs, name)) for name in METHODS)
        aggregator = TARGETS[self.target].aggregator
        if aggregator == "sum":
            alone = defects.group_by("structure_id").agg(own.sum().alias("alone"), pl.len().alias("n"))
            joined = valued.group_by("structure_id").agg(pl.col(*METHODS).sum())
            base = pl.col("alone") + (pl.col("n") - 1) * self.offset
            return _joined(alone, joined, [(base + pl.col(m).fill_null(0)).alias(m) for m in METHODS])
        choose = pl.Expr.min if aggregator == "min" else pl.Expr.max
        alone = defects.group_by("structure_id").agg(choose(own).alias("alone"))
        joined = valued.group_by("structure_id").agg(choose(pl.col(m).drop_nans()) for m in METHODS)
        return _joined(alone, joined, [pl.col(m).fill_null(pl.col("alone")) for m in METHODS])

    def _values(self, pairs: pl.DataFrame, method: str) -> Floats:
        """Kernel values [pair]: of unknown labels 0 where values add up, else NaN."""
        missing = 0.0 if TARGETS[self.target].aggregator == "sum" else np.nan
        values = np.full(pairs.height, missing)
        if method == "no interaction":
            return values
        labels, r, dz = (pairs[name].to_numpy() for name in ("label", "r", "dz"))
        for label, windows in self.windows.items():
            for low, high, curves in windows:
                here = (labels == label) & (dz >= low) & (dz < high)
                values[here] = curves[method](r[here])
        return values


def _joined(alone: pl.DataFrame, pairs: pl.DataFrame, columns: Sequence[pl.Expr]) -> pl.DataFrame:
    both = alone.join(pairs, on="structure_id", how="left")
    return both.select("structure_id", *columns)


def simple_models(db: Database, config: LearnConfig) -> Simple:
    """The simple models of the database's one- and two-defect structures, nearest images alone."""
    job = settle(db, config.model_copy(update={"images": "nearest", "device": "cpu"}))
    windows: dict[str, list[tuple[float, float, dict[str, Curve]]]] = {}
    for task in kernel_tasks(db, select_pairs(db, job), job):
        windows.setdefault(task.label, []).append((task.dz_min, task.dz_max, _curves(task)))
    singles = db.frame(
        "SELECT label, avg(value) FROM one_defect_energies JOIN hosts USING (host_id) "
        "WHERE material_id = ? AND target = ? AND charge = 0 GROUP BY label",
        [job.material, job.target],
    )
    offset = db.value(
        "SELECT avg(value) FROM host_offsets JOIN hosts USING (host_id) WHERE material_id = ?", [job.material]
    )
    return Simple(job.target, windows, dict(singles.iter_rows()), float(offset or 0.0))


def _curves(task: KernelTask) -> dict[str, Curve]:
    """The methods' curves for one label and window; constant beyond the ends of the tables."""
    classes = distance_classes(task)
    count = np.bincount(classes)
    r, values = np.bincount(classes, task.r) / count, np.bincount(classes, task.y) / count
    halfway = (r[1:] + r[:-1]) / 2
    return {
        "best law": _law(task, float(np.median(task.y))),
        "look-up table": lambda x: np.interp(x, r, values),
        "nearest neighbour": lambda x: values[np.searchsorted(halfway, x)],
    }


def _law(task: KernelTask, otherwise: float) -> Curve:
    """The safe law that predicts left-out distances best; the median where rows are too few for any."""
    n_classes = len(np.unique(distance_classes(task)))
    laws = [law for law in fit_laws(task) if law.safe] if n_classes >= MIN_ROWS else []
    laws = [law for law in laws if np.isfinite(law.errors.interior)]
    if not laws:
        return lambda x: np.full_like(x, otherwise)
    best = min(laws, key=lambda law: law.errors.interior)
    tree, constants = best.expression, best.constants
    assert tree is not None
    return lambda x: evaluate_numpy(tree, {"r": x}, constants)
