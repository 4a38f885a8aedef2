"""Energies, forces and stresses of a potential, exactly as its formulas give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import Neighbours
from defectdb.learn.potential.physics.potential import Model

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Order of the components of a stress: xx yy zz yz xz xy, as ase has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What a potential says of m configurations of n atoms.

    ``energies`` [m] (eV), counted from free atoms.
    ``forces`` [n, 3] (eV/angstrom).
    ``stresses`` [m, 6] (eV/angstrom^3): xx yy zz yz xz xy, the derivative of the energy by strain over the volume,
    tension positive.
    ``densities`` [n]: rho of every atom.
    ``atom_energies`` [n] (eV).
    """

    energies: Floats
    forces: Floats
    stresses: Floats
    densities: Floats
    atom_energies: Floats


def predict(potential: Model, frames: Frames, near: Neighbours) -> Predicted:
    """Energies, forces and stresses of all configurations; ``near`` are their neighbours up to the cutoff at least."""
    n, m = len(frames.positions), len(frames)
    phi, phi1, _ = potential.pair_term(near.distance)
    rho, rho1, _ = potential.density(near.distance)
    densities = _summed(near.first, rho, n) + _summed(near.second, rho, n)
    embedded, slope, _ = potential.embedded(densities)
    halves = 0.5 * phi
    atom_energies = embedded + _summed(near.first, halves, n) + _summed(near.second, halves, n)
    energies = _summed(frames.frame_of_atom, atom_energies, m)
    pull = phi1 + (slope[near.first] + slope[near.second]) * rho1  # dE/dr of every pair
    forces = np.empty((n, 3))
    for axis in range(3):
        part = pull * near.direction[:, axis]
        forces[:, axis] = _summed(near.first, part, n) - _summed(near.second, part, n)
    lever = pull * near.distance
    stresses = (
        np.stack(
            [
                np.bincount(near.frame, lever * near.direction[:, a] * near.direction[:, b], minlength=m)
                for a, b in VOIGT
            ],
            axis=1,
        )
        / frames.volumes[:, None]
    )
    return Predicted(energies, forces, stresses, densities, atom_energies)


def _summed(atom: Integers, values: Floats, n: int) -> Floats:
    """Sums of ``values`` [P] over the pairs of every atom, [n]."""
    return np.bincount(atom, values, minlength=n).astype(np.float64, copy=False)
