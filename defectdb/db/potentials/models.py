"""Interatomic potentials to versioned rows and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.errors import UnknownNameError, UsageError
from defectdb.expressions.evaluation import to_latex
from defectdb.expressions.expression import Expression, complexity, from_ast, n_constants, to_ast, to_prefix
from defectdb.expressions.texts import to_infix, to_sql
from defectdb.schema.records import now

TARGET = "potential_energy"
ROLES = ("phi", "rho", "F")


@dataclass(frozen=True, slots=True, eq=False)
class PotentialRecord:
    """A potential as it is stored.

    ``material_id``: the element.
    ``formulas``: expression and constants by role: phi, rho, F.
    ``cutoff``, ``window_width`` (angstrom): of the window that multiplies phi and rho.
    ``r_min`` (angstrom), ``density_min``, ``density_max``: ends of the data that it was learned from.
    ``n_train``: configurations. ``mae_train`` (eV per atom).
    ``shifts``: energy of a free atom (eV) by dataset, and whether it was fitted.
    ``errors``: rows of ``potential_errors`` without their model.
    """

    material_id: str
    formulas: Mapping[str, tuple[Expression, tuple[float, ...]]]
    cutoff: float
    window_width: float
    r_min: float
    density_max: float
    density_min: float
    n_train: int
    mae_train: float
    shifts: Mapping[str, tuple[float, bool]]
    errors: pl.DataFrame


def append_potential(db: Database, run_id: int, record: PotentialRecord) -> int:
    """Append a potential's formulas, model, shifts and errors; it becomes the active one of its element. Its id."""
    version = 1 + int(
        db.value(
            "SELECT coalesce(max(version), 0) FROM models WHERE material_id = ? AND target = ?",
            [record.material_id, TARGET],
        )
    )
    ids = _append_formulas(db, run_id, record, version)
    model_id = db.next_id("models", "model_id")
    db.append("models", pl.DataFrame([{
        "model_id": model_id, "run_id": run_id, "material_id": record.material_id, "target": TARGET,
        "version": version, "aggregator": "sum", "images": "sum", "trained_on": "configurations",
        "n_train": record.n_train, "mae_train": record.mae_train, "status": "candidate", "created_at": now(),
        "kind": "potential",
    }]))  # fmt: skip
    db.append("potentials", pl.DataFrame([{
        "model_id": model_id, "phi_id": ids["phi"], "rho_id": ids["rho"], "embedding_id": ids["F"],
        "cutoff": record.cutoff, "window_width": record.window_width, "r_min": record.r_min,
        "density_max": record.density_max,
        "n_constants": sum(n_constants(expression) for expression, _ in record.formulas.values()),
    }]))  # fmt: skip
    db.append("potential_shifts", pl.DataFrame([
        {"model_id": model_id, "dataset_id": name, "shift": shift, "fitted": fitted}
        for name, (shift, fitted) in record.shifts.items()
    ]))  # fmt: skip
    db.append("potential_errors", record.errors.with_columns(model_id=pl.lit(model_id)))
    activate_potential(db, model_id)
    compile_formulas(db)  # the views are those of a file with models from here on
    return model_id


def _append_formulas(db: Database, run_id: int, record: PotentialRecord, version: int) -> dict[str, int]:
    first = db.next_id("formulas", "formula_id")
    element = record.material_id
    rows = []
    for number, role in enumerate(ROLES):
        tree, constants = record.formulas[role]
        embedding = role == "F"
        rows.append({
            "formula_id": first + number, "run_id": run_id, "material_id": element,
            "pair_label": element if embedding else f"{element}-{element}", "target": TARGET, "version": version,
            "ast": to_ast(tree), "prefix": " ".join(to_prefix(tree)), "infix": to_infix(tree, constants),
            "latex": to_latex(tree, constants), "sql": to_sql(tree, constants), "constants": list(constants),
            "complexity": complexity(tree), "n_constants": n_constants(tree), "n_train": record.n_train,
            "mae_train": record.mae_train, "r_min": record.density_min if embedding else record.r_min,
            "r_max": record.density_max if embedding else record.cutoff,
            "cutoff": None if embedding else record.cutoff, "images": "sum", "status": "candidate",
            "created_at": now(), "role": role,
        })  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"constants": pl.List(pl.Float64)}, infer_schema_length=None)
    db.append("formulas", frame.with_columns(pl.col("cutoff").cast(pl.Float64)))
    return {role: first + number for number, role in enumerate(ROLES)}


def activate_potential(db: Database, model_id: int) -> None:
    """Make a potential the active one of its element, in the caller's transaction."""
    db.execute(
        "UPDATE models SET status = CASE WHEN model_id = $id THEN 'active' ELSE 'retired' END WHERE kind = 'potential' "
        "AND material_id = (SELECT material_id FROM models WHERE model_id = $id) "
        "AND (model_id = $id OR status = 'active')",
        {"id": model_id},
    )
    in_use = (
        "SELECT unnest([phi_id, rho_id, embedding_id]) FROM potentials JOIN models USING (model_id) "
        "WHERE models.status = 'active'"
    )
    db.execute(
        f"UPDATE formulas SET status = 'retired' WHERE status = 'active' AND role IS NOT NULL "
        f"AND formula_id NOT IN ({in_use})"
    )
    db.execute(f"UPDATE formulas SET status = 'active' WHERE formula_id IN ({in_use})")


@dataclass(frozen=True, slots=True, eq=False)
class StoredPotential:
    """A potential as it was read.

    ``model_id``, ``material_id``, ``version``, ``status``: which it is.
    ``formulas``: expression and constants by role.
    ``cutoff``, ``window_width``, ``r_min`` (angstrom), ``density_max``: as in ``PotentialRecord``.
    ``shifts``: energy of a free atom (eV) by dataset.
    """

    model_id: int
    material_id: str
    version: int
    status: str
    formulas: Mapping[str, tuple[Expression, tuple[float, ...]]]
    cutoff: float
    window_width: float
    r_min: float
    density_max: float
    shifts: Mapping[str, float]


def stored_potential(
    db: Database, *, model_id: int | None = None, material: str | None = None
) -> StoredPotential:
    """The potential of this id, else the active one, of ``material`` where several elements have one.

    Raises UnknownNameError for an id or element without a potential, UsageError where none or several would do.
    """
    rows = db.frame(
        "SELECT p.*, m.material_id, m.version, m.status FROM potentials AS p JOIN models AS m USING (model_id) "
        "ORDER BY p.model_id"
    )
    if not rows.height:
        raise UsageError("no potential is stored; `defectdb potential learn` learns one")
    if model_id is not None:
        chosen = rows.filter(pl.col("model_id") == model_id)
        if not chosen.height:
            raise UnknownNameError("potential", str(model_id), [str(i) for i in rows["model_id"]])
        return _stored(db, chosen.row(0, named=True))
    if material is not None and material not in rows["material_id"]:
        raise UnknownNameError("element with a potential", material, sorted(set(rows["material_id"])))
    of_element = rows if material is None else rows.filter(pl.col("material_id") == material)
    active = of_element.filter(pl.col("status") == "active")
    if not active.height:
        active = of_element.tail(1)
    if active.height > 1:
        raise UsageError(f"{', '.join(active['material_id'])} have potentials: say which with --material")
    return _stored(db, active.row(0, named=True))


def _stored(db: Database, row: Mapping[str, Any]) -> StoredPotential:
    ids = {"phi": row["phi_id"], "rho": row["rho_id"], "F": row["embedding_id"]}
    found = db.frame(
        "SELECT formula_id, ast, constants FROM formulas WHERE list_contains(?, formula_id)",
        [list(ids.values())],
    )
    known = {i: (from_ast(ast), tuple(constants)) for i, ast, constants in found.iter_rows()}
    missing = [role for role, i in ids.items() if i not in known]
    if missing:
        raise UnknownNameError("formula of the potential", ", ".join(missing), [])
    shifts = db.frame("SELECT dataset_id, shift FROM potential_shifts WHERE model_id = ?", [row["model_id"]])
    return StoredPotential(
        row["model_id"], row["material_id"], row["version"], row["status"],
        {role: known[i] for role, i in ids.items()}, row["cutoff"], row["window_width"], row["r_min"],
        row["density_max"], dict(shifts.iter_rows()),
    )  # fmt: skip


def store_properties(db: Database, model_id: int, rows: pl.DataFrame) -> None:
    """Replace a potential's properties (property, value, unit, reference, source), in the caller's transaction."""
    db.execute("DELETE FROM potential_properties WHERE model_id = ?", [model_id])
    db.append("potential_properties", rows.with_columns(model_id=pl.lit(model_id)))
