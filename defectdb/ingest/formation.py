"""Compute formation energies and levels referred to the pristine valence band maximum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defectdb.ingest.records import Floats, Host, Integers
from defectdb.schema.labels import ELEMENTS


def formation_energy(energy: Floats, host: Host, counts: Integers, potentials: Mapping[str, float]) -> Floats:
    """E_f = E - E(pristine) - sum over elements of (atoms added) * mu [eV]; NaN where a term is not known.

    ``counts`` (m, z): atoms by atomic number. Atoms removed count as negative additions, so that their
    potentials are added.
    """
    if host.energy is None or not potentials:
        return np.full(len(energy), np.nan)
    added = counts - np.bincount(host.numbers, minlength=counts.shape[1])
    elements = np.flatnonzero(added.any(axis=0))
    mu = np.array([potentials.get(ELEMENTS[z - 1], np.nan) for z in elements])
    exchanged = np.where(added[:, elements] == 0, 0.0, added[:, elements] * mu).sum(axis=1)
    return np.asarray(energy - host.energy - exchanged)


def normalised_level(level: Floats, e1: Floats, host: Host) -> Floats:
    """level - E_1 + E_1(pristine) - E_VBM(pristine) [eV]: zero at the pristine valence band maximum."""
    if host.e1 is None or host.e_vbm is None:
        return np.full(len(level), np.nan)
    return np.asarray(level - e1 + host.e1 - host.e_vbm)
