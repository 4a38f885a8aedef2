"""Exact constants to as few digits as still give the formula's accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from defectdb.db import Database
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression
from defectdb.schema.records import TRIPLE_VARIABLES

SHARE = 0.01  # of the formula's own mean absolute error
FLOOR = 1e-6  # eV


def digits_needed(
    db: Database, expression: Expression, constants: tuple[float, ...], row: Mapping[str, Any]
) -> int:
    """Significant digits of the constants from which on rounding moves no error by more than one per cent.

    The formula is compared with itself at every distance (or triangle) of its label in the database.
    ``row`` is its row of ``formulas``. At most 17 digits: those are exact.
    """
    env = _places(db, row)
    exact = evaluate_numpy(expression, env, constants)
    allowed = max(SHARE * row["mae_train"], FLOOR)
    for digits in range(2, 17):
        rounded = [float(f"{value:.{digits}g}") for value in constants]
        moved = np.abs(evaluate_numpy(expression, env, rounded) - exact)
        if np.nanmax(moved, initial=0.0) <= allowed:
            return digits
    return 17


def _places(db: Database, row: Mapping[str, Any]) -> dict[str, Any]:
    """Distinct arguments of the formula in the database."""
    if row["pair_label"].count("-") == 2:
        names = ", ".join(TRIPLE_VARIABLES)
        frame = db.frame(f"SELECT DISTINCT {names} FROM triples WHERE label = ?", [row["pair_label"]])
    else:
        frame = db.frame(
            "SELECT DISTINCT distance AS r, dz FROM pairs WHERE label = ? AND dz >= ? AND dz < ?",
            [row["pair_label"], row["dz_min"], row["dz_max"]],
        )
    return {name: frame[name].to_numpy() for name in frame.columns}
