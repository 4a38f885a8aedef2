"""The published MoS2 archive: every count, defect and energy against independent means."""

from __future__ import annotations

import io
import itertools
import re
import tarfile
import warnings
import zipfile

import numpy as np
import polars as pl
import pytest
from support.builders import shared

from defectdb.db import open_database
from defectdb.ingest import load

ROOT = "low_density_defects/MoS2"


@pytest.fixture(scope="module")
def real(real_database_template):
    with open_database(real_database_template, read_only=True) as db:
        yield db


@pytest.fixture(scope="module")
def sample(real_archive):
    """Every 22nd structure's CIF text by id, unpacked by the standard library."""
    with zipfile.ZipFile(real_archive) as archive:
        packed = io.BytesIO(archive.read(f"{ROOT}/initial.tar.gz"))
    with tarfile.open(fileobj=packed) as tar:
        return {m.name[:-4]: tar.extractfile(m).read().decode() for m in tar.getmembers()[::22]}


@pytest.fixture(scope="module")
def pristine():
    """The pristine supercell, by pymatgen."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell = Structure.from_file(shared("unit_cells", "MoS2.cif"))
    cell.make_supercell([8, 8, 1])
    return cell


def test_every_published_structure_is_there(real):
    counts = real.frame("SELECT n_defects, count(*) AS n FROM structures GROUP BY ALL ORDER BY ALL")
    assert counts.rows() == [(1, 4), (2, 127), (3, 4365)]
    assert real.value("SELECT count(*) FROM rejects") == 0
    assert real.value("SELECT count(*) FROM defects") == 4 + 2 * 127 + 3 * 4365
    assert real.value("SELECT count(*) FROM pairs") == 127 + 3 * 4365


def test_defects_equal_those_that_pymatgen_finds_in_more_than_200_structures(real, sample, pristine):
    from pymatgen.core import Structure
    from pymatgen.util.coord import pbc_shortest_vectors

    stored = real.frame("SELECT structure_id, label, x, y, z FROM defects").partition_by(
        "structure_id", as_dict=True
    )
    assert len(sample) >= 200
    for structure_id, text in sample.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Structure.from_str(text, fmt="cif")
        distances = pristine.lattice.get_all_distances(pristine.frac_coords, structure.frac_coords)
        expected = []
        for site, row in zip(pristine, distances, strict=True):
            nearest = int(row.argmin())
            if row[nearest] > 0.05:
                expected.append((f"Vac_{site.specie.symbol}", site.frac_coords))
            elif structure[nearest].specie != site.specie:
                expected.append(
                    (f"{structure[nearest].specie.symbol}_{site.specie.symbol}", site.frac_coords)
                )
        own = stored[(structure_id,)]
        assert sorted(own["label"]) == sorted(label for label, _ in expected)
        frac = pristine.lattice.get_fractional_coords(own.select("x", "y", "z").to_numpy())
        for label, place in zip(own["label"], frac, strict=True):
            gaps = [
                np.linalg.norm(pbc_shortest_vectors(pristine.lattice, [place], [f])[0, 0])
                for expected_label, f in expected
                if expected_label == label
            ]
            assert min(gaps) < 1e-4


def test_pair_distances_equal_pymatgen_s_minimum_images(real, pristine):
    from pymatgen.core import Lattice

    a, b, _ = pristine.lattice.matrix
    tall = Lattice([a, b, [0, 0, 1000.0]])  # no images along c
    rows = real.frame(
        "SELECT p.*, a.x AS xi, a.y AS yi, a.z AS zi, b.x AS xj, b.y AS yj, b.z AS zj FROM pairs AS p "
        "JOIN defects AS a ON a.structure_id = p.structure_id AND a.idx = p.defect_i "
        "JOIN defects AS b ON b.structure_id = p.structure_id AND b.idx = p.defect_j "
        "ORDER BY p.pair_id LIMIT 600"
    )
    for row in rows.iter_rows(named=True):
        start, end = ([row[f"{axis}{k}"] for axis in "xyz"] for k in "ij")
        distance, _ = tall.get_distance_and_image(*tall.get_fractional_coords([start, end]))
        assert row["distance"] == pytest.approx(distance, abs=1e-6)
        assert row["dz"] == pytest.approx(abs(start[2] - end[2]), abs=1e-9)
        assert np.hypot(row["distance_inplane"], row["dz"]) == pytest.approx(row["distance"], abs=1e-9)
        assert np.hypot(row["dx_min"], row["dy_min"]) == pytest.approx(row["distance_inplane"], abs=1e-9)


def test_sulfur_vacancies_on_one_side_rank_as_the_neighbours_of_a_triangular_lattice(real):
    shells = real.frame(
        "SELECT shell, min(distance) AS low, max(distance) AS high FROM pairs "
        "WHERE label = 'Vac_S-Vac_S' AND dz < 0.1 GROUP BY shell ORDER BY shell"
    )
    a = 3.1903157
    norms = {i * i + i * j + j * j for i, j in itertools.product(range(9), repeat=2)}
    ladder = np.sqrt(sorted(norms - {0}))
    for shell, low, high in shells.iter_rows():
        assert low == pytest.approx(high, abs=1e-5)
        assert low == pytest.approx(a * ladder[shell - 1], abs=1e-5)


def test_a_vacancy_right_across_the_layer_is_the_first_shell_and_has_no_angle(real):
    rows = real.frame(
        "SELECT DISTINCT shell, angle FROM pairs WHERE label = 'Vac_S-Vac_S' AND distance_inplane < 0.1"
    )
    assert rows.rows() == [(1, None)]


def test_angles_lie_between_the_zigzag_and_the_armchair_direction(real):
    low, high = real.frame("SELECT min(angle), max(angle) FROM pairs").row(0)
    assert low >= 0
    assert high <= 30 + 1e-9


def test_the_distances_view_holds_every_image_within_the_cutoff(real):
    host = real.frame("SELECT a_x, a_y, b_x, b_y FROM hosts").row(0)
    pairs = real.frame("SELECT pair_id, dx_min, dy_min, dz FROM pairs ORDER BY pair_id LIMIT 50")
    images = np.array([[i, j] for i in range(-6, 7) for j in range(-6, 7)]) @ np.array(host).reshape(2, 2)
    for pair_id, dx, dy, dz in pairs.iter_rows():
        lengths = np.sqrt(((images + np.array([dx, dy])) ** 2).sum(axis=1) + dz**2)
        expected = np.sort(lengths[lengths <= 30])
        stored = real.frame("SELECT distance FROM distances WHERE pair_id = ? ORDER BY distance", [pair_id])
        assert stored["distance"].to_numpy() == pytest.approx(expected, abs=1e-9)


def test_the_nearest_image_of_the_view_is_the_pair_s_distance(real):
    assert (
        real.value(
            "SELECT max(abs(p.distance - d.nearest)) FROM pairs AS p JOIN "
            "(SELECT pair_id, min(distance) AS nearest FROM distances GROUP BY pair_id) AS d USING (pair_id)"
        )
        < 1e-9
    )


def test_every_formation_energy_follows_from_energies_and_chemical_potentials(real):
    """By hand: energies, compositions and potentials as stored, against the stored formation energies."""
    mu = dict(real.frame("SELECT element, mu FROM chemical_potentials").rows())
    host = real.value("SELECT energy FROM hosts")
    perfect = {"Mo": 64, "S": 128}
    rows = real.frame(
        "SELECT s.composition, w.energy, w.formation_energy, w.formation_energy_per_site, s.n_defects "
        "FROM structures AS s JOIN targets_wide AS w USING (structure_id)"
    )
    assert rows.height == 4496
    for composition, energy, stored, per_site, n in rows.iter_rows():
        counts = {e: int(k) for e, k in re.findall(r"([A-Z][a-z]?)(\d+)", composition)}
        change = sum(mu[e] * (counts.get(e, 0) - perfect.get(e, 0)) for e in {*counts, *perfect})
        assert stored == pytest.approx(energy - host - change, abs=1e-9)
        assert per_site == pytest.approx(stored / n, abs=1e-9)


def test_the_report_says_that_no_recomputed_energy_differs(real_archive, empty_database):
    [report] = load(empty_database, [real_archive], dry_run=True)
    assert (report.loaded, report.n_rejected, report.energies.compared) == (4496, 0, 4496)
    assert report.energies.different == 0
    assert report.energies.largest < 1e-9
    assert empty_database.value("SELECT count(*) FROM structures") == 0


def test_loading_again_changes_nothing_and_says_so(real_archive, real_database):
    with open_database(real_database) as db:
        before = [
            db.frame(f"SELECT * FROM {table} ORDER BY ALL") for table in ("datasets", "structures", "pairs")
        ]
        [report] = load(db, [real_archive])
        after = [
            db.frame(f"SELECT * FROM {table} ORDER BY ALL") for table in ("datasets", "structures", "pairs")
        ]
    assert (report.loaded, report.updated, report.unchanged) == (0, 0, 4496)
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))


def test_no_target_is_stored_twice(real, real_archive):
    twice = real.frame(
        "SELECT structure_id FROM targets GROUP BY structure_id, target, spin HAVING count(*) > 1"
    )
    assert twice.height == 0
    columns = pl.read_csv(io.BytesIO(_targets(real_archive)), n_rows=1).columns
    stored = real.frame(
        "SELECT DISTINCT target || CASE spin WHEN '' THEN '' ELSE '_' || spin END AS c FROM targets"
    )
    assert set(columns) - {"_id", "descriptor_id", "band_gap"} <= set(stored["c"])
    assert "band_gap" not in set(stored["c"])  # obsolete


def _targets(path):
    import gzip

    with zipfile.ZipFile(path) as archive:
        return gzip.decompress(archive.read(f"{ROOT}/targets.csv.gz"))
