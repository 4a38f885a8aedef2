"""The folder of VASP runs of docs/tutorials/own-data.md: carbon in h-BN, its energies from a law that is known."""

from __future__ import annotations

import math
import shutil
from itertools import combinations, product
from pathlib import Path

import numpy as np
from support.builders import crystal, shared
from support.vasp_files import vasprun

CELLS = 6
PRISTINE = -638.4  # eV
POTENTIALS = {"B": -6.7, "N": -8.3, "C": -9.2}  # eV per atom
ALONE = {"C_B": 2.0, "C_N": 3.2}  # formation energies, eV
DISTANCES = 8  # of every pair
BANDS = [[(-1.0, 1.0), (1.0, 0.0)]]


def interaction(first: str, second: str, r: float) -> float:
    """What carbon on sites of these elements, r [angstrom] apart, is worth together, eV."""
    return (1.5 if first == second else -4.0) * math.exp(-r / 1.2)


class Sheet:
    """The pristine supercell: places of its boron and nitrogen, and the distances between them."""

    def __init__(self) -> None:
        self.host = crystal("BN", (CELLS, CELLS, 1))

    def sites(self, element: str) -> list[int]:
        return [k for k, e in enumerate(self.host.elements) if e == element]

    def distance(self, i: int, j: int) -> float:
        """Of the nearest images, angstrom."""
        delta = self.host.frac[j] - self.host.frac[i]
        shifts = [np.array([a, b, 0]) for a, b in product((-1, 0, 1), repeat=2)]
        return min(float(np.linalg.norm((delta + s - np.round(delta)) @ self.host.lattice)) for s in shifts)

    def energy(self, carbon: list[int]) -> float:
        """Total energy with carbon on these sites, eV."""
        labels = [f"C_{self.host.elements[k]}" for k in carbon]
        total = PRISTINE + sum(ALONE[label] for label in labels)
        for i, j in combinations(carbon, 2):
            total += interaction(self.host.elements[i], self.host.elements[j], self.distance(i, j))
        return total + sum(POTENTIALS["C"] - POTENTIALS[self.host.elements[k]] for k in carbon)

    def write(self, folder: Path, carbon: list[int]) -> None:
        folder.mkdir(parents=True)
        elements = ["C" if k in carbon else e for k, e in enumerate(self.host.elements)]
        text = vasprun(elements, self.host.frac, self.host.lattice, energy=self.energy(carbon), spins=BANDS)
        (folder / "vasprun.xml").write_text(text)

    def pairs(self, element: str) -> list[list[int]]:
        """One pair of a nitrogen and another site of this element for every distance, nearest first."""
        first = self.sites("N")[0]
        found = {round(self.distance(first, k), 3): [first, k] for k in self.sites(element) if k != first}
        return [found[r] for r in sorted(found)][:DISTANCES]


def write_runs(folder: Path) -> None:
    """The tree of the page, and below ``test`` three structures with one C_B and two C_N."""
    sheet = Sheet()
    shutil.copy(shared("unit_cells", "BN.cif"), folder / "BN.cif")
    boron, nitrogen = sheet.sites("B"), sheet.sites("N")
    runs = folder / "runs"
    sheet.write(runs / "pristine", [])
    sheet.write(runs / "C_B", [boron[0]])
    sheet.write(runs / "C_N", [nitrogen[0]])
    for label, element in (("C_B-C_N", "B"), ("C_N-C_N", "N")):
        for number, pair in enumerate(sheet.pairs(element), start=1):
            sheet.write(runs / label / str(number), pair)
    for number, third in enumerate((7, 15, 22), start=1):
        sheet.write(runs / "test" / str(number), [boron[0], nitrogen[3], nitrogen[third]])
