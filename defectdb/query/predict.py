"""Predictions of one target for stored structures, from the database's own views."""

from __future__ import annotations

import polars as pl

from defectdb.db import Database
from defectdb.db.read import PREDICTED, known
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.db.stale import stale_sentence
from defectdb.errors import UsageError
from defectdb.query.missing_terms import no_term_for

COLUMNS = (
    "structure_id", "target", "value", "unit", "model_id", "n_defects", "extrapolated", "lower_90", "upper_90",
)  # fmt: skip
"""Columns of a file of predictions."""


def predict(
    db: Database, target: str, model_id: int | None = None, scope: Scope = EVERYTHING
) -> pl.DataFrame:
    """Predictions of every structure in scope that has a model, by structure_id: COLUMNS and ``missing`` (labels).

    The active models predict, or the one named. ``value`` is null where a term is missing or a formula is
    undefined. Raises UnknownNameError for an unknown target or model, UsageError where no model has the
    target.
    """
    demand_model(db, target, model_id, scope)
    source = "predictions" if model_id is None else "predictions_as_of($model)"
    parameters = {"target": target} | ({} if model_id is None else {"model": model_id})
    columns = ", ".join(f"p.{name}" for name in COLUMNS)
    within = ""
    if scope != EVERYTHING:
        parameters |= scope.parameters()
        within = (
            f"JOIN structures AS s USING (structure_id) JOIN hosts AS h USING (host_id) WHERE {IN_SCOPE} AND"
        )
    return db.frame(
        f"SELECT {columns}, p.missing FROM {source} AS p {within or 'WHERE'} p.target = $target ORDER BY structure_id",
        parameters,
    )


def demand_model(db: Database, target: str, model_id: int | None = None, scope: Scope = EVERYTHING) -> None:
    """Raises UnknownNameError for an unknown target or model, UsageError where no model in scope has the target."""
    known("target", target, PREDICTED)
    learned = target.removesuffix("_per_site")
    models = db.frame("SELECT model_id, material_id, target, status FROM models ORDER BY model_id")
    if model_id is not None:
        known("model", str(model_id), [str(key) for key in models["model_id"]])
        of = models.filter(pl.col("model_id") == model_id)["target"].item()
        if of != learned:
            raise UsageError(f"model {model_id} predicts {of}, not {target}")
        return
    active = models.filter(target=learned, status="active")
    if scope.material is not None:
        active = active.filter(material_id=scope.material)
    if active.is_empty():
        where = f" of {scope.material}" if scope.material else ""
        make = f"no model predicts {target}{where} yet; `defectdb learn --all-pairs --target {learned}` makes one"
        raise UsageError(stale_sentence(db, learned) or make)


def narrate_unpredicted(db: Database, frame: pl.DataFrame, scope: Scope = EVERYTHING) -> list[str]:
    """Sentences about structures in scope that the predictions ``frame`` have no row for, one for every reason."""
    with db.registered(predicted=frame.select("structure_id")):
        left = db.frame(
            "SELECT h.material_id, s.charge <> 0 AS charged, s.n_defects = 0 AS pristine, count(*) AS n, "
            "min(s.n_defects) AS fewest, max(s.n_defects) AS most "
            "FROM structures AS s JOIN hosts AS h USING (host_id) ANTI JOIN predicted USING (structure_id) "
            f"WHERE {IN_SCOPE} GROUP BY ALL ORDER BY ALL",
            scope.parameters(),
        )
    found = []
    for row in left.iter_rows(named=True):
        several = row["n"] > 1
        many = f"{row['n']} structure{'s' if several else ''} of {row['material_id']}"
        if row["charged"]:
            why = f"{'carry' if several else 'carries'} a charge, and models are learned from neutral defects"
        elif row["pristine"]:
            why = f"{'hold' if several else 'holds'} no defect"
        else:
            numbers = " to ".join(map(str, dict.fromkeys((row["fewest"], row["most"]))))
            why = f"with {numbers} defects {'are' if several else 'is'} outside every model in use"
        found.append(f"{many} {why}: no prediction")
    return found


def narrate_gaps(frame: pl.DataFrame) -> str | None:
    """One sentence about structures without a value, None where all have one."""
    n = frame["value"].null_count()
    if not n:
        return None
    labels = sorted(set(frame["missing"].explode(empty_as_null=False).drop_nulls()))
    why = no_term_for(labels) if labels else "a formula is undefined there"
    return f"{n} of {frame.height} structures have no prediction: {why}"


def narrate_unknown(frame: pl.DataFrame) -> list[str]:
    """Sentences about structures that no network has a value for, one for every set of what it has not seen."""
    empty = frame.filter(pl.col("value").is_null())
    counted = empty.group_by(pl.col("missing").list.join(", ")).len().sort("missing")
    found = []
    for missing, n in counted.iter_rows():
        why = (
            f"no network in use has seen {missing} in training"
            if missing
            else "its formulas give no value there"
        )
        found.append(f"{n} of {frame.height} structures have no prediction: {why}")
    return found
