"""The material and datasets that a command is about."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import toy_database as toy
from support.two_materials import SECOND, SECOND_DATASET, add_second_material

from defectdb.db import Database, open_database
from defectdb.db.read import defect_label
from defectdb.db.scope import IN_SCOPE, Scope, chosen_material, make_scope, one_material
from defectdb.errors import UnknownNameError, UsageError


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("scope") / "two.duckdb"
    with open_database(path, create=True) as opened:
        toy.fill(opened)
        toy.publish_energy_model(opened)
        add_second_material(opened)
    with open_database(path, read_only=True) as opened:
        yield opened


def test_a_scope_keeps_the_rows_of_its_material_and_datasets(db: Database) -> None:
    def count(scope: Scope) -> int:
        sql = f"SELECT count(*) AS n FROM structures JOIN hosts USING (host_id) WHERE {IN_SCOPE}"
        return db.frame(sql, scope.parameters())["n"].item()

    assert count(Scope()) == 126
    assert count(make_scope(db, "MoS2")) == 63
    assert count(make_scope(db, None, ["toy"])) == 63
    assert count(make_scope(db, SECOND, [SECOND_DATASET, "toy"])) == 63
    assert count(Scope("MoS2", (SECOND_DATASET,))) == 0


def test_unknown_names_are_refused_with_the_known_ones(db: Database) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'tyo'.*Known: toy, toy-1T"):
        make_scope(db, None, ["tyo"])
    with pytest.raises(UnknownNameError, match="unknown material 'WSe2'"):
        make_scope(db, "WSe2")
    with pytest.raises(UsageError, match="toy-1T holds no structure of MoS2, only of MoS2-1T"):
        make_scope(db, "MoS2", [SECOND_DATASET])


def test_one_of_several_materials_must_be_named(db: Database) -> None:
    both = ["MoS2", SECOND]
    with pytest.raises(UsageError, match=r"kernels \(MoS2, MoS2-1T\); choose one with --material"):
        one_material(db, Scope(), both, "kernels")
    assert one_material(db, Scope(datasets=("toy",)), both, "kernels") == "MoS2"
    assert one_material(db, Scope(SECOND), both, "kernels") == SECOND
    assert one_material(db, Scope(), [], "kernels") is None
    with pytest.raises(UsageError, match="several materials have structures"):
        chosen_material(db, Scope())
    assert chosen_material(db, make_scope(db, SECOND)) == SECOND


def test_an_empty_database_has_no_material_to_choose(tmp_path: Path) -> None:
    with (
        open_database(tmp_path / "x.duckdb", create=True) as db,
        pytest.raises(UsageError, match="holds no structures"),
    ):
        chosen_material(db, Scope())


def test_labels_are_read_as_the_database_holds_them(db: Database) -> None:
    assert defect_label(db, "v_S") == "Vac_S"
