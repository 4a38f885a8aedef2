"""A read-only copy of a database for a group, a web server or an archive: DuckDB, Parquet and a description."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from defectdb.db import Database
from defectdb.db.access.locks import hold, let_go
from defectdb.db.connection import WRITER_PATIENCE
from defectdb.db.stores.copy import copy_database
from defectdb.errors import DatabaseError, InputDataError, UsageError
from defectdb.schema.dictionary import TABLES
from defectdb.schema.dictionary_entries import Table
from defectdb.schema.quoting import quoted_name
from defectdb.version import __version__

DATABASE = "defects.duckdb"
DESCRIPTION = "datapackage.json"

VIEWS = ("pair_energies", "targets_wide", "predictions", "prediction_errors")
"""Views that are written as Parquet as well: what readers without DuckDB ask for."""

_PAUSE = 0.1
"""Seconds between two looks whether another process still writes the copy."""

_TYPES = {
    "int": "integer", "uint": "integer", "float": "number", "double": "number", "bool": "boolean",
    "timestamp": "datetime", "date": "date", "list": "array", "large_list": "array", "struct": "object",
}  # fmt: skip
"""Arrow types, by how their names begin, to those of a Frictionless table schema; all others are strings."""


def publish(db: Database, folder: Path) -> list[str]:
    """Write the copy into a folder, whole or not at all; its files.

    ``defects.duckdb``; ``parquet/TABLE.parquet`` of every table that has rows and of the views ``VIEWS``, each column
    with its unit and meaning in the schema's metadata; ``datapackage.json`` (Frictionless Data Package) with licences,
    citations, schemas and hashes. An earlier copy is replaced; of several processes one after another writes. Raises
    UsageError for a folder of something else, InputDataError where it cannot be written, DatabaseError where another
    process is at it for more than ten minutes.
    """
    with _alone(folder):
        return _published(db, folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes this copy, and let none begin before the block ends."""
    lock = folder.with_name(f".{folder.name}.lock")
    until = time.monotonic() + WRITER_PATIENCE
    while (held := _held(lock)) is None:
        if time.monotonic() > until:
            raise DatabaseError(f"another process is writing {folder}; try again when it is done")
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        let_go(held, lock)


def _held(lock: Path) -> int | None:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause}", path=str(lock.parent)) from cause
    return hold(lock)


def _published(db: Database, folder: Path) -> list[str]:
    free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not free and not (folder / DESCRIPTION).is_file():
        raise UsageError(f"{folder} holds something else than a published copy; name a new folder")
    draft, old = (folder.with_name(f".{folder.name}.{end}") for end in ("draft", "old"))
    if old.exists() and not folder.exists():
        old.rename(folder)  # a process was killed between the two renamings below
    for left in (draft, old):
        _remove(left)
    try:
        draft.mkdir(parents=True)
        _write(db, draft)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    except (OSError, pa.ArrowException) as cause:
        raise InputDataError(f"cannot be written: {cause}", path=str(folder)) from cause
    finally:
        _remove(draft)
        _remove(old)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _write(db: Database, folder: Path) -> None:
    copy_database(db, folder / DATABASE)
    resources: list[dict[str, Any]] = [{"name": "database", **_file(folder, folder / DATABASE, "duckdb")}]
    (folder / "parquet").mkdir()
    for table in TABLES:
        if not table.view or table.name in VIEWS:
            path = folder / "parquet" / f"{table.name}.parquet"
            schema = _write_table(db, table, path)
            if schema is not None:
                resources.append(
                    {"name": table.name.replace("_", "-"), "description": table.meaning,
                     **_file(folder, path, "parquet"), "schema": {"fields": _fields(table, schema)}}
                )  # fmt: skip
    package = {
        "name": "defects",
        "title": "Point defects in crystals: structures, energies, formulas and predictions",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": "data-package",
        "version": str(db.value("SELECT max(version) FROM schema_migrations")),
        "software": f"defectdb {__version__}",
        **_origin(db),
        "resources": resources,
    }
    (folder / DESCRIPTION).write_text(json.dumps(package, indent=1, ensure_ascii=False), encoding="utf-8")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)


def _write_table(db: Database, table: Table, path: Path) -> pa.Schema | None:
    """Write a table's rows, each column with its unit and meaning; its schema, None where it has no rows."""
    writer: pq.ParquetWriter | None = None
    schema: pa.Schema | None = None
    try:
        for batch in _batches(db, table):
            rows = batch.to_arrow()
            if writer is None:
                schema = _described(rows.schema, table)
                writer = pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(rows.cast(schema))
    finally:
        if writer is not None:
            writer.close()
    return schema


def _batches(db: Database, table: Table) -> Iterator[pl.DataFrame]:
    for batch in db.batches(f"SELECT * FROM {quoted_name(table.name)}"):
        if batch.height:
            yield batch


def _described(schema: pa.Schema, table: Table) -> pa.Schema:
    """The schema with the meanings and units of the data dictionary as metadata."""
    known = {field.name: field for field in table.fields}
    fields = []
    for column in schema:
        entry = known.get(column.name)
        metadata = {"description": entry.meaning, "unit": entry.unit} if entry is not None else {}
        fields.append(column.with_metadata({name: text for name, text in metadata.items() if text}))
    return pa.schema(fields, metadata={"description": table.meaning, "software": f"defectdb {__version__}"})


def _fields(table: Table, schema: pa.Schema) -> list[dict[str, str]]:
    """Columns of a Frictionless table schema, with units."""
    known = {field.name: field for field in table.fields}
    found = []
    for column in schema:
        kind = str(column.type)
        name = next((to for start, to in _TYPES.items() if kind.startswith(start)), "string")
        row = {"name": column.name, "type": name}
        entry = known.get(column.name)
        if entry is not None:
            row |= {"description": entry.meaning} | ({"unit": entry.unit} if entry.unit else {})
        found.append(row)
    return found


def _file(folder: Path, path: Path, kind: str) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    where = path.relative_to(folder).as_posix()
    return {"path": where, "format": kind, "bytes": path.stat().st_size, "hash": f"sha256:{digest}"}


def _origin(db: Database) -> dict[str, Any]:
    """Licences and sources of all data sets, each once."""
    frame = db.frame("SELECT name, source_uri, licence, citation, doi FROM datasets ORDER BY dataset_id")
    licences = frame["licence"].drop_nulls().unique(maintain_order=True).to_list()
    return {
        "licenses": [{"title": licence} for licence in licences],
        "sources": [_source(row) for row in frame.to_dicts()],
    }


def _source(row: dict[str, Any]) -> dict[str, str]:
    texts: Sequence[tuple[str, str | None]] = (
        ("title", row["name"]),
        ("path", f"https://doi.org/{row['doi']}" if row["doi"] else None),
        ("citation", row["citation"]),
    )
    return {name: text for name, text in texts if text}
