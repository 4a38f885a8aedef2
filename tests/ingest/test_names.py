"""Runs and files of equal names from several places: each has a name of its own, the same at every load."""

from __future__ import annotations

import shutil

import pytest
from support.builders import crystal, shared
from support.vasp_files import vasprun

from defectdb.cli import run
from defectdb.db import MEMORY, open_database
from defectdb.ingest import Options, load
from defectdb.ingest.naming import longer_names


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture
def tree(tmp_path):
    """Make a tree with the run ``relax``: h-BN without one boron, at this energy."""

    def make(place, energy, site=0):
        host = crystal("BN", (5, 5, 1))
        elements = host.elements[:site] + host.elements[site + 1 :]
        frac = [*host.frac[:site], *host.frac[site + 1 :]]
        folder = tmp_path / place / "relax"
        folder.mkdir(parents=True, exist_ok=True)
        spins = [[(-1.0, 1.0), (1.0, 0.0)]]
        (folder / "vasprun.xml").write_text(vasprun(elements, frac, host.lattice, energy=energy, spins=spins))
        return tmp_path / place

    return make


@pytest.fixture
def options(tmp_path):
    shutil.copy(shared("unit_cells", "BN.cif"), tmp_path / "BN.cif")
    return Options(unit_cells=(tmp_path / "BN.cif",))


def energies(db):
    rows = db.frame("SELECT structure_id, value FROM targets WHERE target = 'energy' ORDER BY ALL")
    return dict(rows.iter_rows())


def counts(reports):
    [report] = reports
    return report.loaded, report.updated, report.unchanged, report.n_rejected


def test_two_trees_in_one_call_keep_both_runs_in_either_order(db, tree, options):
    first, second = tree("one", -1.0), tree("two", -2.0)
    assert counts(load(db, [first, second], name="mine", options=options)) == (2, 0, 0, 0)
    assert energies(db) == {"relax": -1.0, "two.relax": -2.0}
    for again in ([first, second], [second, first], [second], [first]):
        assert counts(load(db, again, name="mine", options=options)) == (0, 0, len(again), 0)
    tree("two", -3.0)
    assert counts(load(db, [second], name="mine", options=options)) == (0, 1, 0, 0)
    assert energies(db) == {"relax": -1.0, "two.relax": -3.0}


def test_a_second_dataset_s_run_takes_the_dataset_s_name_in_front(db, tree, options):
    load(db, [tree("one", -1.0)], options=options)
    two = tree("two", -2.0)
    reports = load(db, [two], name="new", options=options)
    assert counts(reports) == (1, 0, 0, 0)
    assert reports[0].renamed == {"relax": "new.relax"}
    assert counts(load(db, [two], name="new", options=options)) == (0, 0, 1, 0)
    assert energies(db) == {"relax": -1.0, "new.relax": -2.0}
    moved = two.rename(two.parent / "three")
    assert counts(load(db, [moved], name="new", options=options)) == (0, 0, 1, 0)


def test_trees_of_one_name_in_two_projects_do_not_replace_each_other(db, tree, options):
    load(db, [tree("a/runs", -1.0)], options=options)
    other = tree("b/runs", -2.0)
    assert counts(load(db, [other], options=options)) == (1, 0, 0, 0)
    assert counts(load(db, [other], options=options)) == (0, 0, 1, 0)
    assert energies(db) == {"relax": -1.0, "runs.relax": -2.0}


def test_a_tree_that_moved_is_updated_under_its_names(db, tree, options):
    before = tree("a/runs", -1.0)
    load(db, [before], options=options)
    shutil.rmtree(before)
    assert counts(load(db, [tree("b/runs", -2.0)], options=options)) == (0, 1, 0, 0)
    assert energies(db) == {"relax": -2.0}


def test_relative_paths_of_two_working_folders_are_two_trees(db, tree, options, monkeypatch):
    from pathlib import Path

    for place, energy in (("a/runs", -1.0), ("b/runs", -2.0)):
        monkeypatch.chdir(tree(place, energy).parent)
        assert counts(load(db, [Path("runs")], options=options)) == (1, 0, 0, 0)
    assert len(energies(db)) == 2


def test_the_same_run_in_another_dataset_is_stored_once(db, tree, options):
    one = tree("one", -1.0)
    load(db, [one], options=options)
    assert counts(load(db, [one], name="other", options=options)) == (0, 0, 1, 0)


def test_ingest_says_what_it_renamed(tree, options, tmp_path, capfd):
    database = ["--db", str(tmp_path / "d.duckdb"), "ingest", "--unit-cell", str(tmp_path / "BN.cif")]
    for place, energy in (("one", -1.0), ("two", -2.0)):
        assert run([*database, str(tree(place, energy))]) == 0
    assert "relax is stored as two.relax: another structure has that name" in capfd.readouterr().err


def test_names_grow_by_the_folders_above():
    assert list(longer_names("b.c", "/x/a/b/c/OUTCAR")) == ["a.b.c", "x.a.b.c"]
    assert list(longer_names("vac", "/x/a/vac.cif")) == ["a.vac", "x.a.vac"]
