"""Note what is odd about structures that are loaded all the same: strained cells, charges, gaps below zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from defectdb.ingest.matching.strain import NOTED, host_strain, plane_strain
from defectdb.ingest.matching.unit_cells import standard
from defectdb.ingest.records import ODD_NUMBERS, Floats, Host, Note
from defectdb.ingest.targets import column, split_spin

STRAINED = "strained cell"
CHARGED = "charged"


def strain_notes(host: Host, names: pl.Series, lattices: Floats) -> Iterator[Note]:
    """A note for every cell (m, 3, 3) [angstrom] whose plane vectors differ from the host's by NOTED or more."""
    distinct, which = np.unique(lattices.reshape(-1, 9), axis=0, return_inverse=True)
    for k, lattice in enumerate(distinct.reshape(-1, 3, 3)):
        strain = _strain(host, lattice)
        if strain is None or abs(strain) < NOTED:
            continue
        size = "larger" if strain > 0 else "smaller"
        for i in np.flatnonzero(which.ravel() == k).tolist():
            yield Note(
                names[i],
                STRAINED,
                f"its lattice is {100 * abs(strain):.2f} % {size} than that of {host.host_id}",
            )


def _strain(host: Host, lattice: Floats) -> float | None:
    """Strain of one cell against the host, None where it cannot be told."""
    plane = standard(lattice)
    if plane is None:
        return None
    as_written = plane_strain(plane[:2, :2], host.lattice[:2, :2])
    return as_written if abs(as_written) < NOTED else host_strain(host, plane[:2, :2])


def charge_notes(host: Host, names: pl.Series, charges: Floats) -> Iterator[Note]:
    """A note for every charged structure: what its formation energy is and is not."""
    for i in np.flatnonzero(charges).tolist():
        what = (
            "formation energies are for the Fermi level at the valence band maximum, without finite-size correction"
            if host.e_vbm is not None
            else f"no formation energy: e_vbm of {host.host_id} is not known"
        )
        yield Note(names[i], CHARGED, f"charge {charges[i]:+.0f}; {what}")


def without_negative_gaps(table: pl.DataFrame) -> tuple[pl.DataFrame, list[Note]]:
    """The table without gaps below zero, which are none, and a note for each."""
    notes = []
    for name in [c for c in table.columns if split_spin(c)[0] == "homo_lumo_gap"]:
        values = column(table, name)
        wrong = np.flatnonzero(values < 0)
        if len(wrong):
            names = table["structure_id"]
            notes += [
                Note(names[i], ODD_NUMBERS, f"{name} {values[i]:g} eV is below zero") for i in wrong.tolist()
            ]
            table = table.with_columns(pl.Series(name, np.where(values < 0, np.nan, values)).fill_nan(None))
    return table, notes
