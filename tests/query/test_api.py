"""The Python interface: frames, formulas in every notation, predictions for structures in memory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support import toy_database as toy

import defectdb
from defectdb.errors import DatabaseError, InputDataError, QueryError, UnknownNameError, UsageError


@pytest.fixture
def connection(toy_template: Path):
    with defectdb.connect(toy_template) as opened:
        yield opened


def test_frames_come_by_label_in_any_notation(connection) -> None:
    assert connection.pairs("v_S-Vac_Mo").height == 5
    assert connection.pairs().height == 30
    assert connection.labels()["label"].to_list() == sorted(toy.LABELS)
    assert connection.formulas("W_Mo-Vac_S", "formation_energy")["infix"].to_list() == ["0.5*exp(-r/2)"]
    assert connection.structures("n_defects=3").height == 30
    assert connection.sql("SELECT $n + 1 AS m", n=2).item() == 3
    assert connection.evaluate("material")["group"].unique().to_list() == ["MoS2"]


def test_a_formula_speaks_every_notation_with_one_voice(connection) -> None:
    formula = connection.formula(2)
    r = np.array([3.0, 4.5])
    expected = 0.2 * np.exp(-r / 2)
    np.testing.assert_allclose(formula(r=r), expected, rtol=1e-15)
    np.testing.assert_allclose(
        pl.DataFrame({"r": r}).select(formula.polars).to_series(), expected, rtol=1e-14
    )
    [symbol] = formula.sympy.free_symbols
    assert float(formula.sympy.subs(symbol, 3)) == pytest.approx(expected[0], rel=1e-14)
    assert formula._repr_latex_() == r"$0.2 e^{- \frac{r}{2}}$"
    assert str(formula) == "0.2*exp(-r/2)"
    assert "def formula(r):" in formula.python
    assert "double formula(double r)" in formula.c
    assert connection.notations(2)["infix"] == str(formula)


def test_a_kernel_chooses_its_formula_by_dz(connection) -> None:
    kernel = connection.kernel("Vac_S-Vac_S")
    r, dz = np.array([3.19, 3.19]), np.array([0.0, 3.12])
    expected = [toy.energy_kernel("Vac_S-Vac_S", 3.19, x) for x in dz]
    np.testing.assert_allclose(kernel(r, dz), expected, rtol=1e-14)
    frame = pl.DataFrame({"distance": r, "dz": dz}).select(kernel.polars())
    np.testing.assert_allclose(frame.to_series(), expected, rtol=1e-14)
    assert kernel.within(np.array([0.5, 3.0]), np.zeros(2)).tolist() == [False, True]


def test_stored_structures_are_predicted_without_naming_them(connection) -> None:
    assert connection.predict(target="formation_energy").height == 63


def test_a_connection_shows_itself(connection) -> None:
    assert repr(connection).endswith("63 structures, 120 pairs>")
    assert connection._repr_html_().startswith("<table>")


def test_errors_are_the_libraries_own(connection, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no_such_table"):
        connection.sql("FROM no_such_table")
    with pytest.raises(UnknownNameError, match="unknown formula '999'"):
        connection.formula(999)
    with pytest.raises(UsageError, match="int is no structure"):
        connection.predict(7)
    with pytest.raises(DatabaseError, match="for reading only"):
        connection.activate(2)
    with pytest.raises(DatabaseError, match="there is no database"):
        defectdb.connect(tmp_path / "none.duckdb")


def test_activating_needs_a_writable_connection(toy_path: Path) -> None:
    with defectdb.connect(toy_path, write=True) as connection:
        assert connection.activate(2) == 1


def test_structures_in_memory_are_predicted_like_files(real_database: Path, tmp_path: Path) -> None:
    from ase import Atoms
    from pymatgen.core import Structure

    from defectdb.db import open_database
    from defectdb.query.placements.structure_files import occupied, write_structures
    from defectdb.query.placements.supercells import supercell

    with open_database(real_database) as db:
        _table_model(db)
        cell = supercell(db, "MoS2", (8, 8))
    labels, sites = ["Vac_Mo", "Vac_S"], [0, 64]
    [path] = write_structures(cell, labels, [sites], tmp_path, "cif")
    elements, frac = occupied(cell, labels, sites)
    crystal = Structure(cell.lattice, elements, frac)
    atoms = Atoms(elements, scaled_positions=frac, cell=cell.lattice, pbc=True)
    with defectdb.connect(real_database) as connection:
        frames = [connection.predict(item, "formation_energy") for item in (path, crystal, atoms)]
        several = connection.predict([crystal, atoms], "formation_energy")
    found = [frame["value"].item() for frame in frames]
    assert math.isfinite(found[0])
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    assert several["value"].to_list() == pytest.approx([found[0]] * 2, rel=1e-12)
    with (
        defectdb.connect(real_database) as connection,
        pytest.raises(InputDataError, match="structure-00000"),
    ):
        connection.predict(Atoms("Ag2", positions=[[0, 0, 0], [1, 1, 1]], cell=[3, 4, 5], pbc=True))


def _table_model(db) -> None:
    """A model of the real archive with one made-up kernel."""
    from defectdb.db.models.formulas import activate_model, append_formulas, append_model
    from defectdb.schema.records import ModelRecord, TermRecord

    with db.transaction():
        run_id = toy.run(db)
        [key] = append_formulas(db, [toy.formula(run_id, "Vac_Mo-Vac_S", "exp neg r")])
        terms = [
            TermRecord(order=1, label="Vac_Mo", value=7.0),
            TermRecord(order=1, label="Vac_S", value=2.7),
        ]
        terms.append(TermRecord(order=2, label="Vac_Mo-Vac_S", formula_id=key))
        record = ModelRecord(run_id=run_id, material_id="MoS2", target="formation_energy", aggregator="sum",
                             trained_on="x", n_train=1)  # fmt: skip
        activate_model(db, append_model(db, record, terms))
