"""Structures picked by filters such as ``n_defects=3,2.2<gap<2.5,Vac_Mo>=1``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.db.predicates import check_length
from defectdb.db.read import known
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.errors import AmbiguousLabelError, LabelError, UsageError
from defectdb.schema.labels import canonical_label

ALIASES = {
    "id": "structure_id", "gap": "homo_lumo_gap", "material": "material_id", "dataset": "dataset_id",
    "e_f": "formation_energy", "n": "n_defects",
}  # fmt: skip
DEFAULT_COLUMNS = ("structure_id", "descriptor", "n_defects", "formation_energy_per_site", "homo_lumo_gap")
_BASE = """
    SELECT s.* EXCLUDE (host_id, source_path, content_hash), h.material_id, w.* EXCLUDE (structure_id)
    FROM structures AS s
    JOIN hosts AS h USING (host_id)
    LEFT JOIN targets_wide AS w USING (structure_id)
"""
_SIGNS = ("<=", ">=", "!=", "<", ">", "=")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a column, or of the number of defects of a label, with a value.

    ``name``: column, alias or defect label.
    ``sign``: one of < <= > >= = !=.
    ``value``: what to compare with.
    """

    name: str
    sign: str
    value: str | float


def select(
    db: Database,
    filters: str = "",
    *,
    columns: str = "",
    sort: str = "structure_id",
    limit: int | None = None,
    scope: Scope = EVERYTHING,
) -> pl.DataFrame:
    """Structures in scope for which every filter holds.

    ``columns`` is a list, or adds (``+gap``) to and removes (``-descriptor``) from the usual ones; ``sort``
    ends with ``-`` for falling values. Raises UnknownNameError, and UsageError for an unreadable filter.
    """
    schema = db.frame(f"{_BASE} LIMIT 0").schema
    names = list(schema)
    labels = db.frame("SELECT DISTINCT label FROM defects")["label"].to_list()
    clauses: list[str] = [IN_SCOPE]
    values: dict[str, Any] = scope.parameters()
    for number, condition in enumerate(parse(filters)):
        column = _column(condition.name, names, labels)
        clauses.append(f"coalesce({column} {condition.sign} $v{number}, FALSE)")
        values[f"v{number}"] = _fitting(condition, schema.get(ALIASES.get(condition.name, condition.name)))
    order = _column(sort.rstrip("-"), names, labels)
    direction = "DESC" if sort.endswith("-") else "ASC"
    shown = ", ".join(f'{_column(name, names, labels)} AS "{name}"' for name in _columns(columns))
    tail = "" if limit is None else f"LIMIT {limit:d}"
    return db.frame(
        f"SELECT {shown} FROM ({_BASE}) AS b WHERE {' AND '.join(clauses)} "
        f"ORDER BY {order} {direction} NULLS LAST, structure_id {tail}",
        values,
    )


def parse(filters: str) -> list[Condition]:
    """The conditions of a comma-separated list; ``2.2<gap<2.5`` gives two. Raises UsageError."""
    check_length(filters, "a filter")
    found = []
    for part in filter(None, (piece.strip() for piece in filters.split(","))):
        words = re.split("(" + "|".join(_SIGNS) + ")", part)
        tokens = [word.strip() for word in words]
        if len(tokens) not in (3, 5) or not all(tokens):
            raise UsageError(f"{part!r} is no filter; write n_defects=3, 2.2<gap<2.5 or Vac_Mo>=1")
        if len(tokens) == 5:
            low, first, name, second, high = tokens
            found += [Condition(name, _FLIPPED[first], _value(low)), Condition(name, second, _value(high))]
        elif _NUMBER.fullmatch(tokens[0]):
            found.append(Condition(tokens[2], _FLIPPED[tokens[1]], _value(tokens[0])))
        else:
            found.append(Condition(tokens[0], tokens[1], _value(tokens[2])))
    return found


def _value(text: str) -> str | float:
    return float(text) if _NUMBER.fullmatch(text) else text


def _fitting(condition: Condition, kind: pl.DataType | None) -> str | float | bool:
    """The value in the kind of its column (None: a number of defects). Raises UsageError where it has none."""
    value = condition.value
    if kind is not None and kind == pl.Boolean:
        if str(value).lower() not in ("true", "false"):
            raise UsageError(f"{condition.name} is true or false, not {value!r}")
        return str(value).lower() == "true"
    if kind is not None and not kind.is_numeric():
        return f"{value:.15g}" if isinstance(value, float) else value
    if isinstance(value, str):
        raise UsageError(f"{condition.name} is a number; {value!r} is none")
    return value


def _column(name: str, names: list[str], labels: list[str]) -> str:
    """A column, or the number of defects of a label, as SQL over ``b``."""
    name = ALIASES.get(name, name)
    if name in names:
        return f'b."{name}"'
    try:
        label = canonical_label(name, labels, order=1)
    except AmbiguousLabelError:
        raise
    except LabelError:
        known("column", name, [*names, *ALIASES, *labels])
        raise
    known("column", label, [*names, *ALIASES, *labels])
    return (
        f"(SELECT count(*) FROM defects AS d WHERE d.structure_key = b.structure_key AND d.label = '{label}')"
    )


def _columns(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    plain = [name for name in names if name[0] not in "+-"]
    shown = plain or list(DEFAULT_COLUMNS)
    removed = {ALIASES.get(name[1:], name[1:]) for name in names if name[0] == "-"}
    added = [name[1:] for name in names if name[0] == "+" and ALIASES.get(name[1:], name[1:]) not in shown]
    return [name for name in [*shown, *added] if ALIASES.get(name, name) not in removed]
