"""The hosts and crystals on which the structures of one source can stand."""

from __future__ import annotations

from dataclasses import dataclass, replace

from defectdb.ingest.matching.crystals import layer_in
from defectdb.ingest.matching.host_tables import same_geometry, same_height, same_levels
from defectdb.ingest.matching.supercells import supercell
from defectdb.ingest.matching.unit_cells import material_of
from defectdb.ingest.records import Host, Material, Source, UnitCell


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """A material, and its unit cell as one source gives it: with that source's vacuum and origin."""

    material: Material
    cell: Material


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a source's structures may stand on.

    ``hosts``: known supercells, the source's own first. ``declared``: hosts by the base and size that a source
    writes beside a structure. ``own``: names of the hosts whose energies the source brings. ``crystals``: unit cells
    by base, to make further supercells of.
    """

    hosts: list[Host]
    declared: dict[tuple[str, str], list[Host]]
    own: frozenset[str]
    crystals: dict[str, Crystal]


def candidates(source: Source, stored: list[Host], foreign: frozenset[str]) -> Candidates:
    """What the source's structures may stand on.

    ``stored`` are the database's hosts; ``foreign`` names those of other datasets, which must not change: a host of
    the source that differs from them gets another name. Raises InputDataError for an impossible unit cell or
    supercell.
    """
    by_id = {host.host_id: host for host in stored}
    materials = {host.material.material_id: host.material for host in stored}
    crystals = {name: Crystal(material, material) for name, material in materials.items()}
    for base, cell in source.unit_cells.items():
        crystals[base] = _crystal(cell, materials, source.dataset_id)
        materials[crystals[base].material.material_id] = crystals[base].material
    declared: dict[tuple[str, str], list[Host]] = {}
    for host in stored:
        declared.setdefault((host.material.material_id, host.supercell), []).append(host)
    own: dict[str, Host] = {}
    for pristine in source.pristine:
        crystal = crystals.get(pristine.base)
        if crystal is None:
            continue
        host = supercell(crystal.material, pristine, crystal.cell)
        host = _named(host, by_id, foreign, source.dataset_id)
        declared[(pristine.base, host.supercell)] = [host]
        own[host.host_id] = host
    hosts = [*own.values(), *(host for host in stored if host.host_id not in own)]
    return Candidates(hosts, declared, frozenset(own), crystals)


def _crystal(cell: UnitCell, known: dict[str, Material], dataset_id: str) -> Crystal:
    """The crystal of a unit cell: a known material where it is the same layer, otherwise a new one.

    A new one whose name is another crystal's is named after the dataset too.
    """
    fresh = material_of(cell)
    namesakes = sorted(known.values(), key=lambda m: not m.material_id.startswith(cell.base))
    for material in namesakes:
        as_cell = layer_in(material, fresh)
        if as_cell is not None:
            return Crystal(material, as_cell)
    if fresh.material_id in known:
        fresh = replace(fresh, material_id=f"{fresh.material_id}@{dataset_id}")
    return Crystal(fresh, fresh)


def _named(host: Host, known: dict[str, Host], foreign: frozenset[str], dataset_id: str) -> Host:
    """The host under a name that no other host has: behind the supercell may stand the cell's height or the dataset.

    A stored host of this geometry keeps its name, unless another dataset's structures stand on it with other energies.
    """
    plain = host.host_id
    names = (plain, f"{plain}-c{host.lattice[2, 2]:.4g}", f"{plain}@{dataset_id}")
    for name in names:
        other = known.get(name)
        if other is None or not same_geometry(host, other):
            continue
        if same_levels(host, other) or name not in foreign:
            return replace(host, host_id=name)
    taken = known.get(plain)
    if taken is None:
        return host
    of_height = names[1] not in known and not same_height(host, taken)
    return replace(host, host_id=names[1] if of_height else names[2])
