"""The table of accuracy: errors of the models in use, of how many structures, and published ones beside them."""

from __future__ import annotations

import polars as pl

from defectdb.db import Database
from defectdb.db.read import PREDICTED
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.query.evaluate import evaluate
from defectdb.query.figures.style import NAMES
from defectdb.query.paper.published import JUDGED, published

_KEYS = ("material", "density", "target")


def own_errors(db: Database, scope: Scope = EVERYTHING) -> pl.DataFrame:
    """As ``judged_errors``; where no structure has three defects: of all that are compared, with density null."""
    found = judged_errors(db, scope)
    if not found.is_empty():
        return found
    return evaluate(db, "material", scope=scope).select(
        material="group", density=pl.lit(None, dtype=pl.String), target="target",
        method=pl.lit("this work, all structures"), mae_mev=1000 * pl.col("mae"), n=pl.col("n").cast(pl.Int64),
        n_judged=(pl.col("n") + pl.col("undefined")).cast(pl.Int64),
    )  # fmt: skip


def judged_errors(db: Database, scope: Scope = EVERYTHING) -> pl.DataFrame:
    """Errors of the models in use on the neutral structures of three and more defects that have a stored value.

    Columns: material, density, target, method (which says what the model was fitted to), mae_mev, n (structures
    predicted), n_judged (structures with a value, predicted or not).
    """
    return db.frame(
        f"""
        WITH judged AS (
            SELECT h.material_id AS material, s.density, t.target, count(*) AS n_judged
            FROM target_values AS t
            JOIN structures AS s USING (structure_id)
            JOIN hosts AS h USING (host_id)
            WHERE s.n_defects >= $judged AND coalesce(s.charge, 0) = 0 AND {IN_SCOPE}
            GROUP BY ALL
        ),
        compared AS (
            SELECT e.material_id AS material, s.density, e.target, 'this work, from ' || m.trained_on AS method,
                   1000 * avg(abs(e.error)) AS mae_mev, count(e.error) AS n
            FROM (SELECT * FROM prediction_errors WHERE {IN_SCOPE}) AS e
            JOIN structures AS s USING (structure_id)
            JOIN models AS m USING (model_id)
            WHERE e.n_defects >= $judged
            GROUP BY ALL
        )
        SELECT c.*, j.n_judged
        FROM compared AS c
        JOIN judged AS j ON j.material = c.material AND j.target = c.target AND j.density IS NOT DISTINCT FROM c.density
        ORDER BY ALL
        """,
        {**scope.parameters(), "judged": JUDGED},
    )


def accuracy(ours: pl.DataFrame) -> pl.DataFrame:
    """A row for each material, density and method, errors in meV; of ours also how many structures they are of.

    Published errors of a material, density and property stand beside ours only where one of our models predicts every
    judged structure: an error of some of them is not comparable with one of all. ``ours`` as from ``own_errors``.
    """
    whole = ours.filter(pl.col("n") == pl.col("n_judged")).select(_KEYS).unique()
    theirs = published().join(whole, on=_KEYS, nulls_equal=True).select(*_KEYS, "method", "mae_mev")
    share = pl.format(
        "{} of {} ({}%)", "n", "n_judged", (100 * pl.col("n") / pl.col("n_judged")).floor().cast(pl.Int64)
    )
    table = pl.concat(
        [theirs, ours.select(*_KEYS, "method", "mae_mev", structures=share)], how="diagonal_relaxed"
    )
    index = ["material", "density", "method"]
    values = table.pivot(on="target", index=index, values="mae_mev", sort_columns=True)
    shares = table.pivot(on="target", index=index, values="structures", sort_columns=True)
    wide = values.join(shares, on=index, how="left", nulls_equal=True, suffix=" share", maintain_order="left")
    columns = [
        column
        for target in PREDICTED
        if target in values.columns
        for column in (
            pl.col(target).round(2).alias(f"{NAMES[target]} [meV]"),
            pl.col(f"{target} share").alias(f"{NAMES[target]}: structures"),
        )
    ]
    order = pl.col("method").str.starts_with("this work")
    return wide.sort("material", "density", order, maintain_order=True).select(*index, *columns)


def coverage_sentences(ours: pl.DataFrame) -> list[str]:
    """What the caption says about the structures that the errors are of; ``ours`` as from ``own_errors``."""
    parts = ours.filter(pl.col("n") < pl.col("n_judged"))
    if "formation_energy_per_site" in parts["target"]:
        parts = parts.filter(pl.col("target") != "formation_energy")  # the same structures
    if parts.is_empty():
        return ["Every structure with a stored value is predicted."]
    named = [
        f"{row['material']}{' ' + row['density'] if row['density'] else ''}, {NAMES[row['target']]} "
        f"({row['method'].removeprefix('this work, ')}): {row['n']} of {row['n_judged']}"
        for row in parts.iter_rows(named=True)
    ]
    return [
        f"These errors are of a part of the structures with a stored value only: {'; '.join(named)}.",
        "Where no model predicts all of them, no published error stands beside ours: it is of other structures.",
    ]
