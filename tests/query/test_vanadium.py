"""V_W: vanadium on tungsten wherever the database has it, and otherwise a question, in every command alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import HOSTS, build_archive

from defectdb.db import Database, open_database
from defectdb.db.read import pair_label, read_label
from defectdb.errors import AmbiguousLabelError
from defectdb.ingest import load
from defectdb.learn.job import find_label
from defectdb.query.placements.chosen import Request, candidates
from defectdb.query.placements.structure_files import occupied
from defectdb.query.select import select


@pytest.fixture
def doped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """WSe2 with vanadium and vacancies on tungsten sites."""
    monkeypatch.setitem(HOSTS, "WSe2", ((8, 8, 1), {"W": ("V",)}, "WSe2_500", False))
    build_archive(tmp_path / "a.zip", "WSe2", structures=40, defects=(1, 2))
    with open_database(tmp_path / "d.duckdb", create=True) as db:
        load(db, [tmp_path / "a.zip"])
        yield db


def test_vanadium_is_vanadium_in_every_command(doped: Database) -> None:
    [(kind,)] = doped.frame("SELECT DISTINCT kind FROM defects WHERE label = 'V_W'").rows()
    assert kind == "substitution"
    counted = doped.value("SELECT count(DISTINCT structure_id) FROM defects WHERE label = 'V_W'")
    assert select(doped, "V_W>=1").height == counted > 0
    assert pair_label(doped, "v_Se-V_W") == "V_W-Vac_Se"
    assert find_label(doped, "WSe2", "V_W-v_Se") == "V_W-Vac_Se"
    found = candidates(doped, Request("WSe2", "3x3", "V_W"))
    elements, _ = occupied(found.cell, found.labels, found.sites()[0])
    assert (elements.count("V"), elements.count("W")) == (1, 8)


def test_without_vanadium_every_command_asks_for_the_vacancy_by_name(tmp_path: Path) -> None:
    build_archive(tmp_path / "a.zip", "WSe2", structures=12, defects=(1, 2))
    with open_database(tmp_path / "d.duckdb", create=True) as db:
        load(db, [tmp_path / "a.zip"])
        for ask in (
            lambda: select(db, "V_W>=1"),
            lambda: pair_label(db, "V_W-Vac_W"),
            lambda: find_label(db, "WSe2", "V_W-V_W"),
            lambda: candidates(db, Request("WSe2", "3x3", "V_W,Vac_Se")),
        ):
            with pytest.raises(AmbiguousLabelError, match="write Vac_W for the vacancy"):
                ask()
        assert read_label(db, "v_W-Vac_Se") == "Vac_Se-Vac_W"
