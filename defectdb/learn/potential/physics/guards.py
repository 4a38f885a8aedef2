"""Whether a potential is safe to run: repulsive at short distances, quiet at the tail, without poles."""

from __future__ import annotations

import numpy as np

from defectdb.learn.potential.physics.potential import Potential

SHORTEST, CORE = 1.2, 1.6
"""From where a potential must have values, and up to where it must repel, angstrom (in copper; scaled for others)."""
_MOST_TAIL = 0.5  # eV: phi over the last tenth before the cutoff


def faults(potential: Potential, density_max: float, scale: float = 1.0) -> list[str]:
    """What is wrong with a potential, one sentence each; none where it is safe.

    ``density_max``: largest density of its data; it must hold up to twice that. ``scale``: distances over copper's.
    """
    found = []
    r = np.linspace(SHORTEST * scale, potential.window.cutoff, 600)
    with np.errstate(all="ignore"):
        phi, phi1, _ = potential.pair_term(r)
        rho, rho1, _ = potential.density(r)
        densities = np.linspace(0.0, 2.0 * density_max, 400)
        embedded, slope, _ = potential.embedded(densities)
        start = potential.embedded(np.array([1e-9 * max(density_max, 1e-300)]))[0]
    if not (
        np.isfinite(phi).all()
        and np.isfinite(phi1).all()
        and np.isfinite(rho).all()
        and np.isfinite(rho1).all()
    ):
        return [f"phi or rho has no value somewhere between {r[0]:.2f} and {r[-1]:.2f} angstrom"]
    if not (np.isfinite(embedded).all() and np.isfinite(slope).all()):
        return ["F has no value somewhere between no density and twice the largest"]
    if rho.min() < -1e-9 * rho.max():
        found.append("the density is negative at some distance")
    if abs(float(start[0])) > 1e-2:
        found.append("F does not start from nothing")
    if np.abs(np.diff(embedded)).max() > 0.5 * np.ptp(embedded) + 1e-12:
        found.append("F jumps")
    core = r <= CORE * scale
    pull = phi1[core] + 2.0 * np.interp(rho[core], densities, slope) * rho1[core]
    if (phi1[core] >= 0.0).any() or (pull >= 0.0).any():
        found.append(f"two atoms nearer than {CORE * scale:.2f} angstrom do not repel one another")
    tail = r > potential.window.cutoff - 0.1 * (r[-1] - r[0])
    if np.abs(phi[tail]).max() > _MOST_TAIL:
        found.append("phi is not quiet before the cutoff")
    return found
