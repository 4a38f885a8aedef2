"""The door through which a dataset's rows enter, change and leave, each time in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from defectdb.db.compile import compile_formulas
from defectdb.db.connection import Database
from defectdb.db.potentials.configurations import remove_configurations
from defectdb.errors import UnknownNameError

STRUCTURE_TABLES = ("structures", "defects", "pairs", "targets")
_LEAVING_TABLES = (*STRUCTURE_TABLES, "notes", "network_predictions")


@dataclass(frozen=True, slots=True, eq=False)
class DatasetRows:
    """Everything one dataset brings, as frames named like the tables.

    ``defects`` and ``pairs`` come without their ids; ``notes`` (structure_id, note) are remarks about structures
    among these. ``hosts``, ``host_sites``, ``materials`` and
    ``material_sites`` hold what the dataset's structures stand on; those already stored are kept or, where
    only this dataset uses them, replaced.
    """

    dataset: dict[str, Any]
    structures: pl.DataFrame
    defects: pl.DataFrame
    pairs: pl.DataFrame
    targets: pl.DataFrame
    rejects: pl.DataFrame
    potentials: pl.DataFrame
    materials: pl.DataFrame
    material_sites: pl.DataFrame
    hosts: pl.DataFrame
    host_sites: pl.DataFrame
    notes: pl.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """How a dataset's structures stand to the stored ones, as frames of structure_id.

    ``foreign`` ids belong to another dataset with other content; ``shared`` ones to another with the same.
    """

    new: pl.DataFrame
    updated: pl.DataFrame
    unchanged: pl.DataFrame
    removed: pl.DataFrame
    foreign: pl.DataFrame
    shared: pl.DataFrame


def compare(db: Database, dataset_id: str, structures: pl.DataFrame, *, complete: bool) -> Changes:
    """Sort structures (structure_id, content_hash) by what storing them would change; nothing is written.

    ``complete``: stored structures of the dataset that are not among them count as removed.
    """
    keys = structures.select("structure_id", "content_hash")
    with db.registered(incoming=keys):
        stored = db.frame(
            "SELECT i.structure_id, s.dataset_id AS owner, s.content_hash = i.content_hash AS same "
            "FROM incoming AS i JOIN structures AS s USING (structure_id)"
        )
        gone = db.frame(
            "SELECT structure_id FROM structures WHERE dataset_id = ? "
            "AND structure_id NOT IN (SELECT structure_id FROM incoming)",
            [dataset_id],
        )
    own = pl.col("owner") == dataset_id
    return Changes(
        new=keys.join(stored, on="structure_id", how="anti").select("structure_id"),
        updated=stored.filter(own & ~pl.col("same")).select("structure_id"),
        unchanged=stored.filter(own & pl.col("same")).select("structure_id"),
        removed=gone if complete else gone.clear(),
        foreign=stored.filter(~own & ~pl.col("same")).select("structure_id"),
        shared=stored.filter(~own & pl.col("same")).select("structure_id"),
    )


def write_dataset(db: Database, rows: DatasetRows, changes: Changes) -> None:
    """Bring the stored dataset to what ``rows`` say, in one transaction: all of it or nothing of it."""
    dataset_id = rows.dataset["dataset_id"]
    fresh = pl.concat([changes.new, changes.updated])
    if not fresh.height and not changes.removed.height and _as_stored(db, rows):
        return
    with db.transaction():
        leaving = pl.concat([changes.updated, changes.removed])
        mark_stale(db, leaving)
        _delete_structures(db, leaving)
        if leaving.height:
            compile_formulas(db)
        _write_hosts(db, rows)
        for table in ("datasets", "chemical_potentials", "rejects"):
            db.execute(f"DELETE FROM {table} WHERE dataset_id = ?", [dataset_id])
        db.append("chemical_potentials", rows.potentials.with_columns(dataset_id=pl.lit(dataset_id)))
        db.append("rejects", rows.rejects.with_columns(dataset_id=pl.lit(dataset_id)))
        numbers = fresh.with_row_index("structure_key", offset=db.next_id("structures", "structure_key"))
        for table in STRUCTURE_TABLES:
            frame: pl.DataFrame = getattr(rows, table)
            db.append(table, _numbered(db, table, _chosen(frame, numbers)))
        _write_notes(db, rows)
        counts = {
            "n_structures": db.value("SELECT count(*) FROM structures WHERE dataset_id = ?", [dataset_id]),
            "n_rejects": rows.rejects.height,
        }
        db.append("datasets", pl.DataFrame([rows.dataset | counts], infer_schema_length=None))


def _write_notes(db: Database, rows: DatasetRows) -> None:
    """Replace the notes about these structures; those about structures of another dataset are not ours to write."""
    dataset_id = rows.dataset["dataset_id"]
    own = db.frame("SELECT structure_id FROM structures WHERE dataset_id = ?", [dataset_id])
    with db.registered(told=rows.structures.select("structure_id")):
        db.execute(
            "DELETE FROM notes WHERE dataset_id = ? AND structure_id IN (SELECT structure_id FROM told)",
            [dataset_id],
        )
    notes = rows.notes.join(own, on="structure_id", how="semi")
    db.append("notes", notes.with_columns(dataset_id=pl.lit(dataset_id)))


def _as_stored(db: Database, rows: DatasetRows) -> bool:
    """Whether the dataset's own row and its rejects already say what they would say."""
    keys = ("sha256", "cutoff", "licence", "citation", "doi", "name", "level", "functional")
    stored = db.frame(f"SELECT {', '.join(keys)}, n_rejects FROM datasets WHERE dataset_id = ?",
                      [rows.dataset["dataset_id"]])  # fmt: skip
    wanted = (*(rows.dataset[key] for key in keys), rows.rejects.height)
    return stored.height == 1 and stored.row(0) == wanted and _same_notes(db, rows)


def _same_notes(db: Database, rows: DatasetRows) -> bool:
    """Whether the notes about these structures are stored as they are."""
    with db.registered(told=rows.structures.select("structure_id")):
        stored = db.frame(
            "SELECT structure_id, note FROM notes SEMI JOIN told USING (structure_id) WHERE dataset_id = ?",
            [rows.dataset["dataset_id"]],
        )
    return sorted(stored.rows()) == sorted(rows.notes.select("structure_id", "note").rows())


def _chosen(frame: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """The rows of new and changed structures, with their structure_key."""
    return frame.join(numbers, on="structure_id", how="inner", maintain_order="left")


def _numbered(db: Database, table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its BIGINT id column, where the table has one; targets go without structure_key."""
    column = {"defects": "defect_id", "pairs": "pair_id"}.get(table)
    if column is None:
        return frame if table == "structures" else frame.drop("structure_key")
    return frame.with_row_index(column, offset=db.next_id(table, column))


def _delete_structures(db: Database, leaving: pl.DataFrame) -> None:
    if not leaving.height:
        return
    with db.registered(leaving=leaving):
        for table in _LEAVING_TABLES:
            db.execute(f"DELETE FROM {table} WHERE structure_id IN (SELECT structure_id FROM leaving)")


def _write_hosts(db: Database, rows: DatasetRows) -> None:
    """Add new materials; add or replace hosts, whose names the caller has kept apart."""
    known = db.frame("SELECT material_id FROM materials")
    for table in ("materials", "material_sites"):
        frame: pl.DataFrame = getattr(rows, table)
        db.append(table, frame.join(known, on="material_id", how="anti"))
    with db.registered(leaving=rows.hosts.select("host_id")):
        for table in ("hosts", "host_sites"):
            db.execute(f"DELETE FROM {table} WHERE host_id IN (SELECT host_id FROM leaving)")
    db.append("hosts", rows.hosts)
    db.append("host_sites", rows.host_sites)


_LOST = """
    SELECT h.material_id, s.n_defects, list(DISTINCT d.label) AS labels, list(DISTINCT p.label) AS pair_labels
    FROM leaving
    JOIN structures AS s USING (structure_id)
    JOIN hosts AS h USING (host_id)
    JOIN defects AS d USING (structure_id)
    LEFT JOIN pairs AS p USING (structure_id)
    GROUP BY s.structure_id, h.material_id, s.n_defects
"""
_LEARNED_FROM = """
    x.material_id = formulas.material_id AND (
        list_contains(x.pair_labels, formulas.pair_label)
        OR (x.n_defects = 1 AND list_has_all(string_split(formulas.pair_label, '-'), x.labels))
        OR (len(string_split(formulas.pair_label, '-')) > 2
            AND list_has_all(x.labels, string_split(formulas.pair_label, '-')))
    )
"""


def mark_stale(db: Database, leaving: pl.DataFrame) -> None:
    """Mark formulas, models and networks as stale that may have learned from these structures (structure_id).

    A pair formula learns from structures that hold its pair and from those of one defect of its labels, a
    three-body formula from structures that hold its labels, a model from every structure of its material, a network
    from every structure of its hosts. Call inside a transaction, before the rows go.
    """
    if not leaving.height:
        return
    with db.registered(leaving=leaving):
        db.execute(
            f"UPDATE models SET status = 'stale' WHERE status IN ('active', 'candidate') "
            f"AND material_id IN (SELECT x.material_id FROM ({_LOST}) AS x)"
        )
        db.execute(
            f"UPDATE formulas SET status = 'stale' WHERE status IN ('active', 'candidate') "
            f"AND EXISTS (SELECT 1 FROM ({_LOST}) AS x WHERE {_LEARNED_FROM})"
        )
        db.execute(
            "UPDATE networks SET status = 'stale' WHERE status IN ('active', 'candidate') AND list_has_any(hosts, "
            "(SELECT list(DISTINCT s.host_id) FROM leaving JOIN structures AS s USING (structure_id)))"
        )


def known_dataset(db: Database, dataset_id: str) -> None:
    """Raises UnknownNameError, listing the datasets there are, unless this is one of them."""
    known = db.frame("SELECT dataset_id FROM datasets ORDER BY ALL")["dataset_id"].to_list()
    if dataset_id not in known:
        raise UnknownNameError("dataset", dataset_id, known)


def remove_dataset(db: Database, dataset_id: str) -> int:
    """Remove a dataset with all its rows in one transaction; how many structures. Raises UnknownNameError.

    Hosts and materials stay: formulas and other structures may stand on them.
    """
    known_dataset(db, dataset_id)
    with db.transaction():
        leaving = db.frame("SELECT structure_id FROM structures WHERE dataset_id = ?", [dataset_id])
        mark_stale(db, leaving)
        _delete_structures(db, leaving)
        if leaving.height:
            compile_formulas(db)
        configurations = remove_configurations(db, dataset_id)
        for table in ("datasets", "chemical_potentials", "rejects"):
            db.execute(f"DELETE FROM {table} WHERE dataset_id = ?", [dataset_id])
    return leaving.height + configurations
