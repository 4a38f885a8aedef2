"""Learned formulas and models to versioned rows: append, activate, retire, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.db.models.intervals import calibrate
from defectdb.errors import UnknownNameError, UsageError
from defectdb.expressions.evaluation import to_latex
from defectdb.expressions.expression import complexity, n_constants, to_ast, to_prefix
from defectdb.expressions.texts import to_infix, to_sql
from defectdb.schema.labels import COMPOSITION, formula_order
from defectdb.schema.records import (
    EVERY_DZ,
    FormulaRecord,
    ModelRecord,
    RunRecord,
    RunStatus,
    TermRecord,
    now,
)


def start_run(db: Database, run: RunRecord) -> int:
    """Append a run, alive for as long as this process; its id."""
    run_id = db.next_id("runs", "run_id")
    db.append("runs", pl.DataFrame([{"run_id": run_id, **run.model_dump()}], schema_overrides=_TEXTS))
    db.hold_run(run_id)
    return run_id


_TEXTS = {"reason": pl.String}


def finish_run(db: Database, run_id: int, status: RunStatus, reason: str | None = None) -> None:
    """Record how a run ended, and why where it failed."""
    db.execute(
        "UPDATE runs SET status = ?, finished_at = ?, reason = ? WHERE run_id = ?",
        [status, now(), reason, run_id],
    )
    db.let_run_go(run_id)


def resume_run(db: Database, run_id: int) -> None:
    """Mark a run that ended before it was done as running again, in this process."""
    db.execute(
        "UPDATE runs SET status = 'running', finished_at = NULL, reason = NULL WHERE run_id = ?", [run_id]
    )
    db.hold_run(run_id)


def append_generations(db: Database, frame: pl.DataFrame) -> int:
    """Append rows of the search's log (columns of ``generations``); how many."""
    return db.append("generations", frame)


def append_formulas(db: Database, records: Sequence[FormulaRecord]) -> list[int]:
    """Append formulas; their ids, in order. Versions count up per material, label and target."""
    if not records:
        return []
    first = db.next_id("formulas", "formula_id")
    versions = _latest_versions(db)
    rows = []
    for formula_id, record in enumerate(records, first):
        key = (record.material_id, record.pair_label, record.target)
        versions[key] = versions.get(key, 0) + 1
        rows.append({"formula_id": formula_id, "version": versions[key], **_formula_row(record)})
    schema = {"constants": pl.List(pl.Float64), "constant_errors": pl.List(pl.Float64)}
    db.append("formulas", pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None))
    return [row["formula_id"] for row in rows]


def _latest_versions(db: Database) -> dict[tuple[str, str, str], int]:
    frame = db.frame("SELECT material_id, pair_label, target, max(version) AS v FROM formulas GROUP BY ALL")
    return {(material, label, target): version for material, label, target, version in frame.iter_rows()}


def _formula_row(record: FormulaRecord) -> dict[str, Any]:
    tree, constants = record.expression, record.constants
    return {
        **record.model_dump(exclude={"expression", "constants", "constant_errors"}),
        "constants": list(constants),
        "constant_errors": None if record.constant_errors is None else list(record.constant_errors),
        "ast": to_ast(tree),
        "prefix": " ".join(to_prefix(tree)),
        "infix": to_infix(tree, constants),
        "latex": to_latex(tree, constants),
        "sql": to_sql(tree, constants),
        "complexity": complexity(tree),
        "n_constants": n_constants(tree),
    }


def append_model(db: Database, model: ModelRecord, terms: Sequence[TermRecord]) -> int:
    """Append a model with its terms; its id. Versions count up per material and target.

    Several order-2 terms of one label are its kernels by |dz| window. Raises UsageError where windows
    overlap or a formula is of another material, target or label.
    """
    model_id = db.next_id("models", "model_id")
    version = 1 + db.value(
        "SELECT coalesce(max(version), 0) FROM models WHERE material_id = ? AND target = ?",
        [model.material_id, model.target],
    )
    rows = _numbered_terms(db, model, terms)
    db.append("models", pl.DataFrame([{"model_id": model_id, "version": version, **model.model_dump()}]))
    schema = {"formula_id": pl.Int64, "value": pl.Float64}
    db.append(
        "model_terms", pl.DataFrame([{"model_id": model_id, **row} for row in rows], schema_overrides=schema)
    )
    return model_id


def _numbered_terms(db: Database, model: ModelRecord, terms: Sequence[TermRecord]) -> list[dict[str, Any]]:
    """The terms' rows; ``part`` counts the terms of one order and label by rising |dz|."""
    ids = [term.formula_id for term in terms if term.formula_id is not None]
    known = {row["formula_id"]: row for row in _formulas(db, ids)}
    keyed = [(term, _window(known, model, term)) for term in terms]
    rows: list[dict[str, Any]] = []
    ends: dict[
        tuple[int, str], tuple[int, float]
    ] = {}  # (order, label) -> parts so far, upper end of the last window
    for term, (low, high) in sorted(keyed, key=lambda pair: (pair[0].order, pair[0].label, pair[1])):
        part, end = ends.get((term.order, term.label), (0, 0.0))
        alone = term.order < 2 and term.label != COMPOSITION
        if part and (alone or (term.order == 2 and low < end)):
            raise UsageError(f"two terms of order {term.order} for {term.label!r} with the same |dz|")
        ends[term.order, term.label] = (part + 1, high)
        rows.append({**term.model_dump(), "part": part})
    return rows


def _window(
    known: Mapping[int, Mapping[str, Any]], model: ModelRecord, term: TermRecord
) -> tuple[float, float]:
    """The |dz| window of a term, after checking that its formula is one for this place."""
    if term.formula_id is None:
        return 0.0, EVERY_DZ
    row = known.get(term.formula_id)
    if row is None:
        raise UnknownNameError("formula", str(term.formula_id), [])
    found = (row["material_id"], row["target"], row["pair_label"])
    wanted = (model.material_id, model.target, term.label)
    if found != wanted:
        raise UsageError(f"formula {term.formula_id} is of {' '.join(found)}, the term is {' '.join(wanted)}")
    return row["dz_min"], row["dz_max"]


def _formulas(db: Database, ids: Sequence[int]) -> list[dict[str, Any]]:
    return db.frame("SELECT * FROM formulas WHERE list_contains(?, formula_id)", [list(ids)]).to_dicts()


def adopt_model(db: Database, model_id: int, *, activate: bool) -> None:
    """Make a new model the active one, or leave it a candidate that can be asked by its id."""
    if activate:
        activate_model(db, model_id)
    else:
        compile_formulas(db)


def activate_model(db: Database, model_id: int) -> None:
    """Make a model the active one of its material and target and compile it.

    The ones before retire whose numbers of defects overlap with its own. Raises UnknownNameError.
    """
    found = db.frame(
        "SELECT material_id, target, n_defects_min, n_defects_max FROM models WHERE model_id = ?", [model_id]
    )
    if not found.height:
        ids = db.frame("SELECT model_id FROM models ORDER BY model_id")["model_id"].to_list()
        raise UnknownNameError("model", str(model_id), [str(known) for known in ids])
    material, target, fewest, most = found.row(0)
    db.execute(
        "UPDATE models SET status = CASE WHEN model_id = $id THEN 'active' ELSE 'retired' END "
        "WHERE material_id = $material AND target = $target AND (model_id = $id OR status = 'active') "
        "AND n_defects_min <= $most AND n_defects_max >= $fewest",
        {"id": model_id, "material": material, "target": target, "fewest": fewest, "most": most},
    )
    in_use = "SELECT formula_id FROM model_terms JOIN models USING (model_id) WHERE status = 'active'"
    db.execute(
        f"UPDATE formulas SET status = 'retired' WHERE status = 'active' AND formula_id NOT IN "
        f"({in_use} AND formula_id IS NOT NULL)"
    )
    db.execute(f"UPDATE formulas SET status = 'active' WHERE status <> 'active' AND formula_id IN ({in_use})")
    compile_formulas(db)


def activate_formula(db: Database, formula_id: int) -> int:
    """Swap a formula into the active model of its material and target: a new model version; its id.

    Without an active model the newest stale one stands in, else the newest candidate, and is put to use. The formula
    takes the place of the kernels that its |dz| window covers. Raises UnknownNameError, and UsageError where there is
    neither model or the window would cut a kernel in two.
    """
    found = _formulas(db, [formula_id])
    if not found:
        ids = db.frame("SELECT formula_id FROM formulas ORDER BY formula_id")["formula_id"].to_list()
        raise UnknownNameError("formula", str(formula_id), [str(known) for known in ids])
    formula = found[0]
    model = _active_model(db, formula["material_id"], formula["target"])
    terms = db.frame(
        'SELECT * FROM model_terms WHERE model_id = ? ORDER BY "order", label, part', [model["model_id"]]
    )
    if formula_id in terms["formula_id"]:
        if model["status"] != "active":
            activate_model(db, model["model_id"])
        return int(model["model_id"])
    kept = [row for row in terms.to_dicts() if not _replaced(db, row, formula)]
    records = [
        TermRecord.model_validate({k: v for k, v in row.items() if k not in ("model_id", "part")})
        for row in kept
    ]
    order = formula_order(formula["pair_label"])
    records.append(TermRecord(order=order, label=formula["pair_label"], formula_id=formula_id))
    new = ModelRecord(
        **{k: model[k] for k in ("material_id", "target", "aggregator", "images", "trained_on", "n_train")},
        n_defects_min=model["n_defects_min"],
        n_defects_max=model["n_defects_max"],
        run_id=formula["run_id"],
    )
    model_id = append_model(db, new, records)
    activate_model(db, model_id)
    calibrate(db, model_id)
    return model_id


def _active_model(db: Database, material: str, target: str) -> dict[str, Any]:
    """The active model, else the newest of those that went stale, else the newest candidate. Raises UsageError."""
    models = db.frame(
        "SELECT * FROM models WHERE material_id = ? AND target = ? AND status IN ('active', 'stale', 'candidate') "
        "ORDER BY status = 'active' DESC, status = 'stale' DESC, model_id DESC LIMIT 1",
        [material, target],
    ).to_dicts()
    if not models:
        raise UsageError(f"{material} has no active model of {target} to put a formula into; learn one first")
    return models[0]


def _replaced(db: Database, term: Mapping[str, Any], formula: Mapping[str, Any]) -> bool:
    """Whether the formula takes this term's place."""
    if term["label"] != formula["pair_label"] or (term["order"] < 2 and term["label"] != COMPOSITION):
        return False
    if term["order"] != 2 or term["formula_id"] is None:
        return True
    [old] = _formulas(db, [term["formula_id"]])
    if old["dz_max"] <= formula["dz_min"] or old["dz_min"] >= formula["dz_max"]:
        return False
    if old["dz_min"] < formula["dz_min"] or old["dz_max"] > formula["dz_max"]:
        raise UsageError(
            f"formula {formula['formula_id']} holds for |dz| in {_interval(formula)} angstrom, formula "
            f"{old['formula_id']} of the active model for {_interval(old)}: "
            "activate formulas with the same windows"
        )
    return True


def _interval(formula: Mapping[str, Any]) -> str:
    return f"[{formula['dz_min']:g}, {formula['dz_max']:g})"
