"""Find the host of every structure: the one its source names, or the one of its lattice and elements."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from defectdb.errors import InputDataError
from defectdb.ingest.matching.candidates import Candidates
from defectdb.ingest.matching.lattices import STRAIN, plane_matrices
from defectdb.ingest.matching.site_occupation import element_counts
from defectdb.ingest.matching.strain import nearest_supercell
from defectdb.ingest.matching.supercells import multiple
from defectdb.ingest.matching.unit_cells import LEAST_VACUUM, cell_parameters, standard, vacuum
from defectdb.ingest.readers.cif import Atoms
from defectdb.ingest.records import Floats, Geometries, Host, Integers, Reject, Source

SAME_HEIGHT = 1e-3  # relative, between the heights of two cells
LEAST_OVERLAP = 0.5  # share of atoms that a structure must have in common with its host


def join(
    table: pl.DataFrame, positions: Mapping[str, int], geometries: Geometries, refused: Collection[str]
) -> tuple[pl.DataFrame, list[Reject]]:
    """Rows of these structures in the table's order, with index, path and digest of the file; files without a
    row as rejects.

    ``positions`` is the row of every id in the table, ``refused`` are ids whose rows were rejected already.
    """
    at = np.array([positions.get(name, -1) for name in geometries.ids], dtype=np.int64)
    rejects = [
        Reject(path, None, "no row", f"{name!r} has a structure file but no row in the tables", name)
        for name, path, row in zip(geometries.ids, geometries.paths, at.tolist(), strict=True)
        if row < 0 and name not in refused
    ]
    order = np.argsort(at, kind="stable")
    order = order[at[order] >= 0]
    joined = table[at[order]].with_columns(
        pl.Series("geometry", order),
        pl.Series("source_path", geometries.paths, dtype=pl.String).gather(order),
        pl.Series("digest", geometries.digests, dtype=pl.String).gather(order),
    )
    return joined, rejects


def without_file(source: Source, seen: Collection[str]) -> list[Reject]:
    """Rows whose structure never came: neither read nor refused."""
    absent = source.table.filter(~pl.col("structure_id").is_in(list(seen)))
    return [
        Reject(source.uri, row, "no structure file", f"{name!r} has a row but no structure file", name)
        for name, row in absent.select("structure_id", "row").iter_rows()
    ]


def assign(
    joined: pl.DataFrame, geometries: Geometries, known: Candidates
) -> tuple[list[tuple[Host, Integers]], list[Reject]]:
    """Rows of ``joined`` for every host; structures without one as rejects."""
    assigned, rejects = [], []
    keys = joined.with_row_index("at").filter(pl.col("base").is_not_null())
    for (base, size), group in keys.group_by("base", "size", maintain_order=True):
        rows = group["at"].to_numpy().astype(np.int64)
        hosts = known.declared.get((str(base), str(size)))
        if hosts is None:
            rejects += _unknown(joined, rows, f"host {base} {size} is not known", known.hosts)
        else:
            order = joined["geometry"].gather(rows).to_numpy().astype(np.int64)
            assigned += _by_height(hosts, rows, geometries.lattice[order])
    silent = np.flatnonzero(joined["base"].is_null().to_numpy())
    if len(silent):
        chosen, lost = _recognise(joined, silent, geometries, known)
        assigned += chosen
        rejects += _strangers(joined, lost, geometries, known)
    return assigned, rejects


def _strangers(
    joined: pl.DataFrame, lost: Integers, geometries: Geometries, known: Candidates
) -> list[Reject]:
    """Structures on no known host, each with the reason why."""
    names = ", ".join(sorted(known.crystals)) or "none; add --unit-cell"
    rejects = []
    for row, index in zip(lost.tolist(), joined["geometry"].gather(lost).to_list(), strict=True):
        start, stop = geometries.offsets[index], geometries.offsets[index + 1]
        atoms = Atoms(geometries.lattice[index], geometries.numbers[start:stop], geometries.frac[start:stop])
        what = _why_unknown(atoms, known) or (
            f"no multiple of a known unit cell ({names}) has its lattice and elements"
        )
        rejects += _unknown(joined, np.array([row]), what, known.hosts)
    return rejects


def _why_unknown(atoms: Atoms, known: Candidates) -> str | None:
    """What is wrong with a structure's cell, None where it is merely of none of the known crystals."""
    plane = standard(atoms.lattice)
    if plane is None:
        return "c is not perpendicular to a and b; the crystal must be periodic along a and b, the vacuum along c"
    gap = vacuum(atoms.frac[:, 2], float(np.linalg.norm(atoms.lattice[2])))
    if gap < LEAST_VACUUM:
        return f"it is no layer: its atoms leave {gap:.1f} angstrom of vacuum along c; bulk crystals are not read yet"
    materials = [c.material for c in known.crystals.values() if set(c.material.numbers) & set(atoms.numbers)]
    near = nearest_supercell(plane[:2, :2], len(atoms.numbers), materials)
    return None if near is None else f"its lattice is {near}; at most {100 * STRAIN:g} % is taken"


def _by_height(hosts: list[Host], rows: Integers, lattices: Floats) -> list[tuple[Host, Integers]]:
    """Each structure's host: of several of one supercell the one whose cell is nearest to its own in height."""
    heights = np.array([host.lattice[2, 2] for host in hosts])
    nearest = np.abs(np.linalg.norm(lattices[:, 2], axis=1)[:, None] - heights).argmin(axis=1)
    return [(hosts[k], rows[nearest == k]) for k in np.unique(nearest)]


def _unknown(joined: pl.DataFrame, rows: Integers, what: str, hosts: list[Host]) -> list[Reject]:
    listing = ", ".join(sorted(h.host_id for h in hosts)) or "none"
    columns = ("source_path", "row", "structure_id")
    return [
        Reject(path, row, "unknown host", f"{name}: {what}; known hosts: {listing}", name)
        for path, row, name in joined[rows].select(columns).iter_rows()
    ]


def _recognise(
    joined: pl.DataFrame,
    rows: Integers,
    geometries: Geometries,
    known: Candidates,
) -> tuple[list[tuple[Host, Integers]], Integers]:
    """Hosts for structures that name none: one decision for all of the same cell and composition."""
    order = joined["geometry"].gather(rows).to_numpy().astype(np.int64)
    counts = element_counts(geometries)[order]
    lattices = geometries.lattice[order].reshape(-1, 9)
    distinct, which = np.unique(lattices, axis=0, return_inverse=True)
    cells = np.array([cell_parameters(lattice) for lattice in distinct.reshape(-1, 3, 3)])
    present = counts[:, counts.any(axis=0)]
    keys = np.column_stack([np.round(cells, 3)[which.ravel()], present])
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    found: dict[str, tuple[Host, list[Integers]]] = {}
    lost = []
    for k, index in enumerate(first):
        own = rows[np.flatnonzero(inverse.ravel() == k)]
        host = _best_host(geometries.lattice[order[index]], counts[index], known)
        if host is None:
            lost.append(own)
        else:
            found.setdefault(host.host_id, (host, []))[1].append(own)
    empty = np.zeros(0, dtype=np.int64)
    chosen = [(host, np.sort(np.concatenate(parts))) for host, parts in found.values()]
    return chosen, np.concatenate([empty, *lost])


def _best_host(lattice: Floats, counts: Integers, known: Candidates) -> Host | None:
    """The host of this cell with the most atoms in common: a known one, or a new multiple of a known
    material."""
    plane = standard(lattice)
    if plane is None:
        return None
    best, most = None, LEAST_OVERLAP * counts.sum()
    height = float(np.linalg.norm(lattice[2]))
    for host in sorted(known.hosts, key=lambda h: abs(h.lattice[2, 2] - height) > SAME_HEIGHT * height):
        overlap = np.minimum(counts, np.bincount(host.numbers, minlength=len(counts))).sum()
        if overlap > most and _same_plane(host, plane):
            best, most = host, overlap
    if best is not None:
        return best
    for crystal in known.crystals.values():
        matrices = plane_matrices(crystal.material.lattice[:2, :2], plane[:2, :2])
        if not matrices:
            continue
        try:
            host = multiple(crystal.material, matrices[0], cell=crystal.cell)
        except InputDataError:
            continue  # a multiple of no or too many sites is no candidate
        overlap = np.minimum(counts, np.bincount(host.numbers, minlength=len(counts))).sum()
        if overlap > most:
            best, most = host, overlap
    return best


def _same_plane(host: Host, plane: np.ndarray) -> bool:
    areas = [abs(np.linalg.det(x[:2, :2])) for x in (host.lattice, plane)]
    return abs(areas[0] - areas[1]) < 0.05 * areas[0] and bool(
        plane_matrices(plane[:2, :2], host.lattice[:2, :2])
    )
