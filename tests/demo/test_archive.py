"""The archive: its layout, its bytes, and how well a sum over pairs describes what it holds."""

import csv
import gzip
import io
import itertools
import tarfile
import zipfile
from ast import literal_eval

import gemmi
import numpy as np
import pytest

from defectdb.demo.archive import BASE, write_archive
from defectdb.demo.configurations import canonical_keys, every_placement, sampled_placements
from defectdb.demo.dataset import COMPOSITIONS
from defectdb.demo.tightbinding import DEFECTS, KINDS, formation_energies

CELL = 6
FOLDER = f"low_density_defects/{BASE}_model_{CELL}x{CELL}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "model.zip"
    return write_archive(path, cell=CELL, triples=10, seed=3)


def member(report, name):
    with zipfile.ZipFile(report.path) as file:
        content = file.read(f"{FOLDER}/{name}")
    return gzip.decompress(content) if name.endswith(".gz") else content


def table(report, name):
    return list(csv.DictReader(io.StringIO(member(report, name).decode())))


def cifs(report):
    with tarfile.open(fileobj=io.BytesIO(member(report, "initial.tar.gz"))) as file:
        return {entry.name: file.extractfile(entry).read().decode() for entry in file}


def test_the_archive_has_the_members_of_the_layout(archive):
    with zipfile.ZipFile(archive.path) as file:
        names = {name.removeprefix(FOLDER + "/") for name in file.namelist()}
    assert names == {
        "defects.csv.gz",
        "targets.csv.gz",
        "descriptors.csv",
        "elements.csv",
        "initial_structures.csv",
        "initial.tar.gz",
        f"unit_cells/{BASE}.cif",
        "README.md",
        "LICENSE",
        "dataset.toml",
    }


@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE", "dataset.toml", "elements.csv", f"unit_cells/{BASE}.cif"]
)
def test_the_archive_says_that_it_is_a_model_and_not_dft(archive, name):
    text = " ".join(member(archive, name).decode().split())
    assert "tight-binding model" in text
    assert "not DFT" in text or "not from DFT" in text


def test_the_same_request_gives_the_same_bytes(archive, tmp_path):
    again = write_archive(tmp_path / "again.zip", cell=CELL, triples=10, seed=3)
    other = write_archive(tmp_path / "other.zip", cell=CELL, triples=10, seed=4)
    assert again.path.read_bytes() == archive.path.read_bytes()
    assert other.path.read_bytes() != archive.path.read_bytes()


def test_every_structure_appears_once_in_every_member(archive):
    ids = [row["_id"] for row in table(archive, "defects.csv.gz")]
    assert len(set(ids)) == len(ids) == archive.n_structures
    assert [row["_id"] for row in table(archive, "targets.csv.gz")] == ids
    assert [f"{name}.cif" for name in ids] == list(cifs(archive))
    described = {row["_id"] for row in table(archive, "descriptors.csv")}
    assert {row["descriptor_id"] for row in table(archive, "defects.csv.gz")} == described


def test_formation_energies_follow_from_the_other_members(archive):
    [host] = table(archive, "initial_structures.csv")
    mu = {row["element"]: float(row["chemical_potential"]) for row in table(archive, "elements.csv")}
    defects = {row["_id"]: literal_eval(row["defects"]) for row in table(archive, "descriptors.csv")}
    for row in table(archive, "targets.csv.gz"):
        declared = defects[row["descriptor_id"]]
        removed = sum(mu[d.get("element") or d["from"]] for d in declared)
        added = sum(mu[d["to"]] for d in declared if "to" in d)
        expected = float(row["energy"]) - float(host["energy"]) + removed - added
        assert float(row["formation_energy"]) == pytest.approx(expected, abs=1e-9)
        assert float(row["formation_energy_per_site"]) == pytest.approx(expected / len(declared), abs=1e-9)
        assert float(row["homo_lumo_gap"]) == pytest.approx(
            float(row["lumo"]) - float(row["homo"]), abs=1e-12
        )


def test_the_structures_hold_the_atoms_that_the_descriptor_declares(archive):
    files = cifs(archive)
    described = {row["_id"]: literal_eval(row["defects"]) for row in table(archive, "descriptors.csv")}
    for row in table(archive, "defects.csv.gz"):
        cell = gemmi.make_small_structure_from_block(gemmi.cif.read_string(files[f"{row['_id']}.cif"])[0])
        counts = {"B": CELL**2, "N": CELL**2, "C": 0}
        for defect in described[row["descriptor_id"]]:
            counts[defect.get("element") or defect["from"]] -= 1
            if "to" in defect:
                counts[defect["to"]] += 1
        found = [site.element.name for site in cell.sites]
        assert {element: found.count(element) for element in counts} == counts
        assert float(row["energy_per_atom"]) == pytest.approx(float(row["energy"]) / len(found), abs=1e-12)


def test_neighbouring_atoms_in_the_files_are_one_bond_apart(archive):
    cell = gemmi.make_small_structure_from_block(gemmi.cif.read_string(cifs(archive)["tb6-B-0000.cif"])[0])
    first = cell.sites[0]
    distances = [
        cell.cell.find_nearest_image(first.orth(cell.cell), s.orth(cell.cell)).dist() for s in cell.sites[1:]
    ]
    assert min(distances) == pytest.approx(2.5 / np.sqrt(3), abs=1e-6)


@pytest.mark.parametrize(("labels", "classes"), [(("Vac_B", "Vac_B"), 6), (("Vac_B", "Vac_N"), 9)])
def test_placements_of_two_defects_are_complete_and_inequivalent(labels, classes):
    sites = every_placement(6, labels)
    kinds = np.tile([KINDS[label] for label in labels], (len(sites), 1))
    assert len(set(canonical_keys(6, sites, kinds).tolist())) == len(sites) == classes


def test_sampled_placements_are_inequivalent_repeatable_and_as_many_as_asked_for():
    labels = ("Vac_B", "Vac_N", "C_B")
    sites = sampled_placements(6, labels, 30, seed=1)
    kinds = np.tile([KINDS[label] for label in labels], (len(sites), 1))
    assert len(set(canonical_keys(6, sites, kinds).tolist())) == 30
    assert np.array_equal(sites, sampled_placements(6, labels, 30, seed=1))
    assert not np.array_equal(sites, sampled_placements(6, labels, 30, seed=2))


def test_a_small_cell_gives_every_triple_it_has_and_no_more():
    sites = sampled_placements(3, ("Vac_B", "Vac_B", "Vac_B"), 100, seed=0)
    assert 3 <= len(sites) < 20


def test_a_cell_too_small_for_three_defects_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 3"):
        write_archive(tmp_path / "small.zip", cell=2)


# ---------------------------------------------------------------- the physics that makes it a useful example


def pair_table(cell):
    """V for every pair of kinds and every second site, computed with the first defect in the first cell."""
    kinds = [KINDS[label] for label in ("Vac_B", "Vac_N", "C_B")]
    site = {kind: DEFECTS[kind].sublattice * cell**2 for kind in kinds}
    single = {k: formation_energies(cell, np.array([[site[k]]]), np.array([[k]]))[0] for k in kinds}
    table = {}
    for a, b in itertools.product(kinds, kinds):
        others = np.arange(cell**2) + site[b]
        others = others[others != site[a]]
        sites = np.stack([np.full_like(others, site[a]), others], axis=1)
        pairs = formation_energies(cell, sites, np.tile([a, b], (len(others), 1)))
        values = np.full(cell**2, np.nan)
        values[others - site[b]] = pairs - single[a] - single[b]
        table[a, b] = values.reshape(cell, cell)
    return single, table


def additive(cell, sites, kinds, single, table):
    """Sum of one-defect energies and of looked-up pair energies, shape (S,)."""
    total = np.array([[single[k] for k in row] for row in kinds]).sum(axis=1)
    i, j = np.divmod(sites % cell**2, cell)
    for p, q in itertools.combinations(range(sites.shape[1]), 2):
        values = [table[a, b] for a, b in zip(kinds[:, p], kinds[:, q], strict=True)]
        di, dj = (i[:, q] - i[:, p]) % cell, (j[:, q] - j[:, p]) % cell
        total += [v[x, y] for v, x, y in zip(values, di, dj, strict=True)]
    return total


def test_energies_of_three_defects_are_sums_over_pairs_to_a_few_mev():
    cell = 8
    single, table = pair_table(cell)
    errors, shares = [], []
    for labels in (labels for labels in COMPOSITIONS.values() if len(labels) == 3):
        sites = sampled_placements(cell, labels, 40, seed=0)
        kinds = np.tile([KINDS[label] for label in labels], (len(sites), 1))
        computed = formation_energies(cell, sites, kinds)
        errors.append(np.abs(additive(cell, sites, kinds, single, table) - computed))
        shares.append(np.abs(computed - [sum(single[k] for k in row) for row in kinds]))
    errors, shares = np.concatenate(errors), np.concatenate(shares)
    assert errors.mean() < 0.005  # eV; 1.3 meV was measured
    assert np.median(errors) < 0.0005
    assert shares.mean() > 0.05  # the pairs matter: without them the error would be this large


def test_pair_energies_decay_with_distance_and_do_not_depend_on_the_supercell():
    def energies(cell, i, j, labels):
        sites = np.array([[0, i % cell * cell + j % cell + cell**2 * DEFECTS[KINDS[labels[1]]].sublattice]])
        kinds = np.array([[KINDS[label] for label in labels]])
        alone = sum(formation_energies(cell, sites[:, [d]], kinds[:, [d]])[0] for d in (0, 1))
        return formation_energies(cell, sites, kinds)[0] - alone

    for labels in (("Vac_B", "Vac_N"), ("Vac_B", "Vac_B"), ("Vac_B", "C_B")):
        near, far = energies(9, 1, 1, labels), energies(9, 4, 4, labels)
        assert abs(near) > 0.005
        assert abs(far) < 0.001
        assert energies(7, 1, 1, labels) == pytest.approx(near, abs=5e-4)
