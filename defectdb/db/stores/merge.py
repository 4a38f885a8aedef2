"""Join databases: what others hold is renumbered and appended, what is stored already stays as it is.

The same structure has the same id and content, the same run the same options, rows and start, the same formula or model
the same run and moment: so merging a database twice changes nothing, and two that contradict each other are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.db.stores.merge_conflicts import demand_agreeing
from defectdb.schema.dictionary import TABLES
from defectdb.schema.quoting import quoted_name

_KEYS = {"material_id": "materials", "host_id": "hosts", "dataset_id": "datasets"}
_HOSTS = {
    "materials": "material_id", "material_sites": "material_id", "hosts": "host_id", "host_sites": "host_id",
}  # fmt: skip
_IDENTITY = {
    "runs": ("kind", "config", "selection_hash", "seed", "version", "started_at"),
    "formulas": ("run_id", "material_id", "pair_label", "target", "created_at", "dz_min", "infix"),
    "models": ("run_id", "material_id", "target", "created_at"),
}
"""Columns that tell whether two databases hold the same row, runs renumbered before."""

_NUMBERED = {"runs": "run_id", "formulas": "formula_id", "models": "model_id"}
_VERSIONED = {"formulas": ["material_id", "pair_label", "target"], "models": ["material_id", "target"]}
_DONE_BEFORE = ("schema_migrations", "datasets", *_HOSTS, "structures", "configurations", *_NUMBERED)
_ALSO_FORMULAS = ("phi_id", "rho_id", "embedding_id")
"""Columns that hold ids of formulas under other names."""

MERGED_WHILE_RUNNING = "it was still running where this database was merged from"


@dataclass(frozen=True)
class Added:
    """How many rows of one database were new: ``source`` is its path."""

    source: str
    datasets: int
    structures: int
    runs: int
    formulas: int
    models: int


@dataclass(frozen=True)
class _Numbers:
    """Old to new ids of one kind: ``every`` of a source's rows, and the ``fresh`` ones among them (old, new)."""

    every: pl.DataFrame
    fresh: pl.DataFrame


def merge(db: Database, sources: Sequence[Database]) -> list[Added]:
    """Append what the sources hold and ``db`` does not, all or nothing; what each brought.

    An active model stays so unless one of the same material, target and numbers of defects is active already; then it
    becomes a candidate. Raises InputDataError, which names what contradicts what.
    """
    with db.transaction():
        found = [_append(db, source) for source in sources]
        _settle_formulas(db)
        compile_formulas(db)
    return found


def _append(db: Database, source: Database) -> Added:
    demand_agreeing(db, source)
    known = {key: db.frame(f"SELECT {key} FROM {table}") for key, table in _KEYS.items()}
    datasets = source.frame("SELECT * FROM datasets").join(known["dataset_id"], on="dataset_id", how="anti")
    db.append("datasets", datasets)
    for table, key in _HOSTS.items():
        db.append(table, source.frame(f"SELECT * FROM {table}").join(known[key], on=key, how="anti"))
    structures = _append_structures(db, source)
    numbers: dict[str, _Numbers] = {}
    for table, column in _NUMBERED.items():
        numbers[column] = _append_numbered(db, source, table, column, numbers)
    for table in (entry.name for entry in TABLES if not entry.view and entry.name not in _DONE_BEFORE):
        _append_following(db, source, table, structures, datasets, numbers)
    counts = {name: len(numbers[name].fresh) for name in numbers}
    return Added(
        source.path,
        datasets.height,
        structures.height,
        counts["run_id"],
        counts["formula_id"],
        counts["model_id"],
    )


def _append_structures(db: Database, source: Database) -> pl.DataFrame:
    """Append the structures and configurations whose ids are new; their structure_id, old and new structure_key."""
    known = db.frame("SELECT structure_id FROM structures")
    rows = source.frame("SELECT * FROM structures ORDER BY structure_key").join(
        known, on="structure_id", how="anti", maintain_order="left"
    )
    rows = rows.rename({"structure_key": "old"}).with_row_index(
        "structure_key", offset=db.next_id("structures", "structure_key")
    )
    db.append("structures", rows.drop("old"))
    loose = source.frame("SELECT * FROM configurations").join(
        db.frame("SELECT structure_id FROM configurations"), on="structure_id", how="anti"
    )
    db.append("configurations", loose)
    found = rows.select("structure_id", "old", new="structure_key")
    return pl.concat([found, loose.select("structure_id")], how="diagonal")


def _append_numbered(
    db: Database, source: Database, table: str, column: str, numbers: dict[str, _Numbers]
) -> _Numbers:
    """Append runs, formulas or models that are new, under new ids and versions."""
    rows = source.frame(f"SELECT * FROM {table} ORDER BY {column}").rename({column: "old"})
    for name, known in numbers.items():
        if name in rows.columns:
            rows = _renumbered(rows, name, known.every)
    identity = list(_IDENTITY[table])
    stored = db.frame(f"SELECT {column} AS new, {', '.join(identity)} FROM {table}")
    stored = stored.unique(identity, keep="first", maintain_order=True)
    same = rows.join(stored, on=identity, how="inner", nulls_equal=True).select("old", "new")
    fresh = rows.join(same, on="old", how="anti", maintain_order="left")
    fresh = fresh.with_row_index("new", offset=db.next_id(table, column)).cast({"new": pl.Int64})
    if table in _VERSIONED:
        fresh = _versioned(db, table, fresh)
    if table == "runs":
        fresh = _ended(fresh)
    if table == "models":
        fresh = _one_active(db, fresh)
    db.append(table, fresh.drop("old").rename({"new": column}))
    new = fresh.select("old", "new")
    return _Numbers(pl.concat([same.cast({"new": pl.Int64}), new]), new)


def _renumbered(rows: pl.DataFrame, column: str, known: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(column).replace_strict(known["old"], known["new"], return_dtype=pl.Int64))


def _versioned(db: Database, table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with versions that go on from those stored."""
    keys = _VERSIONED[table]
    before = db.frame(f"SELECT {', '.join(keys)}, max(version) AS before FROM {table} GROUP BY ALL")
    rank = pl.struct("version", "new").rank("ordinal").over(keys)
    rows = rows.join(before, on=keys, how="left", maintain_order="left").with_columns(rank=rank)
    version = (pl.col("before").fill_null(0) + pl.col("rank")).cast(pl.Int32)
    return rows.with_columns(version=version).drop("before", "rank")


def _ended(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs whose process works on another file are none of this one's."""
    running = pl.col("status") == "running"
    return runs.with_columns(
        status=pl.when(running).then(pl.lit("failed")).otherwise("status"),
        reason=pl.when(running).then(pl.lit(MERGED_WHILE_RUNNING)).otherwise("reason"),
    )


def _one_active(db: Database, models: pl.DataFrame) -> pl.DataFrame:
    """Models whose place an active one has become candidates."""
    active = db.frame(
        "SELECT material_id, target, kind, n_defects_min AS low, n_defects_max AS high FROM models "
        "WHERE status = 'active'"
    )
    taken = (
        models.filter(pl.col("status") == "active")
        .join(active, on=["material_id", "target", "kind"], nulls_equal=True)
        .filter((pl.col("n_defects_min") <= pl.col("high")) & (pl.col("n_defects_max") >= pl.col("low")))
    )
    second = pl.col("new").is_in(taken["new"].to_list())
    return models.with_columns(status=pl.when(second).then(pl.lit("candidate")).otherwise("status"))


def _settle_formulas(db: Database) -> None:
    """Formulas of active models are active, and no others."""
    in_use = (
        "(SELECT formula_id FROM model_terms JOIN models USING (model_id) WHERE status = 'active' "
        "AND formula_id IS NOT NULL)"
    )
    db.execute(
        f"UPDATE formulas SET status = 'candidate' WHERE status = 'active' AND formula_id NOT IN {in_use}"
    )


def _append_following(
    db: Database, source: Database, table: str, structures: pl.DataFrame, datasets: pl.DataFrame,
    numbers: dict[str, _Numbers],
) -> None:  # fmt: skip
    """Append the rows of a table that belong to new models, runs, structures or datasets, renumbered.

    A table whose first column is an integer id that nothing before has numbers its own rows, and later tables may
    refer to them.
    """
    columns = db.columns(table)
    own = columns[0] if _numbers_itself(db, table, columns[0], numbers) else None
    parent = next((name for name in reversed(numbers) if name in columns and name != "formula_id"), None)
    name = quoted_name(table)
    if parent is not None:
        fresh, join = numbers[parent].fresh.select(old_key="old"), f"ON t.{quoted_name(parent)} = f.old_key"
    elif "structure_id" in columns:
        fresh, join = structures.select(old_key="structure_id"), "ON t.structure_id = f.old_key"
    else:
        fresh, join = datasets.select(old_key="dataset_id"), "ON t.dataset_id = f.old_key"
    if not fresh.height:
        return
    first = db.next_id(table, own) if own else 0
    pairs: list[pl.DataFrame] = []
    with source.registered(fresh_rows=fresh):
        for batch in source.batches(f"SELECT t.* FROM {name} AS t JOIN fresh_rows AS f {join}"):
            rows = _with_new_ids(batch, numbers, structures)
            if own:
                new = pl.int_range(first, first + rows.height, dtype=pl.Int64, eager=True).alias("new")
                pairs.append(rows.select(old=own).with_columns(new))
                rows, first = rows.with_columns(new.alias(own)), first + rows.height
            db.append(table, rows)
    if own and pairs and own not in ("defect_id", "pair_id"):
        every = pl.concat(pairs)
        numbers[own] = _Numbers(every, every)


def _numbers_itself(db: Database, table: str, column: str, numbers: dict[str, _Numbers]) -> bool:
    kinds = dict(db.frame("SELECT name, type FROM pragma_table_info(?)", [table]).iter_rows())
    return column.endswith("_id") and kinds[column] in ("BIGINT", "INTEGER") and column not in numbers


def _with_new_ids(rows: pl.DataFrame, numbers: dict[str, _Numbers], structures: pl.DataFrame) -> pl.DataFrame:
    """The rows with every id of runs, formulas, models and structures that they hold replaced."""
    if "structure_key" in rows.columns:
        keys = rows.select("structure_key").join(
            structures.select("old", "new"), left_on="structure_key", right_on="old", how="left", maintain_order="left"
        )  # fmt: skip
        rows = rows.with_columns(structure_key=keys["new"])
    for alias in _ALSO_FORMULAS:
        if alias in rows.columns:
            rows = _renumbered(rows, alias, numbers["formula_id"].every)
    for name, known in numbers.items():
        if name in rows.columns:
            rows = _renumbered(rows, name, known.every)
        if f"{name}s" in rows.columns:
            each = pl.element().replace_strict(known.every["old"], known.every["new"], return_dtype=pl.Int64)
            rows = rows.with_columns(pl.col(f"{name}s").list.eval(each))
    return rows
