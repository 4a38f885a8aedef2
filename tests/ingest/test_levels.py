"""Which datasets are of one level of theory, and that energies of several are never averaged."""

from __future__ import annotations

import pytest
from support.builders import make_archive

from defectdb.db import MEMORY, open_database
from defectdb.db.scope import make_scope, one_level
from defectdb.errors import UsageError
from defectdb.ingest import load


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


def archive(path, name, *, seed, changes=()):
    """A small archive of one-defect structures whose tables are changed as said, as (member, old, new)."""
    made = make_archive(structures=6, defects=(1,), seed=seed, prefix=name, name=name)
    for member, old, new in changes:
        assert old in made.members[member]
        made.members[member] = made.members[member].replace(old, new)
    return made.write(path / f"{name}.zip")


def levels(db):
    return dict(db.frame("SELECT dataset_id, level FROM datasets").rows())


def test_datasets_with_the_same_potentials_and_pristine_energy_are_of_one_level(db, tmp_path):
    load(db, [archive(tmp_path, "a", seed=1), archive(tmp_path, "b", seed=2)])
    assert levels(db) == {"2dmd-low-a": "2dmd-low-a", "2dmd-low-b": "2dmd-low-a"}
    assert one_level(db, make_scope(db, "MoS2")) == "2dmd-low-a"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("elements.csv", b"S,-4.127", b"S,-4.350"), id="a chemical potential"),
        pytest.param(("initial_structures.csv", b"-1398.1131", b"-1410.5"), id="the pristine energy"),
        pytest.param(("dataset.toml", b"PBE", b"HSE06"), id="the functional"),
    ],
)
def test_another_of_these_makes_another_level_and_its_energies_another_mean(db, tmp_path, change):
    first, second = (
        make_archive(structures=6, defects=(1,), seed=seed, prefix=name, name=name)
        for seed, name in ((1, "a"), (2, "b"))
    )
    for made in (first, second):
        made.members["dataset.toml"] = b'functional = "PBE"'
    member, old, new = change
    assert old in second.members[member]
    second.members[member] = second.members[member].replace(old, new)
    load(db, [first.write(tmp_path / "a.zip"), second.write(tmp_path / "b.zip")])
    assert levels(db) == {"2dmd-low-a": "PBE", "2dmd-low-b": "HSE06" if new == b"HSE06" else "2dmd-low-b"}
    averaged = db.frame(
        "SELECT o.level, o.label, o.value, avg(w.formation_energy) AS mean FROM one_defect_energies AS o "
        "JOIN datasets AS b USING (level) JOIN structures AS s USING (dataset_id) "
        "JOIN targets_wide AS w USING (structure_id) "
        "WHERE o.target = 'formation_energy' AND s.defect_labels = o.label GROUP BY ALL"
    )
    assert averaged["level"].n_unique() == 2
    assert averaged["value"].to_list() == pytest.approx(averaged["mean"].to_list(), abs=1e-9)
    with pytest.raises(
        UsageError, match=r"2 levels of theory.*--dataset among: 2dmd-low-[ab]; 2dmd-low-[ab]"
    ):
        one_level(db, make_scope(db, "MoS2"))
    assert one_level(db, make_scope(db, "MoS2", ["2dmd-low-a"])) == "PBE"


def test_a_dataset_keeps_its_level_when_it_is_loaded_again(db, tmp_path):
    path = archive(tmp_path, "a", seed=1)
    load(db, [path, archive(tmp_path, "b", seed=2, changes=[("elements.csv", b"S,-4.127", b"S,-4.350")])])
    before = levels(db)
    [report] = load(db, [path])
    assert (report.unchanged, levels(db)) == (6, before)


def test_a_dataset_of_another_number_of_elements_is_of_the_same_level(db, tmp_path):
    load(db, [archive(tmp_path, "a", seed=1)])
    fewer = make_archive(structures=6, defects=(1,), seed=3, prefix="c", name="c")
    kept = [
        line
        for line in fewer.members["elements.csv"].splitlines()
        if not line.startswith((b"V,", b"O,", b"P,"))
    ]
    fewer.members["elements.csv"] = b"\n".join(kept)
    load(db, [fewer.write(tmp_path / "c.zip")])
    assert levels(db)["2dmd-low-c"] == "2dmd-low-a"
