"""Errors of a potential on many configurations and their derivatives, from its functions on a grid of distances.

Energies are linear in phi, densities in rho: both are matrices times the function's values on a grid. A trial costs a
few hundred evaluations of the formulas instead of one for every pair, and its derivatives by the constants cost
little more. Between grid points functions are cubic polynomials through four points; what is stored and reported is
computed anew without the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from defectdb.expressions.arrays import Floats, Integers
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import Neighbours

STEP = (
    0.02  # angstrom: forces of formulas on this grid differ from the exact ones by less than 1e-4 eV/angstrom
)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """How much errors count: a residual is the error divided by its scale.

    ``energy`` [m] (eV per atom), ``force`` [n] (eV/angstrom): scales; infinite for what does not count.
    """

    energy: Floats
    force: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The matrices of m configurations of n atoms on a grid of K distances, scaled to residuals.

    ``grid`` [K] (angstrom).
    ``energy_of_phi`` [m, K], ``force_of_phi`` [3 n, K]: residuals by values and by slopes of phi.
    ``density`` [n, K]: densities by values of rho.
    ``slope_of_rho`` [P, K] sparse: slopes of rho at all pairs.
    ``pull`` [3 n, P] sparse: scaled forces by the derivative of the energy by every pair's distance.
    ``first``, ``second`` [P]: atoms of every pair.
    ``frame_sum`` [m, n] sparse: scaled energies by the energies of atoms.
    ``target`` [m + 3 n]: scaled energies per atom (eV) and forces to reproduce.
    ``shift`` [m, s]: scaled columns of the sources' energies of a free atom, which are fitted.
    """

    grid: Floats
    energy_of_phi: Floats
    force_of_phi: Floats
    density: Floats
    slope_of_rho: sparse.csr_array
    pull: sparse.csr_array
    first: Integers
    second: Integers
    frame_sum: sparse.csr_array
    target: Floats
    shift: Floats

    @property
    def n_rows(self) -> int:
        """Residuals: m energies, 3 n forces."""
        return len(self.target)

    def densities(self, rho: Floats) -> Floats:
        """Densities [n, ...] by values of rho on the grid [K, ...]."""
        return self.density @ rho

    def pulls(self, slope: Floats, rho1: Floats) -> Floats:
        """(F'_i + F'_j) rho'(r_ij) of all pairs [P, ...], from F' of atoms [n, ...] and rho' on the grid [K, ...]."""
        both = slope[self.first] + slope[self.second]
        at = self.slope_of_rho @ rho1
        found: Floats = (
            both[:, None] * at if both.ndim < at.ndim else both * (at[:, None] if at.ndim < both.ndim else at)
        )
        return found

    def without_shifts(self, rows: Floats) -> Floats:
        """Residuals or their derivatives [m + 3 n, ...] less the part that the sources' shifts can explain."""
        if not self.shift.shape[1]:
            return rows
        m = len(self.shift)
        out = rows.copy()
        out[:m] -= self._basis @ (self._basis.T @ rows[:m])
        return out

    @property
    def _basis(self) -> Floats:
        """Orthonormal columns of the shifts, which never overlap: a configuration has one source."""
        basis: Floats = self.shift / np.linalg.norm(self.shift, axis=0)
        return basis


def tables(frames: Frames, near: Neighbours, weights: Weights, *, step: float = STEP) -> Tables:
    """The matrices of these configurations, whose neighbours are ``near``."""
    m, n, p = len(frames), len(frames.positions), len(near.distance)
    low = max(0.1, float(near.distance.min(initial=near.cutoff)) - 4 * step)
    count = int(np.ceil((near.cutoff - low) / step)) + 3
    grid = low + step * np.arange(count, dtype=np.float64)
    at, share = _cubic(near.distance, low, step)
    rows = np.repeat(np.arange(p), 4)
    value = sparse.csr_array((share.ravel(), (rows, at.ravel())), shape=(p, len(grid)))
    ones = np.ones(p)
    both = sparse.csr_array(
        (np.concatenate([ones, ones]), (np.concatenate([near.first, near.second]), np.tile(np.arange(p), 2))),
        shape=(n, p),
    )
    per_atom = 1.0 / (frames.counts * weights.energy)
    per_force = np.repeat(1.0 / weights.force, 3)
    in_frame = sparse.csr_array((per_atom[near.frame], (near.frame, np.arange(p))), shape=(m, p))
    pull = sparse.csr_array(
        (
            np.concatenate([near.direction.T, -near.direction.T]).ravel(),
            (
                np.concatenate(
                    [3 * near.first + a for a in range(3)] + [3 * near.second + a for a in range(3)]
                ),
                np.tile(np.arange(p), 6),
            ),
        ),
        shape=(3 * n, p),
    )
    pull = sparse.csr_array(sparse.diags_array(per_force) @ pull)
    frame_sum = sparse.csr_array(
        (per_atom[frames.frame_of_atom], (frames.frame_of_atom, np.arange(n))), shape=(m, n)
    )
    wanted = np.where(np.isfinite(frames.forces), frames.forces, 0.0).ravel()
    target = np.concatenate([frames.energies * per_atom, wanted * per_force])
    free = [s for s in np.unique(frames.source) if not frames.atoms_zero[s]]
    shift = (
        np.stack([(frames.source == s) / weights.energy for s in free], axis=1) if free else np.zeros((m, 0))
    )
    return Tables(
        grid, (in_frame @ value).toarray(), (pull @ value).toarray(), (both @ value).toarray(), value, pull,
        near.first, near.second, frame_sum, target, shift,
    )  # fmt: skip


def _cubic(r: Floats, low: float, step: float) -> tuple[Integers, Floats]:
    """Four grid points around every distance and their shares in Lagrange's cubic interpolation, both [P, 4]."""
    u = (r - low) / step
    start = np.floor(u).astype(np.int64) - 1
    t = (u - start)[:, None]  # between 1 and 2
    x = t - np.arange(4.0)
    share = np.concatenate(
        [
            x[:, [1]] * x[:, [2]] * x[:, [3]] / -6.0,
            x[:, [0]] * x[:, [2]] * x[:, [3]] / 2.0,
            x[:, [0]] * x[:, [1]] * x[:, [3]] / -2.0,
            x[:, [0]] * x[:, [1]] * x[:, [2]] / 6.0,
        ],
        axis=1,
    )
    return start[:, None] + np.arange(4), share
