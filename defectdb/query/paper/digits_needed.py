"""The fewest digits of a formula's constants that keep its accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from defectdb.db import Database
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression
from defectdb.schema.labels import COMPOSITION, count_variable, split_label
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
    env = _arguments(db, row)
    exact = evaluate_numpy(expression, env, constants)
    allowed = max(SHARE * row["mae_train"], FLOOR)
    for digits in range(2, 17):
        rounded = [float(f"{value:.{digits}g}") for value in constants]
        moved = np.abs(evaluate_numpy(expression, env, rounded) - exact)
        if np.nanmax(moved, initial=0.0) <= allowed:
            return digits
    return 17


def _arguments(db: Database, row: Mapping[str, Any]) -> dict[str, Any]:
    """Distinct arguments of the formula in its material: distances and |dz|, or edges of triangles, angstrom; of a
    composition the numbers of defects, of sites, and values in eV."""
    if row["pair_label"] == COMPOSITION:
        return _compositions(db, row)
    of_material = (
        "JOIN structures USING (structure_id) JOIN hosts USING (host_id) WHERE label = ? AND material_id = ?"
    )
    if len(split_label(row["pair_label"])) == 3:
        names = ", ".join(TRIPLE_VARIABLES)
        frame = db.frame(
            f"SELECT DISTINCT {names} FROM triples {of_material}", [row["pair_label"], row["material_id"]]
        )
    else:
        frame = db.frame(
            f"SELECT DISTINCT distance AS r, dz FROM pairs {of_material} AND dz >= ? AND dz < ?",
            [row[name] for name in ("pair_label", "material_id", "dz_min", "dz_max")],
        )
    return {name: frame[name].to_numpy() for name in frame.columns}


def _compositions(db: Database, row: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a composition formula; the stored values stand for what the other terms give."""
    frame = db.frame(
        "SELECT s.defect_labels, s.n_defects AS n, h.n_sites AS sites, avg(t.value) AS v FROM structures AS s "
        "JOIN hosts AS h USING (host_id) JOIN target_values AS t USING (structure_id) "
        "WHERE h.material_id = ? AND t.target = ? AND s.n_defects > 0 GROUP BY ALL",
        [row["material_id"], row["target"]],
    )
    sets = [labels.split("+") for labels in frame["defect_labels"]]
    counts = {
        count_variable(label): np.array([float(one.count(label)) for one in sets])
        for label in {label for one in sets for label in one}
    }
    known = {name: frame[name].to_numpy().astype(np.float64) for name in ("n", "sites", "v")}
    return counts | known | dict.fromkeys(("interaction", "least", "most"), known["v"])
