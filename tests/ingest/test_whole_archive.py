"""All eight published sets in one database: crystals, levels of theory, gaps, and structures declared wrongly."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile

import pytest
from support.builders import part_of

from defectdb.db import open_database
from defectdb.errors import InputDataError, UnknownNameError
from defectdb.ingest import Options, load

SETS = {"BP_spin_500": 369, "GaSe_spin_500": 380, "InSe_spin_500": 372, "MoS2_500": 366, "WSe2_500": 394,
        "hBN_spin_500": 354}  # fmt: skip


@pytest.fixture(scope="module")
def high_archive(whole_archive, tmp_path_factory):
    """The six sets of high density."""
    return part_of(whole_archive, tmp_path_factory.mktemp("high") / "high.zip", "high_density_defects/")


@pytest.fixture(scope="module")
def both(high_archive, real_archive, tmp_path_factory):
    """A database of the sets of high density and of MoS2 at low density, and its reports."""
    with open_database(tmp_path_factory.mktemp("both") / "d.duckdb", create=True) as db:
        reports = load(db, [high_archive, real_archive])
        yield db, {report.dataset_id: report for report in reports}


def published(archive, name):
    """The rows of targets.csv by structure, read by the standard library."""
    with zipfile.ZipFile(archive) as members:
        text = gzip.decompress(members.read(f"high_density_defects/{name}/targets.csv.gz")).decode()
    return {row["_id"]: row for row in csv.DictReader(io.StringIO(text))}


def test_every_structure_of_every_set_loads(both):
    db, reports = both
    assert {r.dataset_id.removeprefix("2dmd-high-"): r.loaded for r in reports.values()} == {
        **SETS, "2dmd-low-MoS2": 4496,
    }  # fmt: skip
    assert db.value("SELECT count(*) FROM rejects") == 0
    assert all(report.energies.different == 0 for report in reports.values())
    assert max(report.energies.largest for report in reports.values()) < 1e-9


def test_two_vacua_are_two_hosts_of_one_material(both):
    db, _ = both
    rows = db.frame(
        "SELECT material_id, c_z FROM hosts JOIN (SELECT DISTINCT host_id, dataset_id FROM structures) "
        "USING (host_id) WHERE contains(dataset_id, 'MoS2') ORDER BY c_z"
    )
    assert rows["material_id"].to_list() == ["MoS2", "MoS2"]
    assert rows["c_z"].to_list() == pytest.approx([14.879004, 20.0])
    assert db.value("SELECT count(*) FROM materials") == 6
    assert db.value("SELECT count(DISTINCT level) FROM datasets") == 1


def test_a_defect_has_the_same_name_side_and_neighbours_in_either_vacuum(both):
    db, _ = both
    shells = db.frame(
        "SELECT label, shell, round(distance, 3) AS r, count(DISTINCT host_id) AS hosts FROM pairs "
        "JOIN structures USING (structure_key) JOIN hosts USING (host_id) "
        "WHERE material_id = 'MoS2' AND label = 'Vac_Mo-Vac_S' AND shell < 6 GROUP BY ALL"
    )
    assert shells["shell"].n_unique() == shells.height == 5  # one distance per shell, whatever the cell
    assert shells["hosts"].to_list() == [2] * 5


def test_structures_that_are_declared_wrongly_are_loaded_as_found_and_noted(both):
    db, reports = both
    assert len(reports["2dmd-high-hBN_spin_500"].notes) == 82
    rows = db.frame("SELECT note FROM notes WHERE dataset_id = '2dmd-high-hBN_spin_500'")
    assert rows.height == db.value("SELECT count(*) FROM notes") == 82
    assert all(note.startswith("other defects than declared: found ") for note in rows["note"])


def test_strict_refuses_them(high_archive, empty_database):
    with pytest.raises(InputDataError, match="other defects than declared"):
        load(empty_database, [high_archive], strict=True)


def test_the_gap_of_a_spin_polarised_set_is_the_smaller_of_both_channels(both, high_archive):
    db, _ = both
    stored = dict(
        db.frame(
            "SELECT structure_id, homo_lumo_gap FROM targets_wide SEMI JOIN structures USING (structure_id)"
        ).rows()
    )
    for name in ("hBN_spin_500", "GaSe_spin_500"):
        for structure, row in published(high_archive, name).items():
            assert stored[structure] == pytest.approx(float(row["homo_lumo_gap_min"]), abs=1e-12)
    spins = db.frame("SELECT DISTINCT spin FROM targets WHERE target = 'homo' ORDER BY ALL")["spin"]
    assert spins.to_list() == ["", "majority", "max", "min", "minority"]


def test_one_set_is_chosen_by_name_and_a_name_that_none_has_is_an_error(high_archive, empty_database):
    [report] = load(empty_database, [high_archive], options=Options(only=("2dmd-high-BP_spin_500",)))
    assert report.loaded == 369
    with pytest.raises(UnknownNameError, match="2dmd-high-BP_spin_500"):
        load(empty_database, [high_archive], options=Options(only=("BP",)))
