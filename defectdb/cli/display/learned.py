"""Print what a learning job found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from defectdb.engine.finishing.scored import Scored
from defectdb.engine.search.outcome import Generation, islands_of
from defectdb.expressions.dimensions import ENERGY, constant_units, kernel_unit
from defectdb.expressions.families import law_of
from defectdb.expressions.texts import to_infix
from defectdb.learn import Learned
from defectdb.learn.pairs.distance_classes import nearest
from defectdb.learn.pairs.kernel_task import STEADY, Kernel, PairTask

_ERRORS = ("RMSE", "MAE", "MAE_cv", "interior")
"""Columns of errors: in training, with each distance left out in turn, and of these without the end points."""

LIGHTER = ("DL", "BIC", "RMSE", "interior")
"""Columns that a narrow terminal does without, so that the formulas have room."""


def rows_note(kernel: Kernel) -> str:
    """What a kernel was learned from, on one line."""

    task = kernel.task
    r = nearest(task)
    rows = "1 row" if len(task.y) == 1 else f"{len(task.y)} rows"
    return f"{task.name}: {task.config.target}, {rows}, r {r.min():.2f} to {r.max():.2f} angstrom"


def error_note(learned: Learned) -> str:
    """What the printed errors are errors of."""
    task = learned.kernels[0].task
    if not isinstance(task, PairTask):
        return "Errors in meV, of every term's values at its points"
    if task.config.target == "formation_energy":
        return "Errors in meV per pair: of its whole interaction, twice those per site"
    return f"Errors in meV per pair: of its {task.config.target}"


def _measures(scored: Scored) -> dict[str, float | None]:
    """Errors in meV; empty where unknown or without bound."""
    values = (scored.mse**0.5, scored.mae, scored.mae_cv, scored.mae_cv_interior)
    return {n: 1000 * v if math.isfinite(v) else None for n, v in zip(_ERRORS, values, strict=True)}


def front_table(kernel: Kernel) -> pl.DataFrame:

    rows = [
        {
            "": "*" if i == kernel.chosen else "",
            "tokens": s.complexity,
            **_measures(s),
            "BIC": s.bic if math.isfinite(s.bic) else None,
            "DL": s.description_length if math.isfinite(s.description_length) else None,
            "formula": to_infix(s.expression, s.constants, 5),
            "law": law_of(s.expression, s.constants) or "",
        }
        for i, s in enumerate(kernel.front)
    ]
    return _frame(rows)


def chosen_table(learned: Learned) -> pl.DataFrame:

    rows = [
        {
            "kernel": kernel.task.name,
            "id": formula_id,
            "tokens": best.complexity,
            **_measures(best),
            **_agreement(kernel),
            "formula": to_infix(best.expression, best.constants, 5),
            "law": law_of(best.expression, best.constants) or "",
        }
        for kernel, formula_id in zip(learned.kernels, learned.formula_ids, strict=True)
        for best in [kernel.front[kernel.chosen]]
    ]
    return _frame(rows)


def _agreement(kernel: Kernel) -> dict[str, str]:
    """How many of several searches have the chosen formula's family on their front."""
    if not kernel.found_by:
        return {}
    return {"seeds": f"{kernel.found_by[kernel.chosen]}/{kernel.task.islands}"}


def agreement_note(learned: Learned) -> str | None:
    """What several searches agree on, None where there was one of each."""
    several = [k for k in learned.kernels if k.found_by]
    if not several:
        return None
    most = sum(k.found_by[k.chosen] >= STEADY * k.task.islands for k in several)
    alone = [k.task.name for k in several if k.found_by[k.chosen] == 1]
    said = f"{most} of {len(several)} kernels have a family that four of five searches found, or more"
    return said + (f"; one search alone found that of {', '.join(alone)}" if alone else "")


def stored_front(learned: Learned) -> pl.DataFrame:
    """The model front: tokens, error (eV) and active, as the database gives it."""
    import polars as pl

    used = tuple(kernel.chosen for kernel in learned.kernels)
    return pl.DataFrame(
        [{"tokens": p.tokens, "error": p.error, "active": p.chosen == used} for p in learned.front]
    )


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows whose numbers are numbers even where every one is unknown."""
    import polars as pl

    numbers = {name: pl.Float64 for name in (*_ERRORS, "BIC", "DL") if name in rows[0]}
    return pl.DataFrame(rows, schema_overrides=numbers, infer_schema_length=None)


def summary(learned: Learned) -> dict[str, Any]:
    return {
        "run_id": learned.run_id,
        "model_id": learned.model_id,
        "material": learned.material,
        "seconds": learned.seconds,
        "front": [{"tokens": p.tokens, "error": p.error, "chosen": list(p.chosen)} for p in learned.front],
        "kernels": [
            {
                "label": kernel.task.label, "target": kernel.task.config.target,
                "dz_min": kernel.task.dz_min, "dz_max": kernel.task.dz_max, "formula_id": formula_id,
                "n_train": len(kernel.task.y), "found_by": list(kernel.found_by),
                "islands": kernel.task.islands, "seconds": kernel.seconds, "n_fits": kernel.n_fits,
                "front": [
                    {
                        "infix": to_infix(s.expression, s.constants), "law": law_of(s.expression, s.constants),
                        "complexity": s.complexity,
                        "n_constants": len(s.constants), "mse": s.mse, "rmse": s.mse**0.5,
                        "mae": s.mae, "mae_cv": s.mae_cv, "mae_cv_interior": s.mae_cv_interior, "bic": s.bic,
                        "description_length": s.description_length, "chosen": i == kernel.chosen,
                        **_units(s, kernel),
                    }
                    for i, s in enumerate(kernel.front)
                ],
                "generations": _statistics(kernel.generations),
            }
            for kernel, formula_id in zip(learned.kernels, learned.formula_ids, strict=True)
        ],
    }  # fmt: skip


def _units(scored: Scored, kernel: Kernel) -> dict[str, Any]:
    """With --units: exponents of angstrom and eV of every constant."""

    if not kernel.task.config.units:
        return {}
    variables = {name: kernel_unit(name) for name in kernel.task.variables}
    solved = (constant_units(scored.expression, variables, value) for value in (ENERGY, None))
    found: list[Any] = next((units for units in solved if units is not None), [])
    named = [None if unit is None else {"angstrom": unit[0], "eV": unit[1]} for unit in found]
    return {"units": named}


def _statistics(generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """The generations' numbers, errors squared in eV as elsewhere, and of which island each is: all begin with 0."""

    rows = []
    for island, generation in zip(islands_of(generations), generations, strict=True):
        reached = [{"complexity": size, "mse": mse} for size, mse in generation.reached]
        rows.append({"island": island, **asdict(generation), "reached": reached})
    return rows
