"""Names and texts in quotes, as SQL reads them: the one place where text becomes part of a statement."""

from __future__ import annotations


def quoted_name(name: str) -> str:
    """A table, column, macro or view name as SQL: ``a"b`` becomes ``"a""b"``."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """A text as a SQL string: ``it's`` becomes ``'it''s'``. Bind values instead wherever a statement is not stored."""
    return "'" + text.replace("'", "''") + "'"
