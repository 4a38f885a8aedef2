"""Predicates of users: one expression, of a length and depth that a person writes."""

from __future__ import annotations

import pytest
from support import toy_database as toy

from defectdb.db import Database
from defectdb.db.predicates import check_predicate
from defectdb.errors import UsageError
from defectdb.query.placements.chosen import predicate
from defectdb.query.select import select


@pytest.mark.parametrize("text", ["(" * 5000, "(" * 900 + "1" + ")" * 900, "[" * 60, "x" * 2001])
def test_texts_too_long_or_too_deep_are_refused_before_any_parser_sees_them(
    empty_database: Database, text: str
) -> None:
    for refuse in (
        lambda: check_predicate(empty_database, text),
        lambda: predicate(text),
        lambda: select(empty_database, text),
    ):
        with pytest.raises(UsageError, match="takes at most"):
            refuse()


def test_what_a_person_writes_is_taken(empty_database: Database) -> None:
    toy.fill(empty_database)
    check_predicate(empty_database, "(" * 50 + "distance < 9" + ")" * 50)
    assert predicate("((value < 2) AND (multiplicity > 1))") is not None


@pytest.mark.parametrize("text", ["1) OR (1", "distance < 9; SELECT 1", "1 AS x", "1 FROM pairs", ""])
def test_what_is_more_than_one_expression_is_refused(empty_database: Database, text: str) -> None:
    with pytest.raises(UsageError, match="takes one SQL predicate"):
        check_predicate(empty_database, text)
