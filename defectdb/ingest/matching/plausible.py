"""Tell structures with defects from structures of another crystal: the latter differ on too many sites."""

from __future__ import annotations

import numpy as np

from defectdb.ingest.matching.defects import Found
from defectdb.ingest.records import Host
from defectdb.schema.labels import ELEMENTS, DefectKind

MOST_FOREIGN = 0.1  # substitutions, interstitials and adatoms, as a share of all sites
MOST_OF_A_SUBLATTICE = 0.5  # vacancies and substitutions, as a share of a sublattice
FEW = 2  # so many defects are never too many: small cells have few sites


def too_many(host: Host, found: Found) -> dict[int, str]:
    """Structures of which more is changed than point defects change, with a phrase that says what.

    Vacancies are no foreign atoms: all that is left stands where the crystal has it.
    """
    count, n_sublattices = len(found.counts), len(host.material.numbers)
    owner = np.repeat(np.arange(count), found.counts)
    foreign = np.bincount(owner[(found.kind != DefectKind.VACANCY.value).to_numpy()], minlength=count)
    on_site = found.sublattice >= 0
    flat = owner[on_site] * n_sublattices + found.sublattice[on_site]
    changed = np.bincount(flat, minlength=count * n_sublattices).reshape(count, n_sublattices)
    sizes = np.bincount(host.sublattice, minlength=n_sublattices)
    told: dict[int, str] = {}
    for i in np.flatnonzero((foreign > FEW) & (foreign > MOST_FOREIGN * len(host.numbers))).tolist():
        told[i] = f"{foreign[i]} of its atoms are not those of {host.host_id} ({len(host.numbers)} sites)"
    for i, k in np.argwhere((changed > FEW) & (changed > MOST_OF_A_SUBLATTICE * sizes)).tolist():
        element = ELEMENTS[int(host.material.numbers[k]) - 1]
        told[i] = (
            f"{changed[i, k]} of the {sizes[k]} {element} sites of one sublattice of {host.host_id} are changed"
        )
    return told
