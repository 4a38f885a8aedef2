"""Energies, compositions and reference levels to formation energies and normalised levels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defectdb.ingest.records import Floats, Host, Integers, Numbers
from defectdb.schema.labels import ELEMENTS


def element_changes(host: Host, occupation: Numbers) -> tuple[Integers, Integers]:
    """Elements (atomic numbers, k) of host and structures, and how many atoms of each were added: (m, k)."""
    elements = np.unique(np.concatenate([host.numbers, occupation.ravel()]))
    elements = elements[elements > 0].astype(np.int64)
    counts = np.stack([(occupation == z).sum(axis=1) for z in elements], axis=1)
    return elements, counts - np.array([(host.numbers == z).sum() for z in elements])


def formation_energy(
    energy: Floats,
    pristine: float | None,
    elements: Integers,
    added: Integers,
    potentials: Mapping[str, float],
) -> Floats:
    """E_f = E - E(pristine) - sum over elements of (atoms added) * mu [eV]; NaN where a term is not known.

    Atoms removed count as negative additions, so that their potentials are added.
    """
    if pristine is None:
        return np.full(len(energy), np.nan)
    mu = np.array([potentials.get(ELEMENTS[z - 1], np.nan) for z in elements])
    exchanged = np.where(added == 0, 0.0, added * mu).sum(axis=1)
    return np.asarray(energy - pristine - exchanged)


def normalised_level(level: Floats, e1: Floats, host: Host) -> Floats:
    """level - E_1 + E_1(pristine) - E_VBM(pristine) [eV]: zero at the pristine valence band maximum."""
    if host.e1 is None or host.e_vbm is None:
        return np.full(len(level), np.nan)
    return np.asarray(level - e1 + host.e1 - host.e_vbm)
