"""The data dictionary against a fresh database."""

from __future__ import annotations

import pytest

from defectdb.db import open_database
from defectdb.schema.dictionary import TABLES
from defectdb.schema.fields import TARGETS, UNITS, comments


def test_every_table_view_and_column_of_the_database_is_in_the_dictionary_and_no_other() -> None:
    with open_database(":memory:") as db:
        found = {name: set(db.columns(name)) for name in db.tables()}
    assert found == {table.name: {field.name for field in table.fields} for table in TABLES}


def test_every_column_carries_its_meaning_and_unit_as_a_comment() -> None:
    with open_database(":memory:") as db:
        silent = db.frame(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        )
        unit = db.value(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'pairs' AND column_name = 'distance'"
        )
        views = db.frame("SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL")
    assert silent.rows() == []
    assert views.rows() == []
    assert unit == "minimum-image distance [angstrom]"


def test_comments_of_some_views_can_be_asked_for() -> None:
    assert all('"predictions"' in text for text in comments(["predictions"]))


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_every_target_that_can_be_learned_has_the_unit_of_the_stored_one(target) -> None:
    assert UNITS[target.name] == target.unit
