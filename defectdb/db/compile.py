"""Compile the formulas of all models to SQL macros and views stored in the database file.

A macro holds its formula's whole text, so it works from any DuckDB client and under any name of the file:
``f_12(r, dz)`` is formula 12, ``v_Vac_Mo__Vac_S(r, dz)`` the active kernel of a pair's formation energy
(``gap_``, ``homo_`` and ``lumo_`` likewise), ``v_MoS2__Vac_Mo__Vac_S`` the same of one material.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from string import Template
from typing import Any

import polars as pl

from defectdb.db.connection import Database
from defectdb.db.used_formulas import LATEST, order_of, tree_of, used_formulas, variables_of
from defectdb.expressions.expression import variables
from defectdb.expressions.texts import to_sql
from defectdb.schema.fields import TARGETS, comments
from defectdb.schema.labels import sql_identifier
from defectdb.schema.quoting import quoted_name, quoted_text
from defectdb.schema.records import COMPOSITION_VARIABLES, EVERY_DZ, TRIPLE_VARIABLES

PREFIXES = {"formation_energy": "v", "homo_lumo_gap": "gap", "homo": "homo", "lumo": "lumo"}
"""Target to the first part of its kernels' macro names."""

COMPILED_VIEWS = ("predictions", "predictions_latest")
_MARK = "defectdb formula"
_PAIR_COLUMNS = {"r": "p.distance", "dz": "p.dz"}
_IMAGE_COLUMNS = {"r": "x.distance", "dz": "x.dz"}
_OWN_COLUMNS = {"r": "x.r", "dz": "CAST(0 AS DOUBLE)"}
_SELF_JOIN = (
    "LEFT JOIN self_images AS i ON i.model_id = s.model_id AND i.host_id = s.host_id "
    "AND i.dataset_id = s.dataset_id AND i.label = s.label AND s.aggregator = 'sum'"
)
_EXTREMES = "min(value) AS least, max(value) AS most"
_NO_EXTREMES = "CAST(NULL AS DOUBLE) AS least, CAST(NULL AS DOUBLE) AS most"
_UNJUDGED = "(SELECT *, CAST(NULL AS DOUBLE) AS decider FROM scope)"
_STRUCTURE_COLUMNS = {
    "n": "CAST(s.n_defects AS DOUBLE)", "sites": "CAST(s.n_sites AS DOUBLE)", "v": "s.base",
    "interaction": "(coalesce(s.pair_sum, 0) + s.three_body)",
    "least": "s.least", "most": "s.most",
}  # fmt: skip
_ALL_EXTREMES = {
    "whole_kernel": "\n        {} AS whole,",
    "whole_extremes": " min(whole) AS least_whole, max(whole) AS most_whole,",
    "all_extremes": (
        "\n        least(s.least, p.least_whole) AS least, greatest(s.most, p.most_whole) AS most,"
    ),
}
_COMPOSED = "CASE WHEN isfinite(coalesce(y.value, 0)) THEN b.base + coalesce(y.value, 0) END"
_COUNT = "CAST(len(list_filter(string_split(lower(defect_labels), '+'), lambda x: x = '{}')) AS DOUBLE)"
_MIDDLE_EDGE = "({0} + {1} + {2} - least({0}, {1}, {2}) - greatest({0}, {1}, {2}))"
_TRIPLE_COLUMNS = {name: f"p.{name}" for name in TRIPLE_VARIABLES}

_ACTIVE = "status = 'active'"


def compile_formulas(db: Database) -> list[str]:
    """Write the macros and views of all models anew, in the caller's transaction; the macros' names.

    Raises DatabaseError, and changes nothing, where a row is not what a learner writes.
    """
    formulas = used_formulas(db)
    macros = {**_formula_macros(formulas), **_kernel_macros(formulas.filter(pl.col("active")))}
    _drop_macros(db, keep=macros)
    for name, (parameters, body, comment) in macros.items():
        db.execute(f"CREATE OR REPLACE MACRO {quoted_name(name)}({parameters}) AS {body}")
        db.execute(f"COMMENT ON MACRO {quoted_name(name)} IS {quoted_text(comment)}")
    _write_views(db, formulas)
    return list(macros)


def compile_predictions(db: Database) -> None:
    """Write the view ``predictions`` of the active models and nothing else, in the caller's transaction."""
    active = used_formulas(db).filter(pl.col("active"))
    db.execute(f"CREATE OR REPLACE VIEW predictions AS {predictions_sql(active, _ACTIVE, **_parts(db))}")


def _text(row: Mapping[str, object], columns: Mapping[str, str]) -> str:
    constants = row["constants"]
    assert isinstance(constants, list)
    return to_sql(tree_of(str(row["ast"])), constants, columns)


def _body(row: Mapping[str, object]) -> tuple[str, str]:
    """Parameters and body of a macro; literals such as 3.19 are DECIMAL in DuckDB, so arguments are cast."""
    names = variables_of(row)
    columns = {name: f"CAST({name} AS DOUBLE)" for name in names}
    return ", ".join(names), _cut(row, _text(row, columns), columns)


def _cut(row: Mapping[str, object], text: str, columns: Mapping[str, str]) -> str:
    """The formula's SQL text, zero from its cutoff on: for a triangle, where two edges reach it."""
    if row["cutoff"] is None:
        return text
    reach = (
        columns["r"]
        if order_of(row) == 2
        else _MIDDLE_EDGE.format(*(columns[n] for n in TRIPLE_VARIABLES[:3]))
    )
    return f"CASE WHEN {reach} >= {row['cutoff']!r}::DOUBLE THEN CAST(0 AS DOUBLE) ELSE {text} END"


Macro = tuple[str, str, str]  # parameters, body, comment


def _formula_macros(formulas: pl.DataFrame) -> dict[str, Macro]:
    macros = {}
    for row in formulas.iter_rows(named=True):
        comment = f"{_MARK} {row['formula_id']}: {row['pair_label']}, {row['target']} of {row['material_id']}"
        macros[f"f_{row['formula_id']}"] = (*_body(row), f"{comment}: {row['infix']}")
    return macros


def _kernel_macros(active: pl.DataFrame) -> dict[str, Macro]:
    """Macros named by label; the name without the material only where one material alone has the label."""
    macros: dict[str, Macro] = {}
    for (target, label), kernels in active.group_by("target", "pair_label", maintain_order=True):
        if target not in PREFIXES:
            continue
        prefix, suffix = PREFIXES[str(target)], sql_identifier(str(label))
        by_material = kernels.partition_by("material_id", maintain_order=True)
        for rows in by_material:
            material = re.sub(r"\W", "_", str(rows["material_id"][0]))
            macro = _windowed(rows.sort("dz_min", "formula_id").to_dicts())
            macros[f"{prefix}_{material}__{suffix}"] = macro
            if len(by_material) == 1:
                macros[f"{prefix}_{suffix}"] = macro
    return macros


def _windowed(rows: Sequence[Mapping[str, object]]) -> Macro:
    """One macro of the kernels of one label: the |dz| window chooses among them; all other terms add up."""
    bodies = [_body(row) for row in rows]
    parameters = ", ".join(dict.fromkeys(name for names, _ in bodies for name in names.split(", ")))
    ids = ", ".join(str(row["formula_id"]) for row in rows)
    what = f"active {rows[0]['target']} of {rows[0]['pair_label']} in {rows[0]['material_id']} [eV]"
    comment = f"{_MARK} {ids}: {what}"
    if order_of(rows[0]) != 2:
        return parameters, " + ".join(f"({text})" for _, text in bodies), comment
    if len(rows) == 1 and rows[0]["dz_min"] == 0 and rows[0]["dz_max"] == EVERY_DZ:
        return "r, dz := CAST(0 AS DOUBLE)", bodies[0][1], comment
    branches = " ".join(
        f"WHEN dz >= {row['dz_min']!r}::DOUBLE AND dz < {row['dz_max']!r}::DOUBLE THEN {text}"
        for row, (_, text) in zip(rows, bodies, strict=True)
    )
    return parameters, f"CASE {branches} END", comment


def _drop_macros(db: Database, keep: Iterable[str]) -> None:
    """Drop what an earlier compilation left; macros that a user made stay."""
    old = db.frame(
        "SELECT DISTINCT function_name AS name FROM duckdb_functions() "
        "WHERE NOT internal AND database_name = current_database() AND comment LIKE ? || '%'",
        [_MARK],
    )["name"].to_list()
    for name in sorted(set(old) - set(keep)):
        db.execute(f"DROP MACRO {quoted_name(name)}")


# ---------------------------------------------------------------- views


def _write_views(db: Database, formulas: pl.DataFrame) -> None:
    parts = _parts(db)
    active, latest = formulas.filter(pl.col("active")), formulas.filter(pl.col("latest"))
    for head, rows, choice in (
        ("VIEW predictions AS", active, _ACTIVE),
        ("VIEW predictions_latest AS", latest, LATEST),
        ("MACRO predictions_as_of(m) AS TABLE", formulas, "model_id = m"),
    ):
        sql = predictions_sql(rows, choice, **parts)
        db.execute(f"CREATE OR REPLACE {head} {sql}")
    for statement in comments(COMPILED_VIEWS):
        db.execute(statement)


def _parts(db: Database) -> dict[str, bool]:
    """Which parts of the predictions any model needs."""
    return {
        "three_body": bool(db.value('SELECT count(*) FROM model_terms WHERE "order" = 3')),
        "shifts": bool(db.value("SELECT count(*) FROM models WHERE starts_with(aggregator, 'shift')")),
        "extremes": bool(db.value("SELECT count(*) FROM models WHERE aggregator IN ('min', 'max')")),
    }


def predictions_sql(
    formulas: pl.DataFrame, choice: str, *, three_body: bool, shifts: bool, extremes: bool
) -> str:
    """The SELECT that predicts with the models for which ``choice`` holds; ``formulas`` are theirs.

    Without ``three_body`` terms in any model triangles are not even formed; without ``shifts`` (models in
    which one defect decides) pairs need not know the values of single defects; without ``extremes`` (models
    in which one pair decides) only their sum is formed.
    """
    rows = formulas.to_dicts()
    pairs = [row for row in rows if order_of(row) == 2]
    nearest = [row for row in pairs if row["images"] == "nearest"]
    summed = [row for row in pairs if row["images"] == "sum"]
    triples = [row for row in rows if order_of(row) == 3]
    compositions = [row for row in rows if order_of(row) == 0]

    def cases_of(those: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> list[tuple[int, str]]:
        return [(row["formula_id"], _cut(row, _text(row, columns), columns)) for row in those]

    cases = cases_of(nearest, _PAIR_COLUMNS) + [(row["formula_id"], "l.value") for row in summed]
    images, own = cases_of(summed, _IMAGE_COLUMNS), cases_of(summed, _OWN_COLUMNS)
    threes = cases_of(triples, _TRIPLE_COLUMNS)
    kernels = _dispatch(cases)
    return _template("predictions").substitute(
        choice=choice,
        every_dz=f"{EVERY_DZ!r}::DOUBLE",
        outputs=_outputs(),
        pair_kernels=kernels,
        **_whole_parts(compositions, kernels),
        lattice=_template("lattice").substitute(kernels=_dispatch(images), self_kernels=_dispatch(own))
        if summed
        else "",
        self_value=" + coalesce(i.value, 0)" if summed else "",
        self_join=_SELF_JOIN if summed else "",
        kind_columns=", host_id, dataset_id" if summed else "",
        s_kind_columns=", s.host_id, s.dataset_id" if summed else "",
        pair_extremes=_EXTREMES if extremes else _NO_EXTREMES,
        pair_scope="judged" if shifts else _UNJUDGED,
        lattice_join="LEFT JOIN lattice AS l ON l.model_id = s.model_id AND l.pair_id = p.pair_id"
        if summed
        else "",
        three_body=_template("three_body" if three_body else "no_three_body").safe_substitute(
            kernels=_dispatch(threes)
        ),
        **_composition_parts(compositions),
    )


def _whole_parts(compositions: Sequence[Mapping[str, Any]], kernels: str) -> dict[str, str]:
    """What the predictions need for the extremes over all terms: nothing where no composition formula knows them."""
    used = {name for row in compositions for name in variables(tree_of(str(row["ast"])))}
    if used.isdisjoint(("least", "most")):
        return dict.fromkeys(_ALL_EXTREMES, "")
    return {name: text.format(kernels) for name, text in _ALL_EXTREMES.items()}


def _composition_parts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the predictions need to add composition formulas: nothing where no model has one."""
    if not rows:
        return {"composition": "", "composed_value": "b.base", "composed_join": "", "composed_outside": ""}
    used = [variables(tree_of(str(row["ast"]))) for row in rows]
    counted = sorted({name for names in used for name in names if name not in COMPOSITION_VARIABLES})
    columns = {**_STRUCTURE_COLUMNS, **{name: f"c.{name}" for name in counted}}
    counts = [f", {_COUNT.format(name.removeprefix('n_'))} AS {name}" for name in counted]
    kernels = _dispatch([(row["formula_id"], _text(row, columns)) for row in rows])
    return {
        "composition": _template("composition").substitute(counts="".join(counts), kernels=kernels),
        "composed_value": _COMPOSED,
        "composed_join": "LEFT JOIN composed AS y ON y.structure_id = b.structure_id AND y.model_id = b.model_id",
        "composed_outside": " OR coalesce(y.outside, FALSE)",
    }


def _dispatch(cases: Sequence[tuple[int, str]]) -> str:
    """The kernel that a term names, or the term's constant value; a balanced tree of comparisons of ids."""
    if not cases:
        return "t.value"
    branches = _branches(sorted(cases))
    return f"CASE WHEN t.formula_id IS NULL THEN t.value ELSE {branches} END"


def _branches(cases: Sequence[tuple[int, str]]) -> str:
    if len(cases) == 1:
        [(formula_id, text)] = cases
        return f"CASE WHEN t.formula_id = {formula_id} THEN {text} END"
    middle = len(cases) // 2
    low, high = _branches(cases[:middle]), _branches(cases[middle:])
    return f"CASE WHEN t.formula_id < {cases[middle][0]} THEN {low} ELSE {high} END"


def _outputs() -> str:
    """Rows (target, output, unit, per_site): what each target's model predicts."""
    rows = [f"('{t.name}', '{t.name}', '{t.unit}', FALSE)" for t in TARGETS.values()]
    return ", ".join([*rows, "('formation_energy', 'formation_energy_per_site', 'eV', TRUE)"])


@cache
def _template(name: str) -> Template:
    return Template((resources.files("defectdb.db") / "sql" / f"{name}.sql").read_text(encoding="utf-8"))
