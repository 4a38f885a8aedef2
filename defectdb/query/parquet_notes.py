"""What a Parquet file says about itself: units of its columns, and what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from defectdb.schema.dictionary import TABLES
from defectdb.version import __version__

_OWN_UNITS = {"value": "eV", "predicted": "eV", "concentration": "1"}
"""Columns that no table has alone: predictions are energies."""


def file_notes(columns: Sequence[str], about: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Metadata of a file's schema: ``defectdb`` holds JSON with ``version``, ``units`` by column, and ``about``:
    whatever is known of material, labels, supercell, target and model. Columns without a unit are left out.
    """
    units = {name: unit for name in columns if (unit := _OWN_UNITS.get(name) or _units().get(name))}
    known = {key: value for key, value in (about or {}).items() if value not in (None, "", [])}
    return {"defectdb": json.dumps({"version": __version__, "units": units, **known}, ensure_ascii=False)}


@cache
def _units() -> Mapping[str, str]:
    """Unit of every column that has the same one in all tables of the database."""
    found: dict[str, set[str]] = {}
    for table in TABLES:
        for field in table.fields:
            found.setdefault(field.name, set()).add(field.unit or "")
    return {name: next(iter(units)) for name, units in found.items() if len(units) == 1 and units != {""}}
