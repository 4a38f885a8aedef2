"""Give structures whose names are taken longer names, the same at every load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from defectdb.db import Database
from defectdb.ingest.frames import Block
from defectdb.ingest.match import Matched
from defectdb.ingest.naming import OWN_FILES, longer_names
from defectdb.ingest.records import Source


def settle(db: Database, source: Source, found: Matched) -> tuple[Matched, dict[str, str]]:
    """The same structures under the names that they have or get in the database; what was renamed.

    A name is taken if it is another file's: of another dataset with other content, or of this one while that
    file still exists. A file that was stored under a longer name keeps it.
    """
    blocks = [block.structures for block in found.blocks]
    if source.format not in OWN_FILES or not blocks:
        return found, {}
    incoming = pl.concat([b.select("structure_id", "source_path", "content_hash") for b in blocks])
    renamed = _kept(db, source.dataset_id, incoming)
    clashes = _clashes(db, source.dataset_id, incoming).filter(~pl.col("structure_id").is_in(list(renamed)))
    used = {*incoming["structure_id"], *renamed.values()}
    for name, path in clashes.select("structure_id", "source_path").iter_rows():
        for candidate in (f"{source.dataset_id}.{name}", *longer_names(name, path)):
            if candidate not in used and _free(db, source.dataset_id, candidate):
                renamed[name] = candidate
                used.add(candidate)
                break
    if not renamed:
        return found, {}
    return replace(found, blocks=[_renamed(block, renamed) for block in found.blocks]), renamed


def _kept(db: Database, dataset_id: str, incoming: pl.DataFrame) -> dict[str, str]:
    """Longer or shorter names under which these very files are stored."""
    with db.registered(incoming=incoming):
        rows = db.frame(
            "SELECT i.structure_id AS plain, s.structure_id AS name FROM incoming AS i "
            "JOIN structures AS s USING (source_path) "
            "WHERE s.dataset_id = ? AND (ends_with(s.structure_id, '.' || i.structure_id) "
            "OR ends_with(i.structure_id, '.' || s.structure_id))",
            [dataset_id],
        )
    return dict(rows.iter_rows())


def _clashes(db: Database, dataset_id: str, incoming: pl.DataFrame) -> pl.DataFrame:
    """Incoming structures whose names belong to other files with other content."""
    with db.registered(incoming=incoming):
        rows = db.frame(
            "SELECT i.*, s.dataset_id = $own AS own, s.source_path AS stored FROM incoming AS i "
            "JOIN structures AS s USING (structure_id) WHERE s.content_hash <> i.content_hash "
            "AND NOT (s.dataset_id = $own AND s.source_path = i.source_path) ORDER BY i.structure_id",
            {"own": dataset_id},
        )
    return rows.filter(
        ~pl.col("own") | pl.Series([Path(path).exists() for path in rows["stored"]], dtype=pl.Boolean)
    )


def _free(db: Database, dataset_id: str, name: str) -> bool:
    """Whether no structure has the name, or one of this dataset whose file is gone: it was moved."""
    rows = db.frame("SELECT dataset_id, source_path FROM structures WHERE structure_id = ?", [name])
    return all(owner == dataset_id and not Path(path).exists() for owner, path in rows.iter_rows())


def _renamed(block: Block, names: dict[str, str]) -> Block:
    renamed = pl.col("structure_id").replace(names)
    return replace(
        block,
        structures=block.structures.with_columns(renamed),
        defects=block.defects.with_columns(renamed),
        pairs=block.pairs.with_columns(renamed),
        targets=block.targets.with_columns(renamed),
        notes=tuple(replace(n, structure_id=names.get(n.structure_id, n.structure_id)) for n in block.notes),
    )
