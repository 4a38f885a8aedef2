"""The user's predicate over the pairs of a label: it narrows the selection, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import Database
from defectdb.errors import SelectionError, UnknownNameError, UsageError
from defectdb.learn import LearnConfig
from defectdb.learn.composition import structures as composition
from defectdb.learn.dense import structures as dense
from defectdb.learn.job import settle
from defectdb.learn.material.structures import load_structures
from defectdb.learn.network.config import NetworkConfig
from defectdb.learn.network.selection import select_rows
from defectdb.learn.select import missing_singles, select_pairs

LABEL = "Vac_Mo-Vac_S"


@pytest.fixture
def filled(empty_database: Database) -> Database:
    toy.fill(empty_database, n=60)
    return empty_database


@pytest.mark.parametrize(
    "text",
    [
        "true) or (true",
        "true)) AS p JOIN pair_energies AS q ON ((true",
        "true AS x",
        "true, true",
        "true ORDER BY 1",
        "true LIMIT 1",
        "true UNION SELECT 1",
        "SELECT true",
        "1 = 1; DROP TABLE pairs",
        "distance <",
        "true /*",
        "-- nothing",
        " ",
    ],
)
def test_what_is_not_one_expression_by_itself_is_refused_in_the_users_words(
    filled: Database, text: str
) -> None:
    with pytest.raises(UsageError, match="--where takes one SQL predicate") as caught:
        select_pairs(filled, settle(filled, LearnConfig(where=text), [LABEL]))
    assert repr(text) in str(caught.value)
    assert "structure_id" not in str(caught.value)  # of the SELECT around it
    assert filled.value("SELECT count(*) FROM pairs") > 0


@pytest.mark.parametrize(
    ("text", "why"),
    [("depth < 3", "depth"), ("'near' < distance", "near"), ("avg(distance) < 3", "aggregates")],
)
def test_what_does_not_fit_the_view_says_why_and_names_its_columns(
    filled: Database, text: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        select_pairs(filled, settle(filled, LearnConfig(where=text), [LABEL]))
    assert repr(text) in str(caught.value)
    assert "columns are structure_id" in str(caught.value)
    assert "SELECT" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "distance < 9 OR true",
        "true -- everything",
        "pair_energies.distance > 0",
        "label <> 'a;b'",
        "distance >= (SELECT min(distance) FROM pair_energies)",
    ],
)
def test_no_predicate_brings_in_another_label(filled: Database, text: str) -> None:
    plain = select_pairs(filled, settle(filled, LearnConfig(), [LABEL]))
    selection = select_pairs(filled, settle(filled, LearnConfig(where=text), [LABEL]))
    assert selection.frame.equals(plain.frame)
    assert selection.sha256 == plain.sha256
    assert filled.frame(selection.sql).equals(plain.frame)  # the stored SELECT stands by itself


def test_a_dataset_narrows_what_is_learned_from(filled: Database) -> None:
    with filled.transaction():
        columns = ", ".join(name for name in filled.columns("datasets") if name not in ("dataset_id", "name"))
        filled.execute(
            f"INSERT INTO datasets (dataset_id, name, {columns}) SELECT 'mine', 'mine', {columns} FROM datasets LIMIT 1"
        )
        filled.execute("UPDATE datasets SET level = 'PBE'")
        filled.execute(
            "UPDATE structures SET dataset_id = 'mine' WHERE n_defects = 2 AND structure_id > 's0030'"
        )
    every = select_pairs(filled, settle(filled, LearnConfig(), [LABEL])).frame
    mine = select_pairs(filled, settle(filled, LearnConfig(datasets=("mine",)), [LABEL])).frame
    owner = dict(filled.frame("SELECT structure_id, dataset_id FROM structures").iter_rows())
    assert sorted(mine["structure_id"]) == sorted(s for s in every["structure_id"] if owner[s] == "mine")
    assert 0 < mine.height < every.height
    with pytest.raises(UnknownNameError, match="dataset 'theirs'"):
        settle(filled, LearnConfig(datasets=("theirs",)), [LABEL])


def few(db: Database, where: str) -> pl.DataFrame:
    return load_structures(db, settle(db, LearnConfig(where=where))).selection.frame


def many(db: Database, where: str) -> pl.DataFrame:
    return dense.load_dense(db, settle(db, LearnConfig(where=where)), 1, 99).selection.frame


def by_network(db: Database, where: str) -> pl.DataFrame:
    [rows] = select_rows(db, NetworkConfig(where=where))
    return rows.frame


def by_composition(db: Database, where: str) -> pl.DataFrame:
    job = settle(db, LearnConfig(target="homo_lumo_gap", where=where))
    found = composition.load_dense(db, job, lambda _: None)
    assert found is None, "every supercell of the toy has structures of one defect"
    return pl.DataFrame({"n_defects": []})


@pytest.mark.parametrize("read", [few, many, by_network, by_composition])
def test_a_predicate_over_structures_may_name_every_column_of_theirs(
    filled: Database, read: Callable[[Database, str], pl.DataFrame]
) -> None:
    asked = "structure_id <> '' AND n_defects <= 3 AND homo_lumo_gap < 99 AND dataset_id <> '' AND charge = 0"
    assert read(filled, asked).equals(read(filled, "true"))
    assert not set(read(filled, "n_defects < 3")["n_defects"]) - {1, 2}
    with pytest.raises(UsageError, match="It stands over structures and targets_wide, whose columns are"):
        read(filled, "depth < 3")


def test_pairs_of_a_defect_that_was_not_calculated_alone_are_told(filled: Database) -> None:
    every = settle(filled, LearnConfig(), None)
    assert missing_singles(filled, every) == []
    before = select_pairs(filled, every).frame
    with filled.transaction():
        filled.execute(
            "DELETE FROM targets WHERE structure_id IN "
            "(SELECT structure_id FROM structures WHERE defect_labels = 'Vac_S')"
        )
    left = select_pairs(filled, every).frame
    gone = before.filter(pl.col("label").str.contains("Vac_S"))
    assert left.height + gone.height == before.height
    [sentence] = missing_singles(filled, every)
    assert sentence.startswith("no structure with Vac_S alone on ")
    assert f"{gone.height} structures with {', '.join(sorted(set(gone['label'])))} are left out" in sentence
    assert sentence.endswith("ingest a run of Vac_S alone")
    with pytest.raises(
        SelectionError, match=r"has formation_energy for Vac_Mo-Vac_S; no structure with Vac_S"
    ):
        select_pairs(filled, settle(filled, LearnConfig(), [LABEL]))
