"""Every query of docs/sql.md, run by a plain DuckDB client."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

DOCS = Path(__file__).parents[2] / "docs" / "sql.md"
QUESTIONS = re.findall(
    r"^## (\d+)\. (.*?)$.*?```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.M | re.S
)


def test_there_are_twenty_questions() -> None:
    assert [int(number) for number, _, _ in QUESTIONS] == list(range(1, 21))


@pytest.mark.parametrize(("title", "sql"), [q[1:] for q in QUESTIONS], ids=[q[0] for q in QUESTIONS])
def test_the_query_answers(toy_template: Path, title: str, sql: str) -> None:
    with duckdb.connect(str(toy_template), read_only=True) as plain:
        rows = plain.execute(sql).fetchall()
    assert rows or "cannot be predicted" in title
