"""Errors that others published for the same data, to stand beside ours.

Mean absolute errors in meV, as compared by Lazarev and Ustyuzhanin (the symbolic column is theirs). Data:
Huang et al., npj 2D Mater. Appl. 7, 6 (2023), doi 10.1038/s41699-023-00369-1. Sparse graph networks:
Kazeev et al., npj Comput. Mater. 9, 113 (2023), doi 10.1038/s41524-023-01062-z.
"""

from __future__ import annotations

import polars as pl

from defectdb.db import Database
from defectdb.db.read import PREDICTED
from defectdb.db.scope import EVERYTHING, Scope
from defectdb.query.evaluate import evaluate
from defectdb.query.figures.style import NAMES

METHODS = ("SchNet", "GemNet", "MEGNet", "CatBoost", "MEGNet (sparse)", "Symbolic (SEGVAE)")
ENERGY, GAP = "formation_energy_per_site", "homo_lumo_gap"
_MEV: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("MoS2", "low"): {ENERGY: (65, 44, 58, 12.6, 4, 4), GAP: (157, 46, 30, 20.7, 5.7, 18)},
    ("WSe2", "low"): {ENERGY: (85, 42, 65, 16.3, 6, 30), GAP: (236, 64, 32, 18.3, 8.1, 44)},
    ("MoS2", "high"): {ENERGY: (321, 535, 196, 136, 23, 50), GAP: (204, 174, 54, 71, 39, 55)},
    ("WSe2", "high"): {ENERGY: (536, 575, 112, 162, 23, 74), GAP: (186, 268, 47, 106, 35, 81)},
}


def published() -> pl.DataFrame:
    """Columns material, density, target, method, mae_mev."""
    rows = [
        (material, density, target, method, value)
        for (material, density), targets in _MEV.items()
        for target, values in targets.items()
        for method, value in zip(METHODS, values, strict=True)
    ]
    names = ["material", "density", "target", "method", "mae_mev"]
    return pl.DataFrame(rows, schema=names, orient="row", schema_overrides={"mae_mev": pl.Float64})


def accuracy(db: Database, scope: Scope = EVERYTHING) -> pl.DataFrame:
    """Errors of this database's models beside published ones for the same material and density [meV].

    Ours are on all stored structures of three or more defects; the method says what the model was fitted to.
    """
    ours = db.frame(
        """
        SELECT e.material_id AS material, s.density, e.target, 'this work, from ' || m.trained_on AS method,
               1000 * avg(abs(e.error)) AS mae_mev, count(e.error) AS n
        FROM prediction_errors AS e
        JOIN structures AS s USING (structure_id)
        JOIN models AS m USING (model_id)
        WHERE e.n_defects > 2 AND e.material_id = coalesce($material, e.material_id)
            AND coalesce(list_contains(CAST($datasets AS VARCHAR[]), e.dataset_id), TRUE)
        GROUP BY ALL
        """,
        scope.parameters(),
    )
    if ours.is_empty():
        ours = _all_structures(db, scope)
    keys = ours.select("material", "density", "target").unique()
    theirs = published().join(keys, on=["material", "density", "target"], nulls_equal=True)
    table = pl.concat([theirs, ours], how="diagonal_relaxed")
    wide = table.pivot(
        on="target", index=["material", "density", "method"], values="mae_mev", sort_columns=True
    )
    named = wide.rename({t: f"{NAMES[t]} [meV]" for t in PREDICTED if t in wide.columns})
    order = pl.col("method").str.starts_with("this work")
    return named.sort("material", "density", order, maintain_order=True).with_columns(
        pl.col(pl.Float64).round(2)
    )


def _all_structures(db: Database, scope: Scope) -> pl.DataFrame:
    found = evaluate(db, "material", scope=scope)
    return found.select(
        material="group", density=pl.lit(None, dtype=pl.String), target="target", method=pl.lit("this work"),
        mae_mev=1000 * pl.col("mae"), n="n",
    )  # fmt: skip
