"""Small copper cells whose energies and forces are those of a Gupta potential."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from defectdb.learn.potential.fitting.baselines import baselines
from defectdb.learn.potential.output.calculator import PotentialCalculator
from defectdb.learn.potential.physics.potential import Window

WINDOW = Window(5.0, 1.5)
TRUTH = next(form.potential for form in baselines(WINDOW) if form.name == "Gupta")


def copper_frames(path: Path, *, count: int, seed: int) -> None:
    """Write shaken cells of four atoms as extended xyz (gzipped by the name's ending); every fourth a test."""
    rng, frames = np.random.default_rng(seed), []
    for k in range(count):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        atoms.set_cell(atoms.cell[:] * (1.0 + 0.05 * rng.standard_normal()), scale_atoms=True)
        atoms.positions += 0.12 * rng.standard_normal(atoms.positions.shape)
        atoms.calc = PotentialCalculator(TRUTH, "Cu")
        numbers = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **numbers)
        atoms.info |= {"split": "test" if k % 4 == 0 else "train", "config_type": "shaken"}
        frames.append(atoms)
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    write(plain, frames, format="extxyz")
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
