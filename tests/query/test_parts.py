"""Parts of a list of placements: one after another they are the whole, whatever it is and however it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from defectdb.cli import run
from defectdb.db import Database
from defectdb.errors import UsageError
from defectdb.query.placements.enumeration import count_placements, enumerate_placements
from defectdb.query.placements.parts import Part, parse_part
from defectdb.query.placements.streaming import every_placement
from defectdb.query.placements.supercells import Supercell, supercell


@pytest.fixture(scope="module")
def cell(toy_template: Path) -> Supercell:
    from defectdb.db import open_database

    with open_database(toy_template, read_only=True) as db:
        return supercell(db, "MoS2", (4, 4))


@pytest.mark.parametrize(
    ("labels", "of"),
    [(["Vac_S", "Vac_S", "Vac_Mo"], 3), (["Vac_S", "Vac_S", "Vac_S"], 7), (["Vac_S", "W_Mo"], 5)],
)
def test_parts_of_inequivalent_placements_are_the_whole(cell: Supercell, labels: list[str], of: int) -> None:
    whole = enumerate_placements(cell, labels)
    parts = [enumerate_placements(cell, labels, Part(number, of)) for number in range(1, of + 1)]
    assert pl.concat(parts).equals(whole)
    assert whole["multiplicity"].sum() == count_placements(cell, labels)


@pytest.mark.parametrize(
    ("labels", "of"), [(["Vac_S"] * 3, 4), (["Vac_Mo", "Vac_S", "Vac_S"], 3), (["Vac_Mo", "W_Mo"], 2)]
)
def test_parts_of_all_placements_are_the_whole_and_about_equal(
    cell: Supercell, labels: list[str], of: int
) -> None:
    whole = np.concatenate(list(every_placement(cell, labels, block=700)))
    parts = [
        np.concatenate(list(every_placement(cell, labels, block=700, part=Part(number, of))))
        for number in range(1, of + 1)
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    assert len(whole) == count_placements(cell, labels)
    assert max(map(len, parts)) < 1.3 * len(whole) / of


def test_files_of_parts_joined_are_the_file_of_the_whole(
    toy_path: Path, tmp_path: Path, db: Database
) -> None:
    asked = ["--db", str(toy_path), "enumerate", "--supercell", "4x4", "--defects", "Vac_Mo,Vac_S,Vac_S"]
    asked += ["--target", "formation_energy", "--every"]
    assert run([*asked, "-o", str(tmp_path / "whole.parquet")]) == 0
    for number in (1, 2, 3):
        assert run([*asked, "--part", f"{number}/3", "-o", str(tmp_path / f"part-{number}.parquet")]) == 0
    parts = pl.read_parquet(tmp_path / "part-*.parquet")
    assert parts.equals(pl.read_parquet(tmp_path / "whole.parquet"))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_a_text_that_names_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write 1/8"):
        parse_part(text)
    assert parse_part("2/3") == Part(2, 3)
