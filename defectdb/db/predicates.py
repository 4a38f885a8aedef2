"""Check a predicate that a user writes for --where before it becomes part of a statement."""

from __future__ import annotations

import json

from defectdb.db.connection import Database
from defectdb.errors import UsageError

MAX_CHARACTERS = 2000
MAX_DEPTH = 50  # parentheses within one another; thousands of them take DuckDB's parser minutes and gigabytes


def check_length(text: str, option: str = "--where") -> None:
    """Raises UsageError for a text that is longer, or nested deeper, than a person writes."""
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{option} takes at most {MAX_CHARACTERS} characters, not {len(text)}")
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise UsageError(f"{option} takes at most {MAX_DEPTH} parentheses within one another, not {deepest}")


def check_predicate(db: Database, text: str) -> None:
    """Raises UsageError, with the user's own text, unless it is one SQL expression that stands by itself.

    DuckDB's parser is asked twice, without and with parentheses around the text: what closes a parenthesis that is not
    its own fails the first time; a further clause, statement or alias the second.
    """
    check_length(text)
    for statement in (f"SELECT\n{text}\n", f"SELECT (\n{text}\n)"):
        parsed = json.loads(db.value("SELECT json_serialize_sql(?)", [statement]))
        found = parsed.get("statements", [])
        if len(found) != 1 or len(found[0]["node"].get("select_list", [])) != 1:
            why = f": {parsed['error_message']}" if parsed.get("error_type") == "parser" else ""
            raise UsageError(
                f'--where takes one SQL predicate, e.g. "distance < 9 AND dz < 1"; {text!r} is none{why}'
            )
