"""The folder that docs/tutorials/doped.md speaks of, in the layout that doped writes, for sulfur vacancies in MoS2."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path

import numpy as np
from support.builders import crystal, shared
from support.vasp_files import neutral, poscar, vasprun

SIZE = (6, 6, 1)
PRISTINE = -786.4  # eV
POTENTIALS = {"Mo": -10.9, "S": -4.8, "W": -12.9}  # eV per atom
ALONE = {"v_S": 2.6, "W_Mo": 0.2}  # formation energies, eV
LEVELS = [(-1.0, 1.0), (1.0, 0.0)]


def write_defects(folder: Path) -> None:
    """MoS2_bulk, v_S in three charges and W_Mo, each with the inputs of vasp_gam and a finished vasp_std."""
    host = crystal("MoS2", SIZE)
    shutil.copy(shared("unit_cells", "MoS2.cif"), folder / "MoS2.cif")
    sulfur, molybdenum = host.elements.index("S"), host.elements.index("Mo")
    everything = list(range(len(host.elements)))
    without = [k for k in everything if k != sulfur]
    tungsten = ["W" if k == molybdenum else e for k, e in enumerate(host.elements)]
    vacancy = PRISTINE + ALONE["v_S"] - POTENTIALS["S"]
    exchanged = PRISTINE + ALONE["W_Mo"] + POTENTIALS["W"] - POTENTIALS["Mo"]
    defects = folder / "defects"
    _write(defects / "MoS2_bulk", host.elements, host.frac, PRISTINE, 0)
    for charge in (-1, 0, 1):
        name = f"v_S_{charge:+}" if charge else "v_S_0"
        elements = [host.elements[k] for k in without]
        _write(defects / name, elements, host.frac[without], vacancy + 0.8 * charge**2, charge)
    _write(defects / "W_Mo_0", tungsten, host.frac, exchanged, 0)


def write_pairs(folder: Path, placements: list[Path]) -> None:
    """A finished run for every POSCAR, the sulfur vacancies in it attracting each other at short distance."""
    from pymatgen.core import Structure

    host = crystal("MoS2", SIZE)
    for file in placements:
        structure = Structure.from_file(file)
        elements = [site.specie.symbol for site in structure]
        gone = [k for k, place in enumerate(host.frac) if not _occupied(place, structure.frac_coords)]
        distance = _distance(host.frac[gone[0]], host.frac[gone[1]], host.lattice)
        energy = PRISTINE + 2 * (ALONE["v_S"] - POTENTIALS["S"]) - 0.9 * math.exp(-distance / 1.5)
        _write(folder / file.stem, elements, structure.frac_coords, energy, 0)


def _occupied(place: np.ndarray, places: np.ndarray) -> bool:
    delta = places - place
    return bool(np.any(np.abs(delta - np.round(delta)).max(axis=1) < 0.01))


def _distance(a: np.ndarray, b: np.ndarray, lattice: np.ndarray) -> float:
    delta = b - a - np.round(b - a)
    images = [delta + np.array([i, j, 0]) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return min(float(np.linalg.norm(image @ lattice)) for image in images)


def _write(folder: Path, elements: list[str], frac: np.ndarray, energy: float, charge: int) -> None:
    """Inputs alone in vasp_gam, inputs and a gzipped vasprun.xml in vasp_std."""
    lattice = crystal("MoS2", SIZE).lattice
    order = sorted(range(len(elements)), key=lambda k: elements[k])
    names, places = [elements[k] for k in order], frac[order]
    for step in ("vasp_gam", "vasp_std"):
        (folder / step).mkdir(parents=True)
        (folder / step / "POSCAR").write_text(poscar(names, places, lattice))
    text = vasprun(names, places, lattice, energy=energy, spins=[LEVELS], electrons=neutral(names) - charge)
    (folder / "vasp_std" / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
