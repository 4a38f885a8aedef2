"""Every structure to the host it stands on, by the source's word or by its lattice and elements."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from defectdb.errors import InputDataError
from defectdb.ingest.matching.hosts import cell_parameters, material_of, multiple, standard, supercell
from defectdb.ingest.matching.known_hosts import same_levels, same_material
from defectdb.ingest.matching.lattices import plane_matrices
from defectdb.ingest.matching.matching import element_counts
from defectdb.ingest.records import Geometries, Host, Integers, Material, Reject, Source

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


def resolve_hosts(source: Source, stored: list[Host], foreign: frozenset[str]) -> dict[tuple[str, str], Host]:
    """Hosts by base and size; the source's own are renamed where another dataset holds a different one.

    Raises InputDataError for an impossible unit cell or supercell.
    """
    by_id = {host.host_id: host for host in stored}
    materials = {host.material.material_id: host.material for host in stored}
    found = {(h.material.material_id, h.supercell): h for h in stored}
    for pristine in source.pristine:
        cell = source.unit_cells.get(pristine.base)
        if cell is not None:
            material = _kept_apart(material_of(cell), materials, source.dataset_id)
        elif pristine.base in materials:
            material = materials[pristine.base]
        else:
            continue
        host = supercell(material, pristine)
        other = by_id.get(host.host_id)
        if other is not None and host.host_id in foreign and not same_levels(host, other):
            host = replace(host, host_id=f"{host.host_id}@{source.dataset_id}")
        found[(pristine.base, host.supercell)] = host
    return found


def _kept_apart(material: Material, known: dict[str, Material], dataset_id: str) -> Material:
    """The stored material of this name if it is the same crystal; otherwise the new one under another
    name."""
    other = known.get(material.material_id)
    if other is None or same_material(material, other):
        return other or material
    return replace(material, material_id=f"{material.material_id}@{dataset_id}")


def assign(
    joined: pl.DataFrame, geometries: Geometries, source: Source, hosts: dict[tuple[str, str], Host]
) -> tuple[list[tuple[Host, Integers]], list[Reject]]:
    """Rows of ``joined`` for every host; structures without one as rejects."""
    assigned, rejects = [], []
    keys = joined.with_row_index("at").filter(pl.col("base").is_not_null())
    for (base, size), group in keys.group_by("base", "size", maintain_order=True):
        rows = group["at"].to_numpy().astype(np.int64)
        host = hosts.get((str(base), str(size)))
        if host is None:
            rejects += _unknown(joined, rows, f"host {base} {size} is not known", hosts)
        else:
            assigned.append((host, rows))
    silent = np.flatnonzero(joined["base"].is_null().to_numpy())
    if len(silent):
        materials = {h.material.material_id: h.material for h in hosts.values()}
        materials |= {b: material_of(c) for b, c in source.unit_cells.items() if b not in materials}
        chosen, lost = _recognise(joined, silent, geometries, list(hosts.values()), materials)
        assigned += chosen
        rows = joined["geometry"].gather(lost).to_numpy().astype(np.int64)
        tilted = np.array([standard(lattice) is None for lattice in geometries.lattice[rows]], dtype=bool)
        plane = "c is not perpendicular to a and b; the crystal must be periodic along a and b, the vacuum along c"
        rejects += _unknown(joined, lost[tilted], plane, hosts)
        unlike = f"no multiple of a known unit cell ({', '.join(sorted(materials)) or 'none; add --unit-cell'}) has "
        rejects += _unknown(joined, lost[~tilted], unlike + "its lattice and elements", hosts)
    return assigned, rejects


def _unknown(
    joined: pl.DataFrame, rows: Integers, what: str, hosts: dict[tuple[str, str], Host]
) -> list[Reject]:
    listing = ", ".join(sorted(h.host_id for h in hosts.values())) or "none"
    columns = ("source_path", "row", "structure_id")
    return [
        Reject(path, row, "unknown host", f"{name}: {what}; known hosts: {listing}", name)
        for path, row, name in joined[rows].select(columns).iter_rows()
    ]


def _recognise(
    joined: pl.DataFrame,
    rows: Integers,
    geometries: Geometries,
    hosts: list[Host],
    materials: dict[str, Material],
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
        host = _best_host(geometries.lattice[order[index]], counts[index], hosts, materials)
        if host is None:
            lost.append(own)
        else:
            found.setdefault(host.host_id, (host, []))[1].append(own)
    empty = np.zeros(0, dtype=np.int64)
    chosen = [(host, np.sort(np.concatenate(parts))) for host, parts in found.values()]
    return chosen, np.concatenate([empty, *lost])


def _best_host(
    lattice: np.ndarray, counts: Integers, hosts: list[Host], materials: dict[str, Material]
) -> Host | None:
    """The host of this cell with the most atoms in common: a known one, or a new multiple of a known
    material."""
    plane = standard(lattice)
    if plane is None:
        return None
    best, most = None, LEAST_OVERLAP * counts.sum()
    for host in hosts:
        overlap = np.minimum(counts, np.bincount(host.numbers, minlength=len(counts))).sum()
        if overlap > most and _same_plane(host, plane):
            best, most = host, overlap
    if best is not None:
        return best
    for material in materials.values():
        matrices = plane_matrices(material.lattice[:2, :2], plane[:2, :2])
        if not matrices:
            continue
        try:
            host = multiple(material, matrices[0])
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
