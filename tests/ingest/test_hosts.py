"""Every host of the public archive, at low and high density, with known defects and formation energies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.builders import HOSTS, build_archive, make_archive

from defectdb.db import MEMORY, open_database
from defectdb.ingest import load
from defectdb.ingest.matching.unit_cells import layers, lifted
from defectdb.schema.lattice import nearest_image, reduced


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.mark.parametrize("material", HOSTS)
@pytest.mark.parametrize(
    ("packing", "density", "defects"), [("a.zip", "low", (1, 2, 3)), ("folder", "high", (3, 5, 12, 20))]
)
def test_defects_and_energies_of_every_host_come_back(db, tmp_path, material, packing, density, defects):
    archive = build_archive(
        tmp_path / packing, material, density=density, defects=defects, seed=len(material)
    )
    [report] = load(db, [tmp_path / packing])
    assert (report.loaded, report.n_rejected) == (len(archive.structures), 0)
    assert report.energies.different == 0
    frame = db.frame(
        "SELECT structure_id, label, frac_x, frac_y, frac_z FROM defects ORDER BY structure_id, idx"
    )
    values = dict(db.frame("SELECT structure_id, formation_energy FROM targets_wide").rows())
    assert set(db.frame("SELECT DISTINCT density FROM structures")["density"]) == {density}
    for built in archive.structures:
        own = frame.filter(structure_id=built.structure_id)
        assert own["label"].to_list() == built.labels
        assert values[built.structure_id] == pytest.approx(built.formation_energy, abs=1e-9)
        stored = own.select("frac_x", "frac_y", "frac_z").to_numpy()
        for site, before, after in built.defects:
            delta = (
                stored[np.array(own["label"].to_list()) == f"{after or 'Vac'}_{before}"]
                - archive.crystal.frac[site]
            )
            assert np.abs(delta - np.round(delta)).max(axis=1).min() < 1e-6


@pytest.mark.parametrize("material", [m for m, (_, _, _, spin) in HOSTS.items() if spin])
def test_spin_sets_keep_both_channels_and_get_levels_over_both(db, tmp_path, material):
    build_archive(tmp_path / "a.zip", material, density="high", structures=4)
    load(db, [tmp_path / "a.zip"])
    rows = db.frame(
        "SELECT max(value) FILTER (target = 'homo' AND spin = '') AS homo, "
        "max(value) FILTER (target = 'homo' AND spin <> '') AS highest, "
        "max(value) FILTER (target = 'lumo' AND spin = '') AS lumo, "
        "min(value) FILTER (target = 'lumo' AND spin <> '') AS lowest, "
        "max(value) FILTER (target = 'homo_lumo_gap' AND spin = '') AS gap, "
        "min(value) FILTER (target = 'homo_lumo_gap' AND spin <> '') AS smaller, "
        "count(*) FILTER (target = 'homo') AS n FROM targets GROUP BY structure_id"
    )
    for homo, highest, lumo, lowest, gap, smaller, n in rows.iter_rows():
        assert (homo, lumo, gap, n) == (highest, lowest, smaller, 3)


@pytest.mark.parametrize("e1", [True, False])
def test_normalised_levels_are_there_only_with_e1(db, tmp_path, e1):
    build_archive(tmp_path / "a.zip", "MoS2", structures=3, e1=e1)
    load(db, [tmp_path / "a.zip"])
    rows = db.frame(
        "SELECT max(value) FILTER (target = 'normalized_homo') AS level, "
        "max(value) FILTER (target = 'homo') AS homo, max(value) FILTER (target = 'E_1') AS e1 "
        "FROM targets GROUP BY structure_id"
    )
    for level, homo, own_e1 in rows.iter_rows():
        assert level == (pytest.approx(homo - own_e1 - 61.587 + 0.709, abs=1e-9) if e1 else None)


def test_layers_sublattices_and_directions_of_the_hosts(db, tmp_path):
    for material in HOSTS:
        build_archive(tmp_path / f"{material}.zip", material, structures=1)
        load(db, [tmp_path / f"{material}.zip"])
    found = db.frame(
        "SELECT material_id, list(element || ' ' || layer ORDER BY sublattice) AS sites "
        "FROM material_sites GROUP BY ALL"
    )
    sites = dict(found.rows())
    assert sites["MoS2"] == ["Mo middle", "S bottom", "S top"]
    assert sites["BN"] == ["B middle", "N middle"]
    assert sites["GaSe"] == ["Ga middle", "Ga middle", "Se top", "Se bottom"]
    assert sorted(sites["P"]) == ["P bottom", "P bottom", "P top", "P top"]
    periods = dict(db.frame("SELECT material_id, angle_period FROM materials").rows())
    assert periods == {"MoS2": 60, "WSe2": 60, "BN": 60, "GaSe": 60, "InSe": 60, "P": 180}


def test_angles_of_black_phosphorus_lie_between_0_and_90_degrees(db, tmp_path):
    build_archive(tmp_path / "a.zip", "P", structures=20, defects=(6,))
    load(db, [tmp_path / "a.zip"])
    low, high = db.frame("SELECT min(angle), max(angle) FROM pairs").row(0)
    assert 0 <= low < 10
    assert 80 < high <= 90
    shells = db.frame("SELECT min(shell), max(shell), count(*) FILTER (shell IS NULL) FROM pairs").row(0)
    assert shells[0] >= 1
    assert shells[2] == 0


def test_shells_rank_the_distances_of_the_infinite_crystal(db, tmp_path):
    """For every pair of sublattices, by brute force over a large patch of black phosphorus."""
    archive = build_archive(tmp_path / "a.zip", "P", structures=12, defects=(5,))
    load(db, [tmp_path / "a.zip"])
    cell = archive.crystal.lattice / np.array([[6], [6], [1]])
    sites = (
        db.frame("SELECT frac_x, frac_y, frac_z FROM material_sites ORDER BY sublattice").to_numpy() @ cell
    )
    patch = np.array([[i, j, 0] for i, j in itertools.product(range(-14, 15), repeat=2)]) @ cell
    rows = db.frame(
        "SELECT a.sublattice, b.sublattice AS other, p.distance, p.shell FROM pairs AS p "
        "JOIN defects AS a ON a.structure_id = p.structure_id AND a.idx = p.defect_i "
        "JOIN defects AS b ON b.structure_id = p.structure_id AND b.idx = p.defect_j"
    )
    for left, right, distance, shell in rows.iter_rows():
        lengths = np.sort(np.linalg.norm(patch + sites[right] - sites[left], axis=1))
        lengths = lengths[lengths > 1e-3]
        distinct = lengths[np.concatenate([[True], np.diff(lengths) > 1e-3])]
        assert distinct[shell - 1] == pytest.approx(distance, abs=1e-3)


def test_two_datasets_of_one_host_share_it_and_one_with_other_energies_gets_its_own(db, tmp_path):
    load(db, [make_archive(structures=3, seed=1).write(tmp_path / "a.zip")], name="a")
    load(db, [make_archive(structures=3, seed=2, prefix="b").write(tmp_path / "b.zip")], name="b")
    assert db.frame("SELECT host_id FROM hosts")["host_id"].to_list() == ["MoS2-8x8x1"]
    other = make_archive(structures=3, seed=3, prefix="c")
    table = other.members["initial_structures.csv"].replace(b"-1398.1131", b"-1399.1131")
    other.members["initial_structures.csv"] = table
    [report] = load(db, [other.write(tmp_path / "c.zip")], name="c")
    assert report.energies.different == 3
    assert report.energies.largest == pytest.approx(1, abs=1e-9)
    assert sorted(db.frame("SELECT host_id FROM hosts")["host_id"]) == ["MoS2-8x8x1", "MoS2-8x8x1@c"]
    assert db.value("SELECT count(DISTINCT material_id) FROM hosts") == 1


def test_a_corrected_archive_updates_only_what_changed(db, tmp_path):
    import gzip

    archive = make_archive(structures=8, seed=4)
    path = archive.write(tmp_path / "a.zip")
    load(db, [path])
    before = db.frame("SELECT structure_id, content_hash FROM structures")
    lines = gzip.decompress(archive.members["targets.csv.gz"]).split(b"\n")
    cells = lines[2].split(b",")
    cells[5] = b"-0.123"
    del lines[4]
    archive.members["targets.csv.gz"] = gzip.compress(b"\n".join([*lines[:2], b",".join(cells), *lines[3:]]))
    archive.members.pop("defects.csv.gz")
    archive.members["defects.csv.gz"] = gzip.compress(b"_id,descriptor_id\n")
    [report] = load(db, [archive.write(path)])
    assert (report.loaded, report.updated, report.unchanged, report.removed) == (0, 1, 6, 1)
    assert report.rejected == {"no row": 1}
    after = db.frame("SELECT structure_id, content_hash FROM structures")
    assert before.join(after, on=["structure_id", "content_hash"]).height == 6
    assert db.value("SELECT count(*) FROM targets WHERE value = -0.123") == 1
    assert (
        db.value("SELECT count(*) FROM pairs WHERE structure_id NOT IN (SELECT structure_id FROM structures)")
        == 0
    )


def test_the_reduction_of_a_lattice_ends_where_rounding_ties_two_vectors():
    a, b = -3.8475161709641004, -1.416653394765472
    for basis in (np.array([[a, b], [b, a]]), np.array([[2.0, 0.0], [1.0, 1.7320508075688772]])):
        for turn in np.linspace(0, 7, 2000):
            turned = basis @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            short = reduced(turned)
            assert np.linalg.norm(short, axis=1).max() <= np.linalg.norm(turned, axis=1).max() + 1e-9


@given(
    st.lists(st.floats(-5, 5), min_size=4, max_size=4).filter(lambda v: abs(v[0] * v[3] - v[1] * v[2]) > 1),
    st.lists(st.tuples(st.floats(-40, 40), st.floats(-40, 40)), min_size=1, max_size=5),
)
@example([-3.8475161709641004, -1.416653394765472, -1.416653394765472, -3.8475161709641004], [(0.0, 0.0)])
@settings(max_examples=60, deadline=None)
def test_the_nearest_image_is_the_shortest_of_all_however_skewed_the_lattice(vectors, deltas):
    basis, points = np.array(vectors).reshape(2, 2), np.array(deltas)
    short = reduced(basis)
    assert abs(np.linalg.det(short)) == pytest.approx(abs(np.linalg.det(basis)))
    found = nearest_image(basis, points)
    steps = np.array(list(itertools.product(range(-4, 5), repeat=2))) @ short
    for start, image in zip(points, found, strict=True):
        integers = (image - start) @ np.linalg.inv(basis)
        assert np.abs(integers - np.round(integers)).max() < 1e-5
        assert np.hypot(*image) <= np.hypot(*(image + steps).T).min() + 1e-5


def test_a_layer_that_crosses_the_cell_s_border_is_lifted_clear_of_it():
    heights = np.array([0.95, 0.02, 0.1])
    assert np.ptp(lifted(heights)) == pytest.approx(0.15)
    assert lifted(np.array([0.2, 0.4])).tolist() == [0.2, 0.4]
    assert layers(lifted(heights) * 20) == ("bottom", "middle", "top")
    assert layers(np.array([3.0, 3.01])) == ("middle", "middle")
