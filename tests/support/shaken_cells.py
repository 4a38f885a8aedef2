"""Shaken copper cells in memory, with the energies and forces of a potential."""

from __future__ import annotations

import numpy as np
from ase.build import bulk

from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import neighbours
from defectdb.learn.potential.physics.potential import Potential


def shaken(
    seed: int = 0, count: int = 4, size: tuple[int, int, int] = (2, 2, 1), strain: float = 0.02
) -> Frames:
    """Copper cells with moved atoms and strained vectors; without numbers of their own."""
    rng = np.random.default_rng(seed)
    cells, places = [], []
    for _ in range(count):
        atoms = bulk("Cu", "fcc", a=3.61, cubic=True).repeat(size)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain * rng.standard_normal((3, 3))), scale_atoms=True)
        cells.append(atoms.cell[:])
        places.append(atoms.positions + 0.1 * rng.standard_normal((len(atoms), 3)))
    return frames_of_arrays(np.array(cells), places)


def frames_of_arrays(cells: np.ndarray, places: list[np.ndarray]) -> Frames:
    m, n = len(cells), sum(map(len, places))
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in places])])
    return Frames(
        [f"f-{i}" for i in range(m)], cells, np.concatenate(places), offsets, np.zeros(m), np.zeros((n, 3)),
        np.zeros((m, 6)), np.zeros(m, dtype=np.int64), ("f",), (True,), [""] * m, ["train"] * m,
    )  # fmt: skip


def with_numbers(frames: Frames, potential: Potential) -> Frames:
    """The same configurations with the energies and forces of a potential."""
    found = predict(potential, frames, neighbours(frames, potential.window.cutoff))
    return Frames(
        frames.ids, frames.cells, frames.positions, frames.offsets, found.energies, found.forces, found.stresses,
        frames.source, frames.sources, frames.atoms_zero, frames.config_type, frames.split,
    )  # fmt: skip
