"""A question in the user's words to the rows that answer it: pair subsets selected by SQL, with the SQL kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.read import read_label
from defectdb.errors import QueryError, SelectionError, UnknownNameError, UsageError
from defectdb.learn.config import LearnConfig
from defectdb.schema.fields import TARGETS
from defectdb.schema.records import EVERY_DZ

SAME_DZ = 0.3
"""Two |dz| closer than this (angstrom) belong to one kernel."""

_COLUMNS = {
    "formation_energy": "interaction",
    "homo_lumo_gap": "homo_lumo_gap",
    "homo": "homo",
    "lumo": "lumo",
}


@dataclass(frozen=True)
class Selection:
    """Rows to learn from (structure_id, host_id, pair_id, label, r, dz, y) with the SELECT that gave them."""

    frame: pl.DataFrame
    sql: str
    sha256: str
    material: str


def check_target(target: str) -> None:
    """Raises UnknownNameError unless the target can be learned."""
    if target not in TARGETS:
        raise UnknownNameError("target", target, list(TARGETS))


def choose_material(db: Database, material: str | None) -> str:
    """The material to learn: the one named, or the only one with 2-defect structures. Raises UsageError."""
    known = db.frame("SELECT DISTINCT material_id FROM pair_energies ORDER BY ALL")["material_id"].to_list()
    if material is not None:
        if material not in known:
            raise UnknownNameError("material with 2-defect structures", material, known)
        return material
    if not known:
        raise SelectionError("the database holds no 2-defect structures to learn from; ingest some first")
    if len(known) > 1:
        raise UsageError(f"several materials have pairs ({', '.join(known)}); choose one with --material")
    return str(known[0])


def known_labels(db: Database, material: str) -> list[str]:
    """Pair labels of the material's 2-defect structures, sorted."""
    return db.frame(
        "SELECT DISTINCT label FROM pair_energies WHERE material_id = ? ORDER BY ALL", [material]
    )["label"].to_list()


def find_label(db: Database, material: str, text: str) -> str:
    """The canonical label that the text means. Raises UnknownNameError naming the known ones, and LabelError."""
    known = known_labels(db, material)
    label = read_label(db, text, order=2)
    if label not in known:
        raise UnknownNameError("pair label", label, known)
    return label


def check_predicate(db: Database, text: str) -> None:
    """Raises UsageError, with the user's own text, unless it is one SQL expression that stands by itself.

    DuckDB's parser is asked twice, without and with parentheses around the text: what closes a parenthesis that is not
    its own fails the first time; a further clause, statement or alias the second.
    """
    for statement in (f"SELECT\n{text}\n", f"SELECT (\n{text}\n)"):
        parsed = json.loads(db.value("SELECT json_serialize_sql(?)", [statement]))
        found = parsed.get("statements", [])
        if len(found) != 1 or len(found[0]["node"].get("select_list", [])) != 1:
            why = f": {parsed['error_message']}" if parsed.get("error_type") == "parser" else ""
            raise UsageError(
                f'--where takes one SQL predicate, e.g. "distance < 9 AND dz < 1"; {text!r} is none{why}'
            )


def rows_where(db: Database, sql: str, text: str | None, view: str) -> pl.DataFrame:
    """The rows of a SELECT that holds the user's predicate ``text``, if there is one, over the columns of a view.

    Raises UsageError, with the user's own text, for a predicate that is none or that DuckDB refuses.
    """
    if not text:
        return db.frame(sql)
    check_predicate(db, text)
    try:
        return db.frame(sql)
    except QueryError as error:
        why = str(error.__cause__).split("\n\nLINE")[0].strip()  # what follows shows the whole SELECT
        columns = ", ".join(db.columns(view))
        raise UsageError(
            f"--where {text!r}: {why}\nIt stands over the view {view}, whose columns are {columns}"
        ) from error


def select_pairs(db: Database, config: LearnConfig, material: str, labels: list[str]) -> Selection:
    """Values of the target on the selected 2-defect structures; ``config.where`` leaves out some and brings in none.

    Raises SelectionError where nothing is left, UsageError for a predicate that DuckDB refuses.
    """
    check_target(config.target)
    sql = _pairs_sql(config, material, labels)
    frame = rows_where(db, sql, config.where, "pair_energies")
    if not frame.height:
        raise SelectionError(
            f"no 2-defect structure of {material} has {config.target} for {', '.join(labels)}"
            + (f" where {config.where}" if config.where else "")
        )
    return Selection(frame, sql, frame_hash(frame), material)


def _pairs_sql(config: LearnConfig, material: str, labels: list[str]) -> str:
    """The SELECT of the labels' rows, those of them for which the predicate holds."""
    value = _COLUMNS[config.target]
    listing = ", ".join(_quoted(label) for label in labels)
    rows = (
        f"SELECT * FROM pair_energies\n"
        f"  WHERE material_id = {_quoted(material)} AND label IN ({listing}) AND {value} IS NOT NULL"
    )
    predicate = "" if not config.where else f"WHERE (\n  {config.where}\n)\n"
    return (
        f"SELECT structure_id, host_id, pair_id, label, distance AS r, dz, {value} AS y\n"
        f"FROM (\n  {rows}\n) AS pair_energies\n{predicate}ORDER BY label, dz, r, structure_id"
    )


def _quoted(text: str) -> str:
    """A SQL string: the stored SELECT must run as it stands, so that nothing in it can be bound."""
    return "'" + text.replace("'", "''") + "'"


def frame_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of the rows as CSV: the same data, the same hash."""
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


def dz_windows(dz: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[tuple[float, float]]:
    """|dz| windows [low, high) that part the layers: one for each cluster of values, together without gaps."""
    values = np.unique(dz)
    cuts = np.flatnonzero(np.diff(values) > SAME_DZ)
    edges = [0.0, *((values[i] + values[i + 1]) / 2 for i in cuts), EVERY_DZ]
    return [(float(low), float(high)) for low, high in pairwise(edges)]


def lattice_points(db: Database, frame: pl.DataFrame) -> pl.DataFrame:
    """Every periodic image of the selected pairs: (row, r) with ``row`` an index into ``frame``."""
    rows = frame.select("pair_id").with_row_index("row")
    with db.registered(selected_pairs=rows):
        return db.frame(
            'SELECT s."row", d.distance AS r FROM distances AS d JOIN selected_pairs AS s USING (pair_id) ORDER BY ALL'
        )
