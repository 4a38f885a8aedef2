"""The model against hand calculation, the analytic bands, and a dense calculation written independently."""

import numpy as np
import pytest

from defectdb.demo.configurations import canonical_keys, symmetry_permutations, thirds
from defectdb.demo.tightbinding import (
    CHEMICAL_POTENTIALS,
    DEFECTS,
    HOPPING,
    KINDS,
    ONSITE,
    formation_energies,
    hamiltonians,
    hopping_matrix,
    pristine,
    solve,
)

DELTA = 3.625


def structure(*defects):
    """Sites and kinds, each of shape (1, d), from (site, label) pairs."""
    return (
        np.array([[site for site, _ in defects]]),
        np.array([[KINDS[label] for _, label in defects]]),
    )


def bands(k):
    """Analytic valence band of h-BN at fractional k (m, 2): -sqrt(D^2 + t^2 |f(k)|^2)."""
    f = 1 + np.exp(-2j * np.pi * k[:, 0]) + np.exp(2j * np.pi * k[:, 1])
    return -np.sqrt(DELTA**2 + HOPPING**2 * np.abs(f) ** 2)


def independent_levels(cell, defects):
    """Levels and electrons from atoms in space: bonds found by distance, vacancies cut out of the matrix."""
    lattice = 2.5 * np.array([[1.0, 0.0], [-0.5, np.sqrt(3) / 2]])
    atoms = [((i + 1 / 3, j + 2 / 3), "B") for i in range(cell) for j in range(cell)]
    atoms += [((i + 2 / 3, j + 1 / 3), "N") for i in range(cell) for j in range(cell)]
    elements = [element for _, element in atoms]
    for site, label in defects:
        elements[site] = None if label.startswith("Vac") else label.split("_")[0]
    kept = [index for index, element in enumerate(elements) if element]
    matrix = np.zeros((len(kept), len(kept)))
    for row, a in enumerate(kept):
        matrix[row, row] = {"B": DELTA, "N": -DELTA, "C": ONSITE["C"]}[elements[a]]
        for column, b in enumerate(kept):
            for shift in np.ndindex(3, 3):
                offset = (np.array(atoms[b][0]) - atoms[a][0] + cell * (np.array(shift) - 1)) @ lattice
                if 0.1 < np.linalg.norm(offset) < 1.6:
                    matrix[row, column] -= HOPPING
    assert np.array_equal(matrix, matrix.T)
    electrons = sum({"B": 0, "C": 1, "N": 2}[elements[index]] for index in kept)
    return np.linalg.eigh(matrix)[0], electrons


def independent_energy(cell, defects):
    levels, electrons = independent_levels(cell, defects)
    return 2 * levels[: electrons // 2].sum() + (levels[electrons // 2] if electrons % 2 else 0.0)


def test_two_orbitals_follow_the_hand_calculation():
    # one unit cell at Gamma: three bonds join the same two orbitals
    levels = pristine(1)
    split = np.sqrt(DELTA**2 + (3 * HOPPING) ** 2)
    assert levels.homo[0] == pytest.approx(-split, abs=1e-12)
    assert levels.lumo[0] == pytest.approx(split, abs=1e-12)
    assert levels.energy[0] == pytest.approx(-2 * split, abs=1e-12)


def test_a_vacancy_in_one_unit_cell_leaves_the_other_orbital_alone():
    vacancy = solve(1, *structure((0, "Vac_B")))
    assert vacancy.energy[0] == pytest.approx(2 * -DELTA, abs=1e-12)  # nitrogen's two electrons
    assert vacancy.homo[0] == pytest.approx(-DELTA, abs=1e-12)


def test_carbon_on_boron_in_one_unit_cell_follows_the_hand_calculation():
    levels = solve(1, *structure((0, "C_B")))
    mean, half = (ONSITE["C"] - DELTA) / 2, (ONSITE["C"] + DELTA) / 2
    split = np.hypot(half, 3 * HOPPING)
    assert levels.electrons[0] == 3
    assert levels.energy[0] == pytest.approx(2 * (mean - split) + mean + split, abs=1e-12)
    assert levels.homo[0] == pytest.approx(mean + split, abs=1e-12)
    assert levels.lumo[0] == np.inf  # no third orbital


def test_carbon_lies_between_boron_and_nitrogen():
    assert ONSITE["N"] < ONSITE["C"] < ONSITE["B"]
    assert ONSITE["C"] == pytest.approx(0.1276, abs=1e-4)
    assert {"B": 0.0, "C": ONSITE["C"], "N": 2 * ONSITE["N"]} == CHEMICAL_POTENTIALS


@pytest.mark.parametrize("cell", [1, 2, 3, 5, 8])
def test_the_supercell_at_gamma_is_the_unit_cell_on_a_mesh_of_k_points(cell):
    mesh = np.stack([k.ravel() for k in np.indices((cell, cell))], axis=1) / cell
    valence = bands(mesh)
    levels = pristine(cell)
    assert levels.energy[0] == pytest.approx(2 * valence.sum(), rel=1e-12)
    assert levels.homo[0] == pytest.approx(valence.max(), abs=1e-12)
    assert levels.lowest[0] == pytest.approx(-np.hypot(DELTA, 3 * HOPPING), abs=1e-12)


@pytest.mark.parametrize("cell", [3, 6])
def test_the_gap_is_the_on_site_difference_where_k_folds_to_gamma(cell):
    levels = pristine(cell)
    assert levels.lumo[0] - levels.homo[0] == pytest.approx(2 * DELTA, abs=1e-12)


@pytest.mark.parametrize("cell", [4, 5, 8])
def test_the_gap_is_wider_where_k_does_not_fold_to_gamma(cell):
    levels = pristine(cell)
    assert levels.lumo[0] - levels.homo[0] > 2 * DELTA + 1e-3


@pytest.mark.parametrize(
    "defects",
    [
        [(0, "Vac_B")],
        [(20, "Vac_N")],
        [(3, "C_B"), (5, "C_B")],
        [(0, "Vac_B"), (16, "Vac_N"), (7, "C_B")],
        [(31, "C_N"), (18, "Vac_N"), (2, "Vac_B")],
    ],
)
def test_energies_and_levels_equal_those_of_an_independent_dense_calculation(defects):
    levels = solve(4, *structure(*defects))
    expected, electrons = independent_levels(4, defects)
    assert levels.electrons[0] == electrons
    assert levels.energy[0] == pytest.approx(independent_energy(4, defects), abs=1e-10)
    assert levels.homo[0] == pytest.approx(expected[(electrons + 1) // 2 - 1], abs=1e-11)
    assert levels.lumo[0] == pytest.approx(expected[(electrons + 1) // 2], abs=1e-11)


def test_formation_energies_refer_to_the_crystal_and_the_free_atoms():
    defects = [(0, "Vac_B"), (16, "Vac_N"), (7, "C_B")]
    removed = 0.0 + 2 * -DELTA + 0.0  # boron, nitrogen, boron
    expected = independent_energy(4, defects) - independent_energy(4, []) + removed - ONSITE["C"]
    assert formation_energies(4, *structure(*defects))[0] == pytest.approx(expected, abs=1e-10)


def test_vacancies_of_both_kinds_cost_the_same_because_the_bands_are_symmetric():
    boron = formation_energies(5, *structure((0, "Vac_B")))
    nitrogen = formation_energies(5, *structure((25, "Vac_N")))
    assert boron[0] == pytest.approx(nitrogen[0], abs=1e-11)
    assert 1 < boron[0] < 6


def test_hamiltonians_are_symmetric_and_every_atom_has_three_bonds():
    matrix = hopping_matrix(5)
    assert np.array_equal(matrix, matrix.T)
    assert np.all(np.count_nonzero(matrix, axis=1) == 3)
    stack = hamiltonians(5, *structure((3, "Vac_B"), (30, "C_N")))
    assert np.array_equal(stack, stack.transpose(0, 2, 1))
    assert np.count_nonzero(stack[0, 3]) == 1  # the removed orbital keeps no bond
    assert np.count_nonzero(stack[0, 30]) == 4


def test_an_energy_does_not_depend_on_where_the_origin_lies():
    rng = np.random.default_rng(1)
    sites = np.stack([rng.integers(25, size=40), 25 + rng.integers(25, size=40)], axis=1)
    kinds = np.tile([KINDS["Vac_B"], KINDS["C_N"]], (40, 1))
    shift = symmetry_permutations(5)[7]
    assert formation_energies(5, shift[sites], kinds) == pytest.approx(
        formation_energies(5, sites, kinds), abs=1e-10
    )


def test_equivalent_pairs_have_equal_energy_and_others_differ():
    second = np.arange(1, 36)
    sites = np.stack([np.zeros_like(second), second], axis=1)
    kinds = np.full((35, 2), KINDS["Vac_B"])
    keys, energies = canonical_keys(6, sites, kinds), formation_energies(6, sites, kinds)
    groups = [energies[keys == key] for key in np.unique(keys)]
    assert len(groups) == 6
    assert all(np.ptp(group) < 1e-10 for group in groups)


def test_symmetry_operations_keep_every_bond():
    matrix = hopping_matrix(4)
    for permutation in symmetry_permutations(4):
        assert np.array_equal(matrix[np.ix_(permutation, permutation)], matrix)
    assert len(np.unique(symmetry_permutations(4), axis=0)) == 6 * 16


def test_sites_of_the_model_stand_on_the_honeycomb():
    first, last = thirds(3)[0], thirds(3)[-1]
    assert first.tolist() == [1, 2]
    assert last.tolist() == [8, 7]


def test_batches_do_not_change_the_results():
    sites = np.arange(600)[:, None] % 16
    kinds = np.zeros_like(sites)
    energies = solve(4, sites, kinds).energy
    assert energies.shape == (600,)
    assert np.ptp(energies) < 1e-10


def test_a_defect_on_the_wrong_sublattice_is_refused():
    with pytest.raises(ValueError, match="other sublattice"):
        solve(4, *structure((0, "Vac_N")))


def test_two_defects_on_one_site_are_refused():
    with pytest.raises(ValueError, match="share a site"):
        solve(4, *structure((3, "Vac_B"), (3, "C_B")))


def test_a_cell_without_atoms_is_refused():
    with pytest.raises(ValueError, match="at least one unit cell"):
        hopping_matrix(0)


def test_every_kind_has_a_label_of_the_vocabulary():
    from defectdb.schema.labels import parse_defect

    for defect in DEFECTS:
        parsed = parse_defect(defect.label, ("B", "N", "C"))
        assert (parsed.element_from, parsed.element_to) == (defect.removed, defect.added)
