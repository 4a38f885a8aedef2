"""The same defects in every setting: shifted, rotated, permuted, relaxed, in other lattice vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import HOSTS, Built, Crystal, build_archive, make_archive

from defectdb.db import MEMORY, open_database
from defectdb.ingest import load

CHOICES = [
    np.array(m)
    for m in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 1], [0, 1]], [[0, 1], [-1, -1]], [[1, 0], [-2, 1]])
]


def poscar(elements, frac, lattice, *, cartesian=False) -> str:
    """A POSCAR whose species blocks follow the order of first appearance."""
    order = list(dict.fromkeys(elements))
    rows = [row for symbol in order for e, row in zip(elements, frac, strict=True) if e == symbol]
    rows = np.array(rows) @ lattice if cartesian else np.array(rows)
    counts = [str(elements.count(symbol)) for symbol in order]
    lines = ["test", "1.0", *(" ".join(f"{v:.12f}" for v in vector) for vector in lattice), " ".join(order),
             " ".join(counts), "Cartesian" if cartesian else "Direct"]  # fmt: skip
    return "\n".join([*lines, *(" ".join(f"{v:.12f}" for v in row) for row in rows)]) + "\n"


def atoms_of(crystal: Crystal, built: Built):
    """Elements and fractional places of the defective structure."""
    changed = {site: after for site, _, after in built.defects}
    kept = [
        (changed.get(k, e), f) for k, (e, f) in enumerate(zip(crystal.elements, crystal.frac, strict=True))
    ]
    return [e for e, _ in kept if e is not None], np.array([f for e, f in kept if e is not None])


def expected_pairs(crystal: Crystal, built: Built) -> list[tuple[str, float]]:
    """Label and minimum-image distance of all pairs, by brute force."""
    shifts = np.array([[i, j, 0] for i, j in itertools.product((-1, 0, 1), repeat=2)]) @ crystal.lattice
    found = []
    for one, two in itertools.combinations(built.defects, 2):
        label = "-".join(sorted(f"{after or 'Vac'}_{before}" for _, before, after in (one, two)))
        delta = (crystal.frac[two[0]] - crystal.frac[one[0]]) @ crystal.lattice
        found.append((label, float(np.linalg.norm(delta + shifts, axis=1).min())))
    return sorted(found)


def resemble(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> bool:
    """Whether both lists hold the same labels with the same distances."""
    labels = {label for label, _ in expected}
    same = sorted(label for label, _ in found) == sorted(label for label, _ in expected)
    return same and all(
        np.allclose(
            sorted(d for x, d in found if x == label), sorted(d for x, d in expected if x == label), atol=1e-4
        )
        for label in labels
    )


@pytest.fixture(scope="module", params=HOSTS)
def host(request, tmp_path_factory):
    """A database that knows one host, and structures on it with known defects."""
    folder = tmp_path_factory.mktemp(request.param)
    archive = build_archive(folder / "a.zip", request.param, structures=24, defects=(2, 3, 4), seed=5)
    with open_database(MEMORY) as db:
        load(db, [folder / "a.zip"])
        yield db, archive, folder


def pairs_of(db, text: str, folder, name="POSCAR_case", **options):
    """Pairs of one structure file; what was loaded is removed again."""
    from defectdb.db.write import remove_dataset

    path = folder / name
    path.write_text(text)
    [report] = load(db, [path], name="case", **options)
    rows = db.frame(
        "SELECT p.label, p.distance FROM pairs AS p JOIN structures AS s USING (structure_id) "
        "WHERE s.dataset_id = 'case' ORDER BY ALL"
    ).rows()
    remove_dataset(db, "case")
    return rows, report


@given(case=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shift_rotation_order_images_and_lattice_vectors_change_nothing(host, case):
    db, archive, folder = host
    built = archive.structures[case.draw(st.integers(0, len(archive.structures) - 1))]
    seed = case.draw(st.integers(0, 2**32 - 1))
    draw = np.random.default_rng(seed)
    elements, frac = atoms_of(archive.crystal, built)
    if case.draw(st.booleans(), label="shifted"):
        frac = frac + np.append(draw.uniform(-1, 1, 2), draw.uniform(-0.05, 0.05))
    choice = CHOICES[case.draw(st.integers(0, len(CHOICES) - 1))]
    full = np.eye(3)
    full[:2, :2] = choice
    lattice, frac = full @ archive.crystal.lattice, frac @ np.linalg.inv(full)
    if case.draw(st.booleans(), label="rotated"):
        turn, _ = np.linalg.qr(draw.normal(size=(3, 3)))
        lattice = lattice @ turn
    frac[:, :2] += draw.integers(-2, 3, size=(len(frac), 2))
    order = draw.permutation(len(frac))
    elements, frac = [elements[k] for k in order], frac[order]
    text = poscar(elements, frac, lattice, cartesian=case.draw(st.booleans()))
    found, report = pairs_of(db, text, folder)
    assert report.rejected == {}
    assert resemble(found, expected_pairs(archive.crystal, built))


@pytest.mark.parametrize("size", [0.05, 0.15])
def test_relaxed_structures_match_by_least_displacement(host, size):
    db, archive, folder = host
    draw = np.random.default_rng(3)
    for built in archive.structures[:6]:
        elements, frac = atoms_of(archive.crystal, built)
        moved = frac + draw.normal(scale=size, size=frac.shape) @ np.linalg.inv(archive.crystal.lattice)
        found, report = pairs_of(db, poscar(elements, moved, archive.crystal.lattice), folder)
        assert report.rejected == {}
        assert resemble(found, expected_pairs(archive.crystal, built))


def test_the_assignment_equals_scipy_s_on_random_displacements(host):
    from scipy.optimize import linear_sum_assignment

    from defectdb.ingest.matching.host_tables import stored_hosts
    from defectdb.ingest.matching.placement import Placer
    from defectdb.ingest.readers.cif import Atoms

    db, _, _ = host
    [own] = stored_hosts(db)
    placer, draw = Placer(own), np.random.default_rng(11)
    shifts = np.array([[i, j, 0] for i, j in itertools.product((-1, 0, 1), repeat=2)]) @ own.lattice
    for _ in range(50):
        gone = draw.choice(len(own.numbers), size=draw.integers(1, 9), replace=False)
        numbers = np.delete(own.numbers, gone)
        noise = draw.normal(scale=draw.uniform(0.02, 0.25), size=(len(numbers), 3))
        frac = np.delete(own.frac, gone, axis=0) + noise @ np.linalg.inv(own.lattice)
        placed = placer.place(Atoms(own.lattice, numbers, frac))
        gaps = (frac[:, None] - own.frac[None]) @ own.lattice
        square = np.min([((gaps + s) ** 2).sum(axis=2) for s in shifts], axis=0)
        _, site = linear_sum_assignment(np.minimum(square, 1.5**2))
        expected = np.zeros_like(own.numbers)
        expected[site] = numbers
        assert (placed.numbers == expected).all()


def test_pymatgen_s_structure_matcher_agrees_that_both_are_the_same(host):
    """What was loaded, rebuilt from its defects, is the structure that was written."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

    db, archive, folder = host
    built = archive.structures[1]
    elements, frac = atoms_of(archive.crystal, built)
    shift = np.array([0.13, 0.29, 0.01])
    (folder / "POSCAR_x").write_text(poscar(elements, frac + shift, archive.crystal.lattice))
    load(db, [folder / "POSCAR_x"], name="x")
    sites = db.frame("SELECT element, frac_x, frac_y, frac_z FROM host_sites ORDER BY site_index").rows()
    symbols, places = [row[0] for row in sites], [row[1:] for row in sites]
    rows = db.frame(
        "SELECT site_index, element_to FROM defects WHERE structure_id = 'POSCAR_x' ORDER BY site_index DESC"
    )
    for site, after in rows.iter_rows():
        if after is None:
            del symbols[site], places[site]
        else:
            symbols[site] = after
    rebuilt = Structure(archive.crystal.lattice, symbols, places)
    written = Structure(archive.crystal.lattice, elements, frac)
    assert StructureMatcher(primitive_cell=False, scale=False, attempt_supercell=False).fit(rebuilt, written)
    from defectdb.db.write import remove_dataset

    remove_dataset(db, "x")


def test_adatoms_and_interstitials_are_named_by_where_they_sit(tmp_path):
    archive = make_archive("MoS2", structures=3)
    crystal = archive.crystal
    height = np.linalg.norm(crystal.lattice[2])
    top = crystal.frac[:, 2].max()
    centre = np.array([0.5, 0.5, (crystal.frac[:, 2].max() + crystal.frac[:, 2].min()) / 2])
    with open_database(MEMORY) as db:
        load(db, [archive.write(tmp_path / "a.zip")])
        above, within = np.array([0.3, 0.4, top + 1.9 / height]), centre
        below = np.array([0.1, 0.7, crystal.frac[:, 2].min() - 1.9 / height])
        for name, place in (("above", above), ("within", within), ("below", below)):
            text = poscar([*crystal.elements, "Li"], [*crystal.frac, place], crystal.lattice)
            (tmp_path / f"{name}.vasp").write_text(text)
        [report] = load(db, [tmp_path / f"{n}.vasp" for n in ("above", "within", "below")], name="extra")
        assert report.rejected == {}
        rows = db.frame(
            "SELECT structure_id, label, kind, layer, site_index, x, y, z FROM defects "
            "WHERE label LIKE '%Li' ORDER BY structure_id"
        )
        assert rows["label"].to_list() == ["Ad_Li", "Ad_Li", "Int_Li"]
        assert rows["layer"].to_list() == ["top", "bottom", "middle"]
        assert rows["site_index"].to_list() == [None, None, None]
        assert rows.select("x", "y", "z").row(0) == pytest.approx(above @ crystal.lattice, abs=1e-6)


def test_the_largest_displacement_is_stored_and_bounded(tmp_path):
    archive = make_archive("MoS2", structures=2)
    crystal = archive.crystal
    frac = crystal.frac.copy()
    frac[7] += np.array([0.7, 0, 0]) @ np.linalg.inv(crystal.lattice)
    (tmp_path / "moved.vasp").write_text(poscar(crystal.elements, frac, crystal.lattice))
    with open_database(MEMORY) as db:
        load(db, [archive.write(tmp_path / "a.zip")])
        load(db, [tmp_path / "moved.vasp"], name="moved")
        row = db.frame(
            "SELECT n_defects, relaxed, max_displacement FROM structures WHERE dataset_id = 'moved'"
        ).row(0)
        assert row == (0, True, pytest.approx(0.7, abs=1e-6))
        [report] = load(db, [tmp_path / "moved.vasp"], name="again", max_displacement=0.5)
        assert report.rejected == {"displaced too far": 1}
