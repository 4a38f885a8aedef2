"""Supercells: their sites, the symmetry of the sites, and the distances between them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectdb.db import Database
from defectdb.db.read import material as known_material
from defectdb.db.scope import IN_SCOPE, Scope
from defectdb.errors import UsageError
from defectdb.expressions.arrays import Floats
from defectdb.schema.lattice import nearest_image

Ints = NDArray[np.signedinteger[Any]]
SYMPREC = 1e-3  # angstrom


@dataclass(frozen=True, slots=True, eq=False)
class Supercell:
    """A pristine supercell.

    ``name``: e.g. 8x8x1.
    ``host``: host_id of the stored host whose sites these are, None where there is none.
    ``lattice`` [3, 3]: rows are the cell's vectors, angstrom.
    ``elements`` [site], ``frac`` [site, 3]: element and fractional coordinates of every site.
    ``permutations`` [operation, site]: where each symmetry operation of the crystal that the supercell keeps
    takes each site.
    """

    name: str
    host: str | None
    lattice: Floats
    elements: tuple[str, ...]
    frac: Floats
    permutations: Ints

    def sites_of(self, element: str) -> Ints:
        """Indices of the sites of an element. Raises UsageError where there is none."""
        found = np.flatnonzero(np.array(self.elements) == element)
        if not len(found):
            raise UsageError(f"there is no {element} site; sites: {', '.join(sorted(set(self.elements)))}")
        return found


def supercell(
    db: Database, material: str, repeats: tuple[int, int], datasets: Sequence[str] = ()
) -> Supercell:
    """A material repeated along a and b, sites numbered as in ``host_sites`` where such a host is stored.

    Of several stored hosts of that size (cells of different vacuum) the one of a low-density data set counts, then
    the one with most structures; ``datasets`` leaves those of other datasets out. Raises UnknownNameError for a
    material that is not stored.
    """
    known_material(db, material)
    row = db.frame("SELECT * FROM materials WHERE material_id = ?", [material]).row(0, named=True)
    unit = np.array([[row[f"{v}_{x}"] for x in "xyz"] for v in "abc"])
    basis = db.frame("SELECT * FROM material_sites WHERE material_id = ? ORDER BY sublattice", [material])
    basis_frac = basis.select("frac_x", "frac_y", "frac_z").to_numpy()
    name = f"{repeats[0]}x{repeats[1]}x1"
    counts = np.array([*repeats, 1])
    lattice = unit * counts[:, None]
    host = _stored_host(db, material, name, datasets)
    if host is not None:
        lattice, frac, sublattice = _host_sites(db, host)
    else:
        shifts = np.array([(i, j, 0) for i in range(repeats[0]) for j in range(repeats[1])])
        frac = ((basis_frac[:, None] + shifts[None]) / counts).reshape(-1, 3)
        sublattice = np.repeat(np.arange(len(basis)), len(shifts))
    elements = basis["element"].to_numpy()[sublattice]
    permutations = _permutations(unit, basis_frac, basis["element"].to_list(), counts, frac, sublattice)
    return Supercell(name, host, lattice, tuple(elements), frac, permutations)


def parse_supercell(text: str) -> tuple[int, int]:
    """Repeats along a and b of a text such as ``8,8,1`` or ``8x8``. Raises UsageError."""
    found = re.fullmatch(r"([1-9]\d{0,2})[x,]([1-9]\d{0,2})(?:[x,]1)?", text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no supercell of a layer; write 8,8,1")
    return int(found.group(1)), int(found.group(2))


def _stored_host(db: Database, material: str, name: str, datasets: Sequence[str]) -> str | None:
    """The stored host of a size: of several that of low density, then that of most structures."""
    hosts = db.frame(
        "SELECT h.host_id FROM hosts AS h LEFT JOIN structures AS s USING (host_id) "
        f"WHERE h.supercell = $name AND {IN_SCOPE} AND h.host_id IN (SELECT host_id FROM host_sites) GROUP BY ALL "
        "ORDER BY coalesce(bool_or(s.density = 'low'), FALSE) DESC, count(s.structure_id) DESC, h.host_id",
        {"name": name, **Scope(material, tuple(datasets)).parameters()},
    )["host_id"].to_list()
    return hosts[0] if hosts else None


def _host_sites(db: Database, host: str) -> tuple[Floats, Floats, Ints]:
    """Lattice [3, 3] in angstrom, fractional coordinates [site, 3] and sublattice [site] of a stored host."""
    row = db.frame("SELECT * FROM hosts WHERE host_id = ?", [host]).row(0, named=True)
    lattice = np.array([[row[f"{v}_{x}"] for x in "xyz"] for v in "abc"])
    sites = db.frame("SELECT * FROM host_sites WHERE host_id = ? ORDER BY site_index", [host])
    frac = sites.select("frac_x", "frac_y", "frac_z").to_numpy()
    return lattice, frac, sites["sublattice"].to_numpy().astype(np.int64)


def _permutations(
    unit: Floats, basis: Floats, elements: list[str], counts: Ints, frac: Floats, sublattice: Ints
) -> Ints:
    """Rotations of the unit cell that map the superlattice onto itself, times all its translations."""
    import spglib

    numbers = [sorted(set(elements)).index(element) + 1 for element in elements]
    with warnings.catch_warnings():  # spglib's note on how it will report errors in future
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_symmetry((unit, basis, numbers), symprec=SYMPREC)
    if found is None:
        raise UsageError("the unit cell has no symmetry that spglib can find")
    cells = frac * counts - basis[sublattice]  # [site, 3], whole numbers but for the host's own origin
    home = np.rint(cells - (cells[0] - np.rint(cells[0]))).astype(np.int64)
    size = counts[:2]
    lookup = np.empty((len(basis), *size), dtype=np.int64)
    lookup[sublattice, home[:, 0] % size[0], home[:, 1] % size[1]] = np.arange(len(frac))
    rows = []
    for rotation, shift in zip(found["rotations"], found["translations"], strict=True):
        if np.any((rotation[:2, :2] * size[None, :] / size[:, None]) % 1) or np.any(rotation[2, :2]):
            continue
        images = basis @ rotation.T + shift  # [sublattice, 3]
        to = _matching(images, basis)
        steps = np.rint(images - basis[to]).astype(np.int64)  # whole cells the basis moved
        moved = home @ rotation.T + steps[sublattice]
        for i in range(size[0]):
            for j in range(size[1]):
                rows.append(lookup[to[sublattice], (moved[:, 0] + i) % size[0], (moved[:, 1] + j) % size[1]])
    return np.unique(np.array(rows), axis=0)


def _matching(images: Floats, basis: Floats) -> Ints:
    """Which basis site each image is, up to lattice translations."""
    apart = images[:, None] - basis[None]
    apart -= np.rint(apart)
    found: Ints = np.abs(apart).sum(axis=2).argmin(axis=1)
    return found


def distances(cell: Supercell, first: Ints, second: Ints) -> tuple[Floats, Floats]:
    """Minimum-image distances and |dz| [first, second] between sites, angstrom."""
    apart = (cell.frac[second][None] - cell.frac[first][:, None]) @ cell.lattice
    plane = nearest_image(cell.lattice[:2, :2], apart[..., :2].reshape(-1, 2)).reshape(*apart.shape[:2], 2)
    dz = np.abs(apart[..., 2])
    return np.hypot(np.hypot(plane[..., 0], plane[..., 1]), dz), dz


def image_distances(
    cell: Supercell, first: int, second: Ints, cutoff: float
) -> tuple[Floats, Floats, Floats]:
    """Distances, |dz| and whether within the cutoff [second, image] of every periodic image, angstrom."""
    apart = cell.frac[second] - cell.frac[first]
    area = float(np.linalg.norm(np.cross(cell.lattice[0], cell.lattice[1])))
    reach = [int(cutoff * np.linalg.norm(cell.lattice[1 - axis]) / area) + 2 for axis in (0, 1)]
    images = np.array(
        [(i, j, 0) for i in range(-reach[0], reach[0] + 1) for j in range(-reach[1], reach[1] + 1)]
    )
    vectors = (apart[:, None] + images[None]) @ cell.lattice
    r = np.linalg.norm(vectors, axis=2)
    return r, np.abs(vectors[..., 2]), r <= cutoff
