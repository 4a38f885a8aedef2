"""Find atoms that stand in one place: such a file holds no structure."""

from __future__ import annotations

import numpy as np

from defectdb.ingest.readers.cif import Atoms
from defectdb.schema.labels import ELEMENTS

LEAST_DISTANCE = 0.5  # angstrom; the shortest bond of all, in H2, is 0.74


def overlapping(atoms: Atoms) -> str | None:
    """Which two atoms are closer than LEAST_DISTANCE in any periodic image, as a phrase; None where none are."""
    from scipy.spatial import cKDTree

    wrapped = atoms.frac - np.floor(atoms.frac)
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.lattice), axis=0)
    margin = LEAST_DISTANCE / heights
    places, owners = [wrapped], [np.arange(len(wrapped))]
    for shift in np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3):
        image = wrapped + shift
        near = ((image > -margin) & (image < 1 + margin)).all(axis=1)
        if shift.any() and near.any():
            places.append(image[near])
            owners.append(np.flatnonzero(near))
    place, owner = np.concatenate(places) @ atoms.lattice, np.concatenate(owners)
    pairs = cKDTree(place).query_pairs(LEAST_DISTANCE, output_type="ndarray")
    if not len(pairs):
        return None
    distance = np.linalg.norm(place[pairs[:, 0]] - place[pairs[:, 1]], axis=1)
    first, second = owner[pairs[distance.argmin()]].tolist()
    names = [ELEMENTS[int(atoms.numbers[k]) - 1] for k in (first, second)]
    return f"{names[0]} and {names[1]} (atoms {first + 1} and {second + 1}) are {distance.min():.2f} angstrom apart"
