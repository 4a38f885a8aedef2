"""Find which atom, if any, stands on every site of a pristine supercell: many structures at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from defectdb.ingest.records import Floats, Geometries, Host, Integers, Numbers

SITE_TOLERANCE = 0.1  # angstrom between an atom and its ideal site in an unrelaxed structure
LATTICE_TOLERANCE = 2e-3  # relative, per lattice vector
_CHUNK = 256  # structures whose atoms fit into the processor's cache
_BIN = 0.4  # angstrom, the most that an edge of a grid cell measures


@dataclass(frozen=True, slots=True, eq=False)
class SiteGrid:
    """A periodic grid over the supercell that names the site near every grid cell: look-up instead of search.

    ``nearest`` (na, nb, nc) holds site indices, -1 where no site is within reach of the grid cell.
    """

    host: Host
    tolerance: float
    shape: Integers
    nearest: NDArray[np.int32]


def site_grid(host: Host, tolerance: float = SITE_TOLERANCE) -> SiteGrid:
    """The grid that finds sites within ``tolerance`` [angstrom].

    It is exact while tolerance and half a grid cell's diagonal fit into half the distance between two sites.
    """
    shape = np.maximum(np.ceil(np.linalg.norm(host.lattice, axis=1) / _BIN).astype(np.int64), 1)
    edges = host.lattice / shape[:, None]
    radius = tolerance + float(np.linalg.norm(np.abs(edges).sum(axis=0)) / 2)
    heights = 1 / np.linalg.norm(np.linalg.inv(edges), axis=0)
    spans = [np.arange(-n, n + 1) for n in np.ceil(radius / heights).astype(np.int64) + 1]
    steps = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = np.floor(host.frac * shape).astype(np.int64)[:, None, :] + steps[None, :, :]
    distance = np.linalg.norm(((cells + 0.5) / shape - host.frac[:, None, :]) @ host.lattice, axis=2)
    site, step = np.nonzero(distance <= radius)
    order = np.argsort(-distance[site, step], kind="stable")  # the nearest site is written last
    a, b, c = (cells[site, step] % shape)[order].T
    nearest = np.full(tuple(shape), -1, dtype=np.int32)
    nearest[a, b, c] = site[order]
    return SiteGrid(host, tolerance, shape, nearest)


@dataclass(frozen=True, slots=True, eq=False)
class Occupation:
    """Sites of m structures on one host.

    ``numbers`` (m, sites): atomic number on every site, 0 for none. ``displacement`` (m,): the largest
    distance [angstrom] of an atom from its site. ``strays`` (m,): atoms on no site; ``doubles`` (m,): atoms
    on taken sites.
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


def occupy(grid: SiteGrid, geometries: Geometries) -> Occupation:
    """Put every atom on the site within the grid's tolerance, many structures at once."""
    parts = [
        _occupy(grid, select(geometries, np.arange(start, min(start + _CHUNK, len(geometries)))))
        for start in range(0, max(len(geometries), 1), _CHUNK)
    ]
    return Occupation(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Occupation)))


def _occupy(grid: SiteGrid, geometries: Geometries) -> Occupation:
    count, host = len(geometries), grid.host
    owner = np.repeat(np.arange(count), np.diff(geometries.offsets))
    wrapped = geometries.frac - np.floor(geometries.frac)
    cells = np.minimum((wrapped * grid.shape).astype(np.int64), grid.shape - 1)
    site = grid.nearest[cells[:, 0], cells[:, 1], cells[:, 2]]
    delta = wrapped - host.frac[site]
    delta -= np.round(delta)
    distance = np.sqrt(((delta @ host.lattice) ** 2).sum(axis=1))
    on_site = (distance <= grid.tolerance) & (site >= 0)
    flat = (owner * len(host.numbers) + site)[on_site]
    taken = np.bincount(flat, minlength=count * len(host.numbers)).reshape(count, -1)
    numbers = np.zeros(count * len(host.numbers), dtype=np.uint8)
    numbers[flat] = geometries.numbers[on_site]
    displacement = np.zeros(count)
    np.maximum.at(displacement, owner[on_site], distance[on_site])
    return Occupation(
        numbers=numbers.reshape(count, -1),
        displacement=displacement,
        strays=np.bincount(owner[~on_site], minlength=count),
        doubles=np.maximum(taken - 1, 0).sum(axis=1),
    )


def select(geometries: Geometries, rows: Integers) -> Geometries:
    """The structures in these rows, in this order; a view where they follow one another."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return _slice(geometries, int(rows[0]), int(rows[-1]) + 1)
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
        moved=None if geometries.moved is None else geometries.moved[atoms],
    )


def _slice(geometries: Geometries, start: int, stop: int) -> Geometries:
    """The structures from one row to before another."""
    atoms = slice(int(geometries.offsets[start]), int(geometries.offsets[stop]))
    return Geometries(
        ids=geometries.ids[start:stop],
        paths=geometries.paths[start:stop],
        lattice=geometries.lattice[start:stop],
        offsets=geometries.offsets[start : stop + 1] - geometries.offsets[start],
        numbers=geometries.numbers[atoms],
        frac=geometries.frac[atoms],
        digests=geometries.digests[start:stop],
        moved=None if geometries.moved is None else geometries.moved[atoms],
    )


def element_counts(geometries: Geometries) -> Integers:
    """Atoms by atomic number of every structure: (m, 128), column z for the element of number z."""
    owner = np.repeat(np.arange(len(geometries)), np.diff(geometries.offsets))
    flat = owner * 128 + geometries.numbers
    return np.bincount(flat, minlength=len(geometries) * 128).reshape(-1, 128)
