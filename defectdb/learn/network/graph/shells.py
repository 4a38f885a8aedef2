"""Ranks of distances among those of the crystal, for all edges of many graphs at once."""

from __future__ import annotations

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.expressions.arrays import Floats, Integers
from defectdb.schema.lattice import nearest_image, reduced

SAME_SHELL = 1e-3
"""Distances in the plane this close (angstrom) belong to one shell."""


def shells(
    db: Database, materials: pl.Series, sublattices: pl.Series, row: Integers, first: Integers, second: Integers,
    inplane: pl.Series, cutoff: float,
) -> Integers:  # fmt: skip
    """Shell of every edge [edge], from 1; 0 where a defect is on no site or the distance is none of the crystal's.

    ``materials`` of every structure, ``sublattices`` of every node, null off the sites; ``row``, ``first``, ``second``
    structure and nodes of every edge, ``inplane`` its length in the plane, angstrom. The ladders of all materials and
    sublattice pairs stand in one rising array, each moved up by its number times more than the cutoff: one search finds
    the rungs of all edges.
    """
    sublattice = sublattices.fill_null(-1).to_numpy().astype(np.int64)
    left, right = (choose(sublattice[first], sublattice[second]) for choose in (np.minimum, np.maximum))
    names = sorted(set(materials))
    material = materials.replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()[row]
    width = 1 + max(int(sublattice.max(initial=0)), 0)
    key = (material * width + left) * width + right
    ladders = _ladders(db, names, np.unique(key[left >= 0]), width, cutoff)
    sizes = [len(ladder) for ladder in ladders.values()]
    if not sum(sizes):
        return np.zeros(len(row), dtype=np.int64)
    step = cutoff + 1.0
    rungs = np.concatenate([ladder + number * step for number, ladder in ladders.items()])
    start = np.zeros(len(names) * width * width, dtype=np.int64)
    start[list(ladders)] = np.cumsum(sizes) - sizes
    place = inplane.to_numpy() + key * step
    at = np.searchsorted(rungs, place - SAME_SHELL).clip(max=len(rungs) - 1)
    hit = (np.abs(rungs[at] - place) <= SAME_SHELL) & (left >= 0)
    found: Integers = np.where(hit, at - start[key.clip(0)] + 1, 0)
    return found


def _ladders(
    db: Database, names: list[str], numbers: Integers, width: int, cutoff: float
) -> dict[int, Floats]:
    """The ladder of every ``(material * width + sublattice) * width + sublattice`` among ``numbers``."""
    cells = db.frame(
        "SELECT material_id, a_x, a_y, b_x, b_y FROM materials WHERE list_contains(?, material_id)", [names]
    )
    sites = db.frame(
        "SELECT material_id, sublattice, frac_x, frac_y FROM material_sites WHERE list_contains(?, material_id)",
        [names],
    )
    lattices = {name: np.array(cell).reshape(2, 2) for name, *cell in cells.iter_rows()}
    places = {(name, sublattice): np.array(xy) for name, sublattice, *xy in sites.iter_rows()}
    ladders = {}
    for number in numbers.tolist():  # a handful: sublattice pairs, not edges
        rest, right = divmod(number, width)
        material, left = divmod(rest, width)
        name = names[material]
        between = places[name, right] - places[name, left]
        ladders[number] = distance_ladder(lattices[name], between, cutoff, own=left == right)
    return ladders


def distance_ladder(lattice: Floats, between: Floats, longest: float, *, own: bool) -> Floats:
    """Distances in the plane from a site to those of a sublattice, rising, to ``longest`` angstrom.

    ``lattice`` [2, 2]: rows are the unit cell's vectors; ``between``: from the site to one of the others, fractional.
    Of a site's ``own`` sublattice the distance 0 to itself does not count.
    """
    basis = reduced(lattice)
    offset = nearest_image(lattice, (between @ lattice)[None])[0]
    height = abs(float(np.linalg.det(basis))) / np.linalg.norm(basis, axis=1).max()
    reach = int(longest / height) + 3
    steps = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2) @ basis + offset
    lengths = np.sort(np.hypot(grid[:, 0], grid[:, 1]))
    lengths = lengths[(lengths <= longest) & ((lengths > SAME_SHELL) | (not own))]
    ladder: Floats = lengths[np.concatenate([[True], np.diff(lengths) > SAME_SHELL])[: len(lengths)]]
    return ladder
