"""What two databases say of the same thing: refused where they contradict each other."""

from __future__ import annotations

import polars as pl

from defectdb.db.connection import Database
from defectdb.errors import InputDataError

SAME = 1e-6
"""Numbers closer than this (eV, angstrom) are the same."""

_LISTED = 5

_COMPARED = {
    "datasets": (["dataset_id"], ["sha256", "cutoff", "level"]),
    "materials": (["material_id"], None),
    "material_sites": (["material_id", "sublattice"], None),
    "hosts": (["host_id"], None),
    "host_sites": (["host_id", "site_index"], None),
    "structures": (["structure_id"], ["content_hash", "charge", "host_id"]),
    "configurations": (["structure_id"], ["content_hash"]),
}
"""Table to its key and to the columns that must agree, None for all."""

_NOUN = {"material_sites": "site of material", "host_sites": "site of host"}


def demand_agreeing(db: Database, source: Database) -> None:
    """Raises InputDataError, which names them, where both hold something of one key and different content."""
    conflicts = []
    for table, (key, columns) in _COMPARED.items():
        names = ", ".join([*key, *columns]) if columns else "*"
        mine, theirs = (one.frame(f"SELECT {names} FROM {table}") for one in (db, source))
        conflicts += _differing(table, key, mine, theirs)
    if conflicts:
        more = f" and {len(conflicts) - _LISTED} more" if len(conflicts) > _LISTED else ""
        raise InputDataError(
            f"{'; '.join(conflicts[:_LISTED])}{more}: {source.path} and what was merged before contradict each other; "
            "remove the data set from one of them (`defectdb remove`) or ingest it again in both",
            path=source.path,
        )


def _differing(table: str, key: list[str], mine: pl.DataFrame, theirs: pl.DataFrame) -> list[str]:
    """A text for every key whose rows differ, with the columns that do."""
    both = mine.join(theirs, on=key, suffix="_other")
    others = [name for name in mine.columns if name not in key]
    different = both.select(*key, *(_differs(name, mine.schema[name]).alias(name) for name in others)).filter(
        pl.any_horizontal(others)
    )
    noun = _NOUN.get(table, table.removesuffix("s"))
    found = []
    for row in different.iter_rows(named=True):
        name = " ".join(str(row[part]) for part in key)
        found.append(f"{noun} {name} differs in {', '.join(o for o in others if row[o])}")
    return found


def _differs(name: str, kind: pl.DataType) -> pl.Expr:
    mine, other = pl.col(name), pl.col(f"{name}_other")
    if kind.is_float():
        near = (mine - other).abs() <= SAME
        return ~pl.when(mine.is_null() | other.is_null()).then(mine.is_null() & other.is_null()).otherwise(
            near
        )
    return mine.ne_missing(other)
