"""Pair kernels as functions of distance, made of stored formulas: for figures, screening and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.read import formula, known, pair_label
from defectdb.db.scope import EVERYTHING, Scope, one_material
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, from_ast
from defectdb.expressions.texts import to_infix
from defectdb.query.polars_math import to_polars
from defectdb.schema.fields import TARGETS
from defectdb.schema.labels import formula_order


@dataclass(frozen=True, slots=True)
class Part:
    """One formula of a kernel, for a window of |dz|.

    ``formula_id``: its row of table formulas.
    ``expression``, ``constants``: the formula, in eV as a function of r and dz in angstrom.
    ``r_min``, ``r_max``: range of distances that it was learned on, angstrom.
    ``dz_min``, ``dz_max``: it holds for dz_min <= |dz| < dz_max, angstrom.
    ``images``: nearest, or sum over all periodic images.
    ``cutoff``: from this distance on it is zero, angstrom; infinite where it never is.
    """

    formula_id: int
    expression: Expression
    constants: tuple[float, ...]
    r_min: float
    r_max: float
    dz_min: float
    dz_max: float
    images: str
    cutoff: float = np.inf

    def holds(self, dz: Floats) -> NDArray[np.bool_]:
        """Where the part's window contains |dz|."""
        return (dz >= self.dz_min) & (dz < self.dz_max)


@dataclass(frozen=True, slots=True, repr=False)
class Kernel:
    """What a pair of defects contributes to a target, as a function of distance and |dz|.

    ``material``: material_id.
    ``label``, ``target``: pair label, e.g. Vac_Mo-Vac_S, and target, e.g. formation_energy.
    ``parts``: its formulas, one for each window of |dz|.
    """

    material: str
    label: str
    target: str
    parts: tuple[Part, ...]

    def __repr__(self) -> str:
        texts = "; ".join(to_infix(part.expression, part.constants, digits=4) for part in self.parts)
        return f"<kernel {self.label} of {self.material}, {self.target}: {texts}>"

    def __call__(self, r: Floats | float, dz: Floats | float = 0.0) -> Floats:
        """Values in eV, shaped like r and dz together; NaN where no formula holds or it is undefined."""
        r, dz = np.broadcast_arrays(np.asarray(r, dtype=np.float64), np.asarray(dz, dtype=np.float64))
        values = np.full(r.shape, np.nan)
        for part in self.parts:
            here = part.holds(dz)
            env = {"r": r[here], "dz": dz[here]}
            found = evaluate_numpy(part.expression, env, part.constants)
            values[here] = np.where(env["r"] >= part.cutoff, 0.0, found)
        return values

    def within(self, r: Floats, dz: Floats) -> NDArray[np.bool_]:
        """Where the formula was learned or is cut off: elsewhere it extrapolates."""
        r, dz = np.broadcast_arrays(np.asarray(r), np.asarray(dz))
        inside = np.zeros(r.shape, dtype=bool)
        for part in self.parts:
            learned = (r >= part.r_min) & (r <= part.r_max)
            inside |= part.holds(dz) & (learned | (r >= part.cutoff))
        return inside

    def polars(self, r: str = "distance", dz: str = "dz") -> pl.Expr:
        """The kernel's values in eV over two columns of a frame, angstrom."""
        columns = {"r": pl.col(r), "dz": pl.col(dz)}
        result = pl.lit(None, dtype=pl.Float64)
        for part in self.parts:
            here = (pl.col(dz) >= part.dz_min) & (pl.col(dz) < part.dz_max)
            value = to_polars(part.expression, part.constants, columns)
            if np.isfinite(part.cutoff):
                value = pl.when(pl.col(r) >= part.cutoff).then(0.0).otherwise(value)
            result = pl.when(here).then(value).otherwise(result)
        return result


def kernel(
    db: Database, label: str, target: str, formula_id: int | None = None, scope: Scope = EVERYTHING
) -> Kernel:
    """The active kernel of a pair label in one material, or the kernel that a single formula makes.

    Raises UnknownNameError, and UsageError where there is none or several materials have one.
    """
    label, _ = pair_label(db, label), known("target", target, list(TARGETS))
    if formula_order(label) != 2:
        raise UsageError(f"a kernel is a function of one pair's distance; {label} is no pair")
    if formula_id is not None:
        row = formula(db, formula_id)
        _demand_formula_of(row, label, target, scope)
        return Kernel(row["material_id"], label, target, parts([row]))
    rows = db.frame(
        "SELECT * FROM formulas WHERE pair_label = ? AND target = ? AND status = 'active' ORDER BY dz_min",
        [label, target],
    )
    material = one_material(db, scope, rows["material_id"].to_list(), f"kernels of {label}")
    if material is None:
        where = f" in {scope.material}" if scope.material else ""
        raise UsageError(
            f"{label} has no active formula of {target}{where}; `defectdb learn --pair {label}` finds one"
        )
    return Kernel(material, label, target, parts(rows.filter(material_id=material).to_dicts()))


def _demand_formula_of(row: dict[str, Any], label: str, target: str, scope: Scope) -> None:
    """Raises UsageError for a formula of another label, target or material."""
    if (row["pair_label"], row["target"]) != (label, target):
        raise UsageError(f"formula {row['formula_id']} is of {row['pair_label']}, {row['target']}")
    if scope.material not in (None, row["material_id"]):
        raise UsageError(f"formula {row['formula_id']} is of {row['material_id']}, not {scope.material}")


def parts(rows: Sequence[dict[str, Any]]) -> tuple[Part, ...]:
    """Rows of ``formulas`` as parts of a kernel."""
    return tuple(
        Part(
            formula_id=row["formula_id"],
            expression=from_ast(row["ast"]),
            constants=tuple(row["constants"]),
            **{name: row[name] for name in ("r_min", "r_max", "dz_min", "dz_max", "images")},
            cutoff=np.inf if row["cutoff"] is None else row["cutoff"],
        )
        for row in rows
    )
