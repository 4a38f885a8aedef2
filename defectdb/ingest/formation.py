"""Compute formation energies and levels referred to the pristine valence band maximum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defectdb.ingest.records import Floats, Host, Integers
from defectdb.schema.labels import ELEMENTS


def formation_energy(
    energy: Floats, host: Host, counts: Integers, potentials: Mapping[str, float], charge: Floats
) -> Floats:
    """E_f = E - E(pristine) - sum over elements of (atoms added) * mu + q E_VBM [eV]; NaN where a term is not known.

    ``counts`` (m, z): atoms by atomic number; atoms removed count as negative additions, so that their potentials are
    added. ``charge`` q (m,) [e]: the Fermi level is at the valence band maximum; q times its height above that is to be
    added elsewhere. No finite-size correction is applied. Zhang and Northrup, Phys. Rev. Lett. 67, 2339 (1991).
    """
    if host.energy is None or not potentials:
        return np.full(len(energy), np.nan)
    added = counts - np.bincount(host.numbers, minlength=counts.shape[1])
    elements = np.flatnonzero(added.any(axis=0))
    mu = np.array([potentials.get(ELEMENTS[z - 1], np.nan) for z in elements])
    exchanged = np.where(added[:, elements] == 0, 0.0, added[:, elements] * mu).sum(axis=1)
    e_vbm = np.nan if host.e_vbm is None else host.e_vbm
    return np.asarray(energy - host.energy - exchanged + np.where(charge == 0, 0.0, charge * e_vbm))


def normalised_level(level: Floats, e1: Floats, host: Host) -> Floats:
    """level - E_1 + E_1(pristine) - E_VBM(pristine) [eV]: zero at the pristine valence band maximum."""
    if host.e1 is None or host.e_vbm is None:
        return np.full(len(level), np.nan)
    return np.asarray(level - e1 + host.e1 - host.e_vbm)
