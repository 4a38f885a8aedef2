"""A source and the known hosts to the rows of one dataset, everything that cannot be loaded set aside as rejects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.ingest.assemble import Block, assemble, declared_labels, find_defects
from defectdb.ingest.hosts import material_of, supercell
from defectdb.ingest.known_hosts import same_levels, same_material
from defectdb.ingest.matching import Occupation, SiteGrid, occupy, same_lattice, select, site_grid
from defectdb.ingest.records import Floats, Geometries, Host, Integers, Reject, Source

_UNMATCHED = "not on the host's sites"


@dataclass(frozen=True, slots=True, eq=False)
class Normalised:
    """Accepted structures by host, and rejects."""

    hosts: list[Host]
    blocks: list[Block]
    rejects: list[Reject]


def normalise(source: Source, stored: list[Host], foreign: frozenset[str], cutoff: float) -> Normalised:
    """Match every structure of the source to its host.

    ``stored`` are the database's hosts; ``foreign`` names those that other datasets' structures stand on, which
    must not change. ``cutoff`` [angstrom] enters the content hash. Raises InputDataError for an impossible host.
    """
    joined, rejects = _join(source)
    rejects = [*source.rejects, *rejects]
    hosts = resolve_hosts(source, stored, foreign)
    potentials = {element: mu for element, (mu, _) in source.potentials.items()}
    used, blocks = [], []
    assigned, unknown = _assign(joined, source, hosts, stored)
    for host, rows in assigned:
        block, refused = _match(
            host, joined[rows], select(source.geometries, _order(joined, rows)), potentials, cutoff
        )
        rejects += refused
        if block.structures.height:
            used.append(host)
            blocks.append(block)
    return Normalised(used, blocks, [*rejects, *unknown])


def _order(joined: pl.DataFrame, rows: Integers) -> Integers:
    return np.asarray(joined["geometry"].gather(rows).to_numpy().astype(np.int64))


def _join(source: Source) -> tuple[pl.DataFrame, list[Reject]]:
    """Rows that have a structure file, with its index, path and digest; the others on either side as rejects."""
    geometries = source.geometries
    files = pl.DataFrame(
        {"structure_id": geometries.ids, "geometry": np.arange(len(geometries)),
         "source_path": geometries.paths, "digest": geometries.digests},
        schema_overrides={"structure_id": pl.String, "source_path": pl.String, "digest": pl.String},
    )  # fmt: skip
    broken = {r.source_path.rsplit("/", 1)[-1].removesuffix(".cif") for r in source.rejects if r.row is None}
    refused = {r.row for r in source.rejects}
    joined = source.table.join(files, on="structure_id", how="inner", maintain_order="left")
    fileless = source.table.join(files, on="structure_id", how="anti").filter(
        ~pl.col("structure_id").is_in(list(broken))
    )
    rowless = (
        files.join(source.table, on="structure_id", how="anti") if not refused - {None} else files.clear()
    )
    rejects = [
        Reject(source.uri, row, "no structure file", f"{name!r} has a row but no structure file")
        for name, row in fileless.select("structure_id", "row").iter_rows()
    ] + [
        Reject(path, None, "no row", f"{name!r} has a structure file but no row in the tables")
        for name, path in rowless.select("structure_id", "source_path").iter_rows()
    ]
    return joined, rejects


# ---------------------------------------------------------------- hosts


def resolve_hosts(source: Source, stored: list[Host], foreign: frozenset[str]) -> dict[tuple[str, str], Host]:
    """Hosts by base and size: those the source brings, renamed where another dataset holds a different one."""
    by_id = {host.host_id: host for host in stored}
    materials = {host.material.material_id: host.material for host in stored}
    found = {(h.material.material_id, h.supercell): h for h in stored}
    for pristine in source.pristine:
        cell = source.unit_cells.get(pristine.base)
        if cell is None:
            continue
        material = material_of(cell)
        known = materials.get(material.material_id)
        if known is not None and not same_material(material, known):
            material = replace(material, material_id=f"{pristine.base}@{source.dataset_id}")
        elif known is not None:
            material = known
        host = supercell(material, pristine)
        other = by_id.get(host.host_id)
        if other is not None and host.host_id in foreign and not same_levels(host, other):
            host = replace(host, host_id=f"{host.host_id}@{source.dataset_id}")
        found[(pristine.base, host.supercell)] = host
    return found


def _assign(
    joined: pl.DataFrame, source: Source, hosts: dict[tuple[str, str], Host], stored: list[Host]
) -> tuple[list[tuple[Host, Integers]], list[Reject]]:
    """Rows of ``joined`` for every host, by the source's word or, where it is silent, by the lattice."""
    named = joined["base"].is_not_null().to_numpy()
    assigned, rejects = [], []
    keys = joined.with_row_index("at").filter(pl.col("base").is_not_null())
    for (base, size), group in keys.group_by("base", "size", maintain_order=True):
        rows = group["at"].to_numpy().astype(np.int64)
        host = hosts.get((str(base), str(size)))
        if host is None:
            rejects += _unknown(joined, rows, f"host {base} {size}", list(hosts.values()))
        else:
            assigned.append((host, rows))
    silent = np.flatnonzero(~named)
    if len(silent):
        candidates = list(hosts.values())
        lattices = source.geometries.lattice[_order(joined, silent)]
        best = _recognise(joined, silent, source, candidates, lattices)
        assigned += [(h, silent[best == k]) for k, h in enumerate(candidates) if (best == k).any()]
        rejects += _unknown(joined, silent[best < 0], "a host of this lattice", candidates)
    return assigned, rejects


def _unknown(joined: pl.DataFrame, rows: Integers, what: str, known: list[Host]) -> list[Reject]:
    listing = ", ".join(sorted(h.host_id for h in known)) or "none"
    return [
        Reject(path, row, "unknown host", f"{what} is not known; known: {listing}")
        for path, row in joined[rows].select("source_path", "row").iter_rows()
    ]


def _recognise(
    joined: pl.DataFrame, rows: Integers, source: Source, candidates: list[Host], lattices: Floats
) -> NDArray[np.int64]:
    """Index of the host with the same lattice and the fewest differing sites, -1 where no lattice fits."""
    best = np.full(len(rows), -1)
    least = np.full(len(rows), np.iinfo(np.int64).max)
    order = _order(joined, rows)
    for k, host in enumerate(candidates):
        fits = np.flatnonzero(same_lattice(host, lattices))
        if not len(fits):
            continue
        occupation = occupy(site_grid(host), select(source.geometries, order[fits]))
        cost = (occupation.numbers != host.numbers).sum(axis=1) + 4 * (occupation.strays + occupation.doubles)
        better = cost < least[fits]
        best[fits[better]], least[fits[better]] = k, cost[better]
    return best


# ---------------------------------------------------------------- matching


def _match(
    host: Host, table: pl.DataFrame, geometries: Geometries, potentials: dict[str, float], cutoff: float
) -> tuple[Block, list[Reject]]:
    """Frames of the structures whose atoms stand on the host's sites and whose defects are those declared."""
    grid: SiteGrid = site_grid(host)
    occupation = occupy(grid, geometries)
    found = find_defects(host, occupation.numbers)
    labels = declared_labels(found)
    declared = table["declared"]
    differs = ((declared != labels) & declared.is_not_null()).fill_null(False).to_numpy()
    reasons = _reasons(host, geometries, occupation, differs, declared, labels)
    rejects = [
        Reject(table["source_path"][i], table["row"][i], reason, f"{table['structure_id'][i]}: {detail}")
        for i, (reason, detail) in reasons.items()
    ]
    good = np.setdiff1d(np.arange(table.height), list(reasons)).astype(np.int64)
    numbers = occupation.numbers[good]
    block = assemble(
        host, numbers, find_defects(host, numbers) if reasons else found, table[good].drop("geometry"),
        occupation.displacement[good], potentials, cutoff,
    )  # fmt: skip
    return block, rejects


def _reasons(
    host: Host,
    geometries: Geometries,
    occupation: Occupation,
    differs: NDArray[np.bool_],
    declared: pl.Series,
    labels: pl.Series,
) -> dict[int, tuple[str, str]]:
    """Why each refused structure is refused; only those are looped over."""
    reasons: dict[int, tuple[str, str]] = {}
    for i in np.flatnonzero(differs):
        reasons[int(i)] = (
            "other defects than declared",
            f"found {labels[int(i)] or 'none'}, declared {declared[int(i)]}",
        )
    for i in np.flatnonzero(occupation.strays + occupation.doubles > 0):
        reasons[int(i)] = (
            _UNMATCHED,
            f"{occupation.strays[i]} atoms stand on no site of {host.host_id}, {occupation.doubles[i]} share one",
        )
    for i in np.flatnonzero(~same_lattice(host, geometries.lattice)):
        reasons[int(i)] = ("other lattice", f"its cell is not that of {host.host_id}")
    return reasons
