"""Neighbours, energies, forces and stresses of potentials against ase and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list
from support.shaken_cells import frames_of_arrays, shaken, with_numbers

from defectdb.errors import InputDataError
from defectdb.expressions.derivatives import derivatives
from defectdb.expressions.expression import from_prefix
from defectdb.learn.potential.fitting.baselines import baselines, formula
from defectdb.learn.potential.fitting.fit import PotentialLoss, fit
from defectdb.learn.potential.fitting.tables import tables
from defectdb.learn.potential.fitting.weights import Scales, weights
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.guards import faults
from defectdb.learn.potential.physics.neighbours import neighbours
from defectdb.learn.potential.physics.potential import Potential, Window

WINDOW = Window(5.5, 1.5)
GUPTA = next(form.potential for form in baselines(WINDOW) if form.name == "Gupta")


def test_neighbours_are_those_of_ase_in_cells_smaller_than_the_cutoff() -> None:
    frames = shaken(size=(1, 1, 1))
    near = neighbours(frames, 6.0)
    for k in range(len(frames)):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(frames.cells[k])
        atoms.positions = frames.positions[frames.offsets[k] : frames.offsets[k + 1]]
        atoms.pbc = True
        theirs = np.sort(neighbor_list("d", atoms, 6.0))[::2]
        assert np.allclose(np.sort(near.distance[near.frame == k]), theirs, atol=1e-10)


def test_forces_and_stresses_are_derivatives_of_the_energy() -> None:
    frames = shaken(count=1)
    found = predict(GUPTA, frames, neighbours(frames, 5.5))
    step = 1e-4

    def energy(cells: np.ndarray, places: np.ndarray) -> float:
        moved = frames_of_arrays(cells, [places])
        return float(predict(GUPTA, moved, neighbours(moved, 5.5)).energies[0])

    for atom, axis in ((0, 0), (5, 1), (11, 2)):
        ends = []
        for sign in (1, -1):
            places = frames.positions.copy()
            places[atom, axis] += sign * step
            ends.append(energy(frames.cells, places))
        assert found.forces[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), abs=1e-6)
    for number, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            ends.append(energy(frames.cells @ strain, frames.positions @ strain))
        slope = (ends[0] - ends[1]) / (2 * step) / frames.volumes[0]
        assert found.stresses[0, number] == pytest.approx(slope, abs=1e-6)


def test_an_atom_alone_has_no_energy_and_no_force() -> None:
    frames = frames_of_arrays(20.0 * np.eye(3)[None], [np.zeros((1, 3))])
    found = predict(GUPTA, frames, neighbours(frames, 5.5))
    assert found.energies.tolist() == [0.0]
    assert found.forces.tolist() == [[0.0, 0.0, 0.0]]


def test_two_atoms_in_one_place_are_refused() -> None:
    frames = frames_of_arrays(10.0 * np.eye(3)[None], [np.array([[0.0, 0, 0], [0.0, 0, 10.0]])])
    with pytest.raises(InputDataError, match=r"f-0: atoms 1 and 2 are 0\.000 angstrom apart"):
        neighbours(frames, 5.0)


@pytest.mark.parametrize(
    "prefix", ["exp neg mul c0 square r", "damped mul c0 r mul c1 r", "div log add 1 square r sqrt r",
               "pow r neg c1", "tanh mul c0 sub r c1", "inv add 1 square mul c0 r", "pow c0 r", "cube sin r"],
)  # fmt: skip
def test_derivatives_of_expressions_are_those_of_finite_differences(prefix: str) -> None:
    tree, x, step = from_prefix(prefix.split()), np.linspace(1.0, 3.0, 7), 1e-4
    value, first, second = derivatives(tree, "r", x, (0.7, 2.3))
    above, below = (derivatives(tree, "r", x + s, (0.7, 2.3)) for s in (step, -step))
    assert np.allclose(first, (above[0] - below[0]) / (2 * step), rtol=1e-6, atol=1e-8)
    assert np.allclose(second, (above[1] - below[1]) / (2 * step), rtol=1e-6, atol=1e-8)
    assert np.isfinite(value).all()


def test_a_fit_finds_the_constants_that_made_the_data() -> None:
    frames = with_numbers(shaken(count=3), GUPTA)
    loss = PotentialLoss(tables(frames, neighbours(frames, 5.5), weights(frames, Scales())))
    start = GUPTA.with_constants(GUPTA.constants * np.array([1.1, 1.02, 0.97, 1.05]))
    found = fit(start, loss, iterations=60, tolerance=1e-12).potential
    assert np.allclose(found.constants, GUPTA.constants, rtol=2e-3)
    near = neighbours(frames, 5.5)
    assert np.abs(predict(found, frames, near).forces - frames.forces).max() < 1e-3


def test_guards_find_a_core_that_attracts_and_a_density_without_value() -> None:
    assert faults(GUPTA, 1.0) == []
    attracting = Potential(formula("neg mul c0 exp neg r", 5.0), GUPTA.rho, GUPTA.embedding, WINDOW)
    assert any("do not repel" in fault for fault in faults(attracting, 1.0))
    pole = Potential(formula("inv sub r c0", 3.0), GUPTA.rho, GUPTA.embedding, WINDOW)
    assert faults(pole, 1.0)
