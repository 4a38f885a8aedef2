"""Atoms to site occupations: which atom, if any, stands on every site of the pristine supercell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from defectdb.ingest.records import Floats, Geometries, Host, Integers, Numbers

SITE_TOLERANCE = 0.1  # angstrom between an atom and its ideal site in an unrelaxed structure
LATTICE_TOLERANCE = 2e-3  # relative, per lattice vector
_BIN = 0.4  # angstrom, the most an edge of a grid cell measures


@dataclass(frozen=True, slots=True, eq=False)
class SiteGrid:
    """A periodic grid over the supercell that names the nearest site of every cell: look-up instead of search.

    ``nearest`` (na, nb, nc) holds site indices; ``reach`` is the radius [angstrom] within which it is exact.
    """

    host: Host
    shape: Integers
    nearest: NDArray[np.int32]
    reach: float


def site_grid(host: Host) -> SiteGrid:
    """Build the grid of one host; costs one KD-tree query per grid cell."""
    lengths = np.linalg.norm(host.lattice, axis=1)
    shape = np.maximum(np.ceil(lengths / _BIN).astype(np.int64), 1)
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ host.lattice
    images = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])
    sites = (host.frac[None, :, :] + images[:, None, :]).reshape(-1, 3) @ host.lattice
    tree = cKDTree(sites)
    nearest = tree.query(centres)[1] % len(host.frac)
    spacing = float(tree.query(sites[: len(host.frac)], k=2)[0][:, 1].min()) if len(sites) > 1 else np.inf
    half = float(np.linalg.norm(np.abs(host.lattice / shape[:, None]).sum(axis=0)) / 2)
    return SiteGrid(host, shape, nearest.astype(np.int32).reshape(tuple(shape)), spacing / 2 - half)


@dataclass(frozen=True, slots=True, eq=False)
class Occupation:
    """Sites of m structures on one host.

    ``numbers`` (m, sites): atomic number on every site, 0 for none. ``displacement`` (m,): the largest distance
    [angstrom] of an atom from its site. ``strays`` (m,): atoms on no site; ``doubles`` (m,): atoms on taken sites.
    """

    numbers: Numbers
    displacement: Floats
    strays: Integers
    doubles: Integers


def same_lattice(host: Host, lattices: Floats) -> NDArray[np.bool_]:
    """Which of the lattices (m, 3, 3) have the host's lengths and angles, in whatever orientation."""
    own = host.lattice @ host.lattice.T
    metrics = lattices @ lattices.transpose(0, 2, 1)
    scale = np.sqrt(np.outer(np.diag(own), np.diag(own)))
    return np.asarray((np.abs(metrics - own) / scale).max(axis=(1, 2)) < 2 * LATTICE_TOLERANCE)


def occupy(grid: SiteGrid, geometries: Geometries, tolerance: float = SITE_TOLERANCE) -> Occupation:
    """Put every atom on the site within ``tolerance`` [angstrom]; all structures at once.

    The grid is exact for a tolerance up to its reach; site spacings above 1.2 angstrom allow 0.1.
    """
    count, host = len(geometries), grid.host
    owner = np.repeat(np.arange(count), np.diff(geometries.offsets))
    wrapped = geometries.frac - np.floor(geometries.frac)
    cells = np.minimum((wrapped * grid.shape).astype(np.int64), grid.shape - 1)
    site = grid.nearest[cells[:, 0], cells[:, 1], cells[:, 2]]
    delta = wrapped - host.frac[site]
    delta -= np.round(delta)
    distance = np.sqrt(((delta @ host.lattice) ** 2).sum(axis=1))
    on_site = distance <= tolerance
    flat = owner * len(host.numbers) + site
    taken = np.bincount(flat[on_site], minlength=count * len(host.numbers)).reshape(count, -1)
    numbers = np.zeros(count * len(host.numbers), dtype=np.uint8)
    numbers[flat[on_site]] = geometries.numbers[on_site]
    displacement = np.zeros(count)
    np.maximum.at(displacement, owner[on_site], distance[on_site])
    return Occupation(
        numbers=numbers.reshape(count, -1),
        displacement=displacement,
        strays=np.bincount(owner[~on_site], minlength=count),
        doubles=np.maximum(taken - 1, 0).sum(axis=1),
    )


def select(geometries: Geometries, rows: Integers) -> Geometries:
    """The structures in these rows, in this order."""
    counts = np.diff(geometries.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    atoms = np.repeat(geometries.offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Geometries(
        ids=[geometries.ids[i] for i in rows],
        paths=[geometries.paths[i] for i in rows],
        lattice=geometries.lattice[rows],
        offsets=offsets,
        numbers=geometries.numbers[atoms],
        frac=geometries.frac[atoms],
        digests=[geometries.digests[i] for i in rows],
    )
