"""Filters for those who do not write SQL, against the same question in SQL."""

from __future__ import annotations

import pytest

from defectdb.cli import run
from defectdb.db import Database
from defectdb.errors import UnknownNameError, UsageError
from defectdb.query.select import Condition, parse, select


def test_a_filter_list_means_what_the_sql_says(db: Database) -> None:
    found = select(
        db,
        "n_defects=3, 0.2<gap<=1.5,Vac_Mo>=1,descriptor!=Vac_Mo-Vac_Mo-W_Mo",
        sort="gap-",
        columns="+Vac_Mo",
    )
    expected = db.frame(
        "SELECT structure_id FROM structures JOIN targets_wide USING (structure_id) WHERE n_defects = 3 "
        "AND homo_lumo_gap > 0.2 AND homo_lumo_gap <= 1.5 "
        "AND descriptor <> 'Vac_Mo-Vac_Mo-W_Mo' "
        "AND structure_id IN (SELECT structure_id FROM defects WHERE label = 'Vac_Mo') "
        "ORDER BY homo_lumo_gap DESC, structure_id"
    )
    assert found.height > 3
    assert found["structure_id"].to_list() == expected["structure_id"].to_list()
    assert found["Vac_Mo"].min() >= 1


def test_conditions_are_read_from_either_side() -> None:
    assert parse("2.2<gap<2.5") == [Condition("gap", ">", 2.2), Condition("gap", "<", 2.5)]
    assert parse("3>=n_defects,descriptor=V2") == [
        Condition("n_defects", "<=", 3.0),
        Condition("descriptor", "=", "V2"),
    ]
    assert parse("") == []


def test_columns_can_be_listed_added_and_removed(db: Database) -> None:
    usual = select(db, limit=1).columns
    assert select(db, columns="+lumo,-descriptor", limit=1).columns == [
        c for c in usual if c != "descriptor"
    ] + ["lumo"]
    assert select(db, columns="id,gap", limit=2).columns == ["id", "gap"]


def test_unreadable_filters_and_unknown_names_are_refused(db: Database) -> None:
    with pytest.raises(UsageError, match="'gap' is no filter"):
        select(db, "gap")
    with pytest.raises(UnknownNameError, match="did you mean 'gap'"):
        select(db, "gab=3")
    with pytest.raises(UnknownNameError, match="unknown column 'Vac_Se'; did you mean 'Vac_S'"):
        select(db, "v_Se>0")


def test_the_command_counts(toy_template, capsys) -> None:
    assert run(["--db", str(toy_template), "select", "n_defects=2", "-n"]) == 0
    assert capsys.readouterr().out == "30\n"
    assert run(["--db", str(toy_template), "select", "n_defects=2", "--csv", "-L", "1"]) == 0
    assert capsys.readouterr().out.startswith("structure_id,descriptor,")
