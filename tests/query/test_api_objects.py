"""What a notebook does beyond frames: load, learn, look at fronts, get structures back, draw and write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import defectdb
from defectdb.errors import DatabaseError, UnknownNameError, UsageError


@pytest.fixture(scope="module")
def connection(toy_template: Path):
    with defectdb.connect(toy_template) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["ase", "pymatgen"])
def test_stored_structures_come_back_as_atoms_that_are_predicted_alike(connection, kind) -> None:
    pytest.importorskip(kind)
    stored = connection.structures("n_defects=3").head(2)
    back = getattr(connection, f"to_{kind}")(stored)
    expected = connection.sql(
        "SELECT value FROM predictions WHERE target = 'formation_energy' AND structure_id IN "
        "(SELECT unnest($ids)) ORDER BY structure_id",
        ids=stored["structure_id"].to_list(),
    )
    found = connection.predict(back, target="formation_energy")
    np.testing.assert_allclose(sorted(found["value"]), sorted(expected["value"]), rtol=1e-9)


def test_unknown_structures_are_named(connection) -> None:
    pytest.importorskip("ase")
    with pytest.raises(UnknownNameError, match="unknown structure 'nobody'"):
        connection.to_ase("nobody")
    with pytest.raises(UsageError, match="no column structure_id"):
        connection.to_ase(pl.DataFrame({"x": [1]}))


def test_kernels_and_formulas_print_as_formulas(connection) -> None:
    kernel = connection.kernel("W_Mo-Vac_S")
    assert repr(kernel) == "<kernel Vac_S-W_Mo of MoS2, formation_energy: 0.5*exp(-r/2)>"
    assert kernel(2.0) == pytest.approx(0.5 * np.exp(-1))
    assert len(repr(connection.formula(2))) < 100


def test_placements_come_as_a_lazy_frame(connection) -> None:
    lazy = connection.enumerate("Vac_S,Vac_S", "8,8,1", target="formation_energy")
    assert isinstance(lazy, pl.LazyFrame)
    lowest = lazy.sort("value").head(1).collect()
    assert lowest["value"][0] <= lazy.select(pl.col("value").median()).collect().item()


def test_figures_are_matplotlibs(connection) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    for made in (
        connection.plot_kernel("Vac_S-W_Mo"),
        connection.plot_parity(),
        connection.plot_map("Vac_S-W_Mo"),
    ):
        assert isinstance(made, figure.Figure)
        assert made.axes


def test_tables_are_written_by_the_files_name(connection, tmp_path) -> None:
    written = connection.export("SELECT label, distance FROM pairs", tmp_path / "pairs.csv")
    assert pl.read_csv(written).height == 120
    with pytest.raises(UnknownNameError, match="unknown file format"):
        connection.export("pairs", tmp_path / "pairs.doc")


def test_what_was_learned_is_a_front_to_look_at(toy_path) -> None:
    with defectdb.connect(toy_path, write=True) as db:
        front = db.learn(
            "Vac_S-W_Mo", generations=0, exhaustive_size=3, time_limit=20, workers=1, progress=False
        )
        assert repr(front) == f"<front of Vac_S-W_Mo: {len(front)} formulas>"
        assert front.table["tokens"].is_sorted()
        [chosen] = front.chosen
        assert chosen.material == "MoS2"
        assert [str(one) for one in front.sympy()] == [str(chosen.sympy)]
        assert "<table>" in front._repr_html_()
        assert front.plot().axes
        again = db.front("Vac_S-W_Mo")
        assert again.table.equals(front.table)
        with pytest.raises(UsageError, match="option generations"):
            db.learn("Vac_S-W_Mo", generations=-1)


def test_atoms_are_loaded_with_what_their_calculator_found(toy_path) -> None:
    pytest.importorskip("ase")
    from ase.calculators.singlepoint import SinglePointCalculator

    with defectdb.connect(toy_path, write=True) as db:
        [atoms] = db.to_ase("s0000")
        atoms.info["structure_id"] = "mine"
        atoms.calc = SinglePointCalculator(atoms, energy=-93.0)
        [report] = db.ingest(atoms, name="mine")
        assert report.loaded == 1
        found = db.sql("SELECT value FROM targets WHERE structure_id = 'mine' AND target = 'energy'")
        assert found["value"].to_list() == [-93.0]


def test_a_missing_database_is_made_for_writing(tmp_path) -> None:
    with defectdb.connect(tmp_path / "new.duckdb", write=True) as db:
        assert db.status()["structures"] == 0


def test_reading_connections_do_not_write(connection) -> None:
    with pytest.raises(DatabaseError, match="connect with write=True"):
        connection.ingest("some.cif")
    with pytest.raises(DatabaseError, match="connect with write=True"):
        connection.learn("Vac_S-Vac_S")
