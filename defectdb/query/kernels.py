"""Stored formula rows to functions of distance: what figures, screening and notebooks evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.read import formula, known, pair_label
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, from_ast
from defectdb.query.polars_math import to_polars
from defectdb.schema.fields import TARGETS


@dataclass(frozen=True, slots=True)
class Part:
    """One formula of a kernel, for dz_min <= |dz| < dz_max [angstrom], learned on r_min <= r <= r_max."""

    formula_id: int
    expression: Expression
    constants: tuple[float, ...]
    r_min: float
    r_max: float
    dz_min: float
    dz_max: float
    images: str

    def holds(self, dz: Floats) -> NDArray[np.bool_]:
        """Where the part's window contains |dz|."""
        return (dz >= self.dz_min) & (dz < self.dz_max)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a pair label contributes to a target, in eV, as a function of distance and |dz|."""

    label: str
    target: str
    parts: tuple[Part, ...]

    def __call__(self, r: Floats, dz: Floats) -> Floats:
        """Values in eV, shaped like r and dz together; NaN where no formula holds or it is undefined."""
        r, dz = np.broadcast_arrays(np.asarray(r, dtype=np.float64), np.asarray(dz, dtype=np.float64))
        values = np.full(r.shape, np.nan)
        for part in self.parts:
            here = part.holds(dz)
            env = {"r": r[here], "dz": dz[here]}
            values[here] = evaluate_numpy(part.expression, env, part.constants)
        return values

    def within(self, r: Floats, dz: Floats) -> NDArray[np.bool_]:
        """Where the formula was learned: elsewhere it extrapolates."""
        inside = np.zeros(np.broadcast_shapes(np.shape(r), np.shape(dz)), dtype=bool)
        for part in self.parts:
            inside |= (
                part.holds(np.asarray(dz)) & (np.asarray(r) >= part.r_min) & (np.asarray(r) <= part.r_max)
            )
        return inside

    def polars(self, r: str = "distance", dz: str = "dz") -> pl.Expr:
        """The same over two columns of a frame."""
        columns = {"r": pl.col(r), "dz": pl.col(dz)}
        result = pl.lit(None, dtype=pl.Float64)
        for part in self.parts:
            here = (pl.col(dz) >= part.dz_min) & (pl.col(dz) < part.dz_max)
            result = pl.when(here).then(to_polars(part.expression, part.constants, columns)).otherwise(result)
        return result


def kernel(
    db: Database, label: str, target: str, formula_id: int | None = None, material: str | None = None
) -> Kernel:
    """The active kernel of a pair label, or the one that a formula is.

    Raises UnknownNameError, and UsageError where there is none or several materials have one.
    """
    label, _ = pair_label(db, label), known("target", target, list(TARGETS))
    if formula_id is not None:
        rows = [formula(db, formula_id)]
        if (rows[0]["pair_label"], rows[0]["target"]) != (label, target):
            raise UsageError(f"formula {formula_id} is of {rows[0]['pair_label']}, {rows[0]['target']}")
    else:
        rows = db.frame(
            "SELECT * FROM formulas WHERE pair_label = ? AND target = ? AND status = 'active' "
            "AND coalesce(material_id = ?, TRUE) ORDER BY dz_min",
            [label, target, material],
        ).to_dicts()
    if not rows:
        raise UsageError(
            f"{label} has no active formula of {target}; `defectdb learn --pair {label}` finds one"
        )
    if len(materials := {row["material_id"] for row in rows}) > 1:
        raise UsageError(f"{label} has kernels in {', '.join(sorted(materials))}: name the material")
    return Kernel(label, target, parts(rows))


def parts(rows: Sequence[dict[str, Any]]) -> tuple[Part, ...]:
    """Rows of ``formulas`` as parts of a kernel."""
    return tuple(
        Part(
            formula_id=row["formula_id"],
            expression=from_ast(row["ast"]),
            constants=tuple(row["constants"]),
            **{name: row[name] for name in ("r_min", "r_max", "dz_min", "dz_max", "images")},
        )
        for row in rows
    )
