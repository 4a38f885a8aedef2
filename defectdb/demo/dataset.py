"""Compute the demo's structures: all with one or two defects, a sample with three."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.demo.configurations import every_placement, sampled_placements
from defectdb.demo.tightbinding import (
    CHEMICAL_POTENTIALS,
    DEFECTS,
    KINDS,
    Floats,
    Integers,
    Levels,
    ModelDefect,
    pristine,
    solve,
)

COMPOSITIONS: dict[str, tuple[str, ...]] = {
    "B": ("Vac_B",),
    "N": ("Vac_N",),
    "C": ("C_B",),
    "BB": ("Vac_B", "Vac_B"),
    "NN": ("Vac_N", "Vac_N"),
    "BN": ("Vac_B", "Vac_N"),
    "BC": ("Vac_B", "C_B"),
    "NC": ("Vac_N", "C_B"),
    "CC": ("C_B", "C_B"),
    "BBB": ("Vac_B", "Vac_B", "Vac_B"),
    "NNN": ("Vac_N", "Vac_N", "Vac_N"),
    "BBN": ("Vac_B", "Vac_B", "Vac_N"),
    "BNN": ("Vac_B", "Vac_N", "Vac_N"),
    "BBC": ("Vac_B", "Vac_B", "C_B"),
    "NNC": ("Vac_N", "Vac_N", "C_B"),
    "BNC": ("Vac_B", "Vac_N", "C_B"),
    "BCC": ("Vac_B", "C_B", "C_B"),
}
"""Defects by descriptor name.

Left out are two donors beside a nitrogen vacancy, three donors, and donors together with acceptors (C_N):
their electrons rearrange over all the defects at once, which no sum over pairs can describe.
"""

DIGITS = 9
"""Decimals kept of every energy: further ones depend on the LAPACK at hand."""


@dataclass(frozen=True, slots=True)
class Structures:
    """Structures of one composition: ``sites`` and ``kinds`` of shape (S, d), and their computed levels."""

    cell: int
    descriptor: str
    sites: Integers
    kinds: Integers
    levels: Levels

    @property
    def defects(self) -> list[ModelDefect]:
        """The defects that every structure holds."""
        return [DEFECTS[KINDS[label]] for label in COMPOSITIONS[self.descriptor]]

    @property
    def n_atoms(self) -> int:
        """Atoms in every structure."""
        return 2 * self.cell**2 - sum(defect.added is None for defect in self.defects)

    @property
    def identifiers(self) -> list[str]:
        """Names such as ``tb8-BNC-0007``."""
        return [
            f"{descriptor_id(self.cell, self.descriptor)}-{number:04}" for number in range(len(self.sites))
        ]


def descriptor_id(cell: int, descriptor: str) -> str:
    """The id of a composition in one supercell, e.g. ``tb8-BNC``."""
    return f"tb{cell}-{descriptor}"


def compute(*, cell: int, triples: int, seed: int) -> list[Structures]:
    """Levels of all structures with one or two defects, and of ``triples`` per composition of three."""
    computed = []
    for descriptor, labels in COMPOSITIONS.items():
        every = len(labels) <= 2
        sites = every_placement(cell, labels) if every else sampled_placements(cell, labels, triples, seed)
        kinds = np.tile(np.array([KINDS[label] for label in labels], dtype=np.int64), (len(sites), 1))
        computed.append(Structures(cell, descriptor, sites, kinds, solve(cell, sites, kinds)))
    return computed


def rounded(values: Floats) -> list[float]:
    """Energies in eV, rounded to ``DIGITS`` decimals."""
    numbers: list[float] = np.round(values, DIGITS).tolist()
    return numbers


def potentials() -> dict[str, float]:
    """Chemical potentials of the elements, eV, rounded like the energies."""
    return {element: round(energy, DIGITS) for element, energy in CHEMICAL_POTENTIALS.items()}


def rows(computed: Sequence[Structures]) -> Iterator[dict[str, str | float]]:
    """One record per structure: id, descriptor, and every target in eV, consistent to the last digit."""
    mu = potentials()
    for structures in computed:
        host = rounded(pristine(structures.cell).energy)[0]
        removed = sum(mu[defect.removed] for defect in structures.defects)
        added = sum(mu[defect.added] for defect in structures.defects if defect.added is not None)
        levels = structures.levels
        for identifier, energy, homo, lumo in zip(
            structures.identifiers,
            rounded(levels.energy),
            rounded(levels.homo),
            rounded(levels.lumo),
            strict=True,
        ):
            formation = energy - host + removed - added
            yield {
                "_id": identifier,
                "descriptor_id": descriptor_id(structures.cell, structures.descriptor),
                "energy": energy,
                "energy_per_atom": energy / structures.n_atoms,
                "fermi_level": (homo + lumo) / 2,
                "homo": homo,
                "lumo": lumo,
                "homo_lumo_gap": lumo - homo,
                "formation_energy": formation,
                "formation_energy_per_site": formation / len(structures.defects),
            }
