"""Crystals other than the host: bulk, another compound, strained cells; and atoms that stand in one place."""

from __future__ import annotations

import numpy as np
import pytest
from support.builders import Crystal, cif, crystal, shared
from support.vasp_files import poscar

from defectdb.db import MEMORY, open_database
from defectdb.errors import InputDataError
from defectdb.ingest import Options, load


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture
def ingest(db, tmp_path):
    """Load one structure on a unit cell of the shared data (or another path); the report."""

    def go(text, cell="MoS2", **options):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "a.vasp").write_text(text)
        path = cell if cell.__class__ is not str else shared("unit_cells", f"{cell}.cif")
        [report] = load(db, [tmp_path / "in"], options=Options(unit_cells=(path,)), **options)
        return report

    return go


def labels(db):
    return db.frame("SELECT label, count(*) AS n FROM defects GROUP BY ALL ORDER BY ALL").rows()


def substituted(material, size, old, new):
    """A pristine supercell in which one element stands for another on every site."""
    host = crystal(material, size)
    return [new if e == old else e for e in host.elements], host.frac, host.lattice


def test_ws2_is_not_mos2_with_tungsten_on_every_site(db, ingest):
    report = ingest(poscar(*substituted("MoS2", (4, 4, 1), "Mo", "W")))
    assert report.rejected == {"too many defects": 1}
    assert "16 of the 16 Mo sites" in report.rejects[0].detail
    assert "--any-number" in report.rejects[0].detail
    assert ingest(poscar(*substituted("MoS2", (4, 4, 1), "Mo", "W")), any_number=True).loaded == 1
    assert labels(db) == [("W_Mo", 16)]


def test_more_substitutions_than_a_tenth_of_all_sites_are_refused(db, ingest):
    host = crystal("MoS2", (4, 4, 1))
    sulfur = [k for k, e in enumerate(host.elements) if e == "S"]
    for count, loaded in ((4, 1), (5, 0)):
        elements = ["Se" if k in sulfur[: 2 * count : 2] else e for k, e in enumerate(host.elements)]
        report = ingest(poscar(elements, host.frac, host.lattice))
        assert (report.loaded + report.updated, bool(report.rejected)) == (loaded, not loaded)


def test_small_cells_may_have_two_defects_and_many_vacancies_are_vacancies(db, ingest):
    host = crystal("BN", (2, 2, 1))
    assert ingest(poscar(["C", "C", *host.elements[2:]], host.frac, host.lattice), "BN").loaded == 1
    host = crystal("BN", (5, 5, 1))
    chosen = np.random.default_rng(3).permutation(50)[:20]
    keep = np.setdiff1d(np.arange(50), chosen)
    assert ingest(poscar([host.elements[k] for k in keep], host.frac[keep], host.lattice), "BN").updated == 1
    assert sum(n for _, n in labels(db)) == 20


CUBIC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


@pytest.mark.parametrize(
    ("name", "elements", "frac", "lattice"),
    [
        ("Si", ["Si"] * 8, np.vstack([CUBIC, CUBIC + 0.25]), np.eye(3) * 5.431),
        ("MgO", ["Mg"] * 4 + ["O"] * 4, np.vstack([CUBIC, CUBIC + np.array([0.5, 0, 0])]), np.eye(3) * 4.21),
        ("GaN", ["Ga", "Ga", "N", "N"],
         np.array([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.377], [2 / 3, 1 / 3, 0.877]]),
         np.array([[3.19, 0, 0], [-1.595, 2.7626, 0], [0, 0, 5.189]])),
    ],
)  # fmt: skip
def test_a_bulk_crystal_is_no_host_and_no_structure_of_a_layer(
    db, ingest, tmp_path, name, elements, frac, lattice
):
    text = poscar(elements, frac, lattice)
    (tmp_path / f"{name}.vasp").write_text(text)
    with pytest.raises(
        InputDataError, match=r"is no layer: its atoms leave .* bulk crystals are not read yet"
    ):
        ingest(text, tmp_path / f"{name}.vasp")
    report = ingest(text, "BN")
    assert report.rejected == {"unknown host": 1}
    assert "it is no layer" in report.rejects[0].detail


def strained(percent):
    host = crystal("BN", (5, 5, 1))
    lattice = host.lattice.copy()
    lattice[:2] *= 1 + percent / 100
    return poscar(host.elements[1:], host.frac[1:], lattice)


@pytest.mark.parametrize(
    ("percent", "noted"), [(0.05, None), (0.2, "0.20 % larger"), (-0.45, "0.45 % smaller")]
)
def test_a_cell_strained_a_little_loads_and_is_noted(db, ingest, percent, noted):
    report = ingest(strained(percent), "BN")
    assert (report.loaded, labels(db)) == (1, [("Vac_B", 1)])
    assert [note.detail for note in report.notes] == (
        [] if noted is None else [f"its lattice is {noted} than that of BN-5x5x1"]
    )
    assert db.value("SELECT count(*) FROM notes") == len(report.notes)


@pytest.mark.parametrize(
    ("percent", "told"), [(1, "1.0 % larger"), (-2, "2.0 % smaller"), (4, "4.0 % larger")]
)
def test_a_cell_strained_more_is_refused_with_how_much(ingest, percent, told):
    [reject] = ingest(strained(percent), "BN").rejects
    assert f"its lattice is {told} than that of BN 5x5x1" in reject.detail


@pytest.mark.parametrize("form", ["vasp", "cif"])
@pytest.mark.parametrize(("distance", "element"), [(0.0, "S"), (0.02, "S"), (0.3, "S"), (0.0, "Se")])
def test_two_atoms_in_one_place_are_no_structure(db, tmp_path, form, distance, element):
    host = crystal("MoS2", (4, 4, 1))
    k = host.elements.index("S")
    extra = host.frac[k] + np.array([distance, 0, 0]) @ np.linalg.inv(host.lattice)
    elements, frac = [*host.elements[1:], element], np.vstack([host.frac[1:], extra])
    path = tmp_path / f"a.{form}"
    text = (
        cif(Crystal(host.lattice, elements, frac), []).decode()
        if form == "cif"
        else poscar(elements, frac, host.lattice)
    )
    path.write_text(text)
    [report] = load(db, [path], options=Options(unit_cells=(shared("unit_cells", "MoS2.cif"),)))
    assert report.rejected == {"two atoms in one place": 1}
    assert f"S and {element}" in report.rejects[0].detail
    assert f"{distance:.2f} angstrom apart" in report.rejects[0].detail


def test_two_atoms_on_either_side_of_the_cell_s_border_are_close_too(ingest):
    host = crystal("BN", (5, 5, 1))
    frac = host.frac - host.frac[0] + [0.001, 0.001, 0.3]
    places = np.vstack([frac, [0.999, 0.999, 0.3]])
    [reject] = ingest(poscar([*host.elements, "B"], places, host.lattice), "BN").rejects
    assert reject.reason == "two atoms in one place"


def test_an_adatom_near_the_layer_is_still_an_adatom(db, ingest):
    host = crystal("BN", (5, 5, 1))
    above = host.frac[0] + [0, 0, 1.2 / host.lattice[2, 2]]
    report = ingest(poscar([*host.elements, "H"], np.vstack([host.frac, above]), host.lattice), "BN")
    assert (report.loaded, labels(db)) == (1, [("Ad_H", 1)])
