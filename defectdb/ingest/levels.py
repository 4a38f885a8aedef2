"""Name the level of theory of a dataset, so that energies of different levels are never averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from defectdb.db import Database
from defectdb.ingest.records import Host, Source

SAME_POTENTIAL = 1e-6  # eV, between chemical potentials of one level
SAME_PRISTINE = 5e-3  # eV per atom, between pristine energies of one level in supercells of other size


@dataclass(frozen=True, slots=True)
class Level:
    """What tells the level of theory of one dataset.

    functional: as declared, None where the source does not say.
    potentials: chemical potentials by element [eV].
    pristine: energies of the pristine hosts by material [eV per atom].
    """

    functional: str | None
    potentials: Mapping[str, float]
    pristine: Mapping[str, float]


def level_of(db: Database, source: Source, hosts: list[Host]) -> str:
    """Name of the source's level: that of stored datasets with the same energies, otherwise a new one.

    Two datasets are of one level if they declare the same functional or share chemical potentials, and contradict
    each other nowhere: not in the functional, a potential or a pristine energy. A dataset that tells none of these is
    a level of its own. A new level is named after the functional, or the dataset where that is not declared.
    """
    own = Level(
        source.functional,
        {element: mu for element, (mu, _) in source.potentials.items()},
        {h.material.material_id: h.energy / len(h.numbers) for h in hosts if h.energy is not None},
    )
    stored = _stored(db, source.dataset_id)
    fitting = [name for name, levels in stored.items() if all(comparable(own, level) for level in levels)]
    if fitting:
        before = db.frame("SELECT level FROM datasets WHERE dataset_id = ?", [source.dataset_id])["level"]
        return next((name for name in before if name in fitting), min(fitting))
    names = [source.functional] if source.functional else []
    names += [source.dataset_id, *(f"{source.dataset_id}@{n}" for n in range(2, len(stored) + 3))]
    return next(name for name in names if name not in stored)


def comparable(one: Level, other: Level) -> bool:
    """Whether energies of two datasets may be averaged."""
    functionals = {level.functional for level in (one, other)} - {None}
    if len(functionals) > 1:
        return False
    elements = one.potentials.keys() & other.potentials.keys()
    if any(abs(one.potentials[e] - other.potentials[e]) > SAME_POTENTIAL for e in elements):
        return False
    materials = one.pristine.keys() & other.pristine.keys()
    if any(abs(one.pristine[m] - other.pristine[m]) > SAME_PRISTINE for m in materials):
        return False
    return bool(elements) or one.functional == other.functional is not None


def _stored(db: Database, dataset_id: str) -> dict[str, list[Level]]:
    """What the other datasets of each level tell, by the level's name."""
    potentials: dict[str, dict[str, float]] = {}
    for name, element, mu in db.frame("SELECT dataset_id, element, mu FROM chemical_potentials").iter_rows():
        potentials.setdefault(name, {})[element] = mu
    pristine: dict[str, dict[str, float]] = {}
    for name, material, energy in db.frame(
        "SELECT DISTINCT s.dataset_id, h.material_id, h.energy / h.n_sites FROM structures AS s "
        "JOIN hosts AS h USING (host_id) WHERE h.energy IS NOT NULL"
    ).iter_rows():
        pristine.setdefault(name, {})[material] = energy
    found: dict[str, list[Level]] = {}
    for name, level, functional in db.frame(
        "SELECT dataset_id, level, functional FROM datasets WHERE dataset_id <> ? ORDER BY ALL", [dataset_id]
    ).iter_rows():
        own = Level(functional, potentials.get(name, {}), pristine.get(name, {}))
        found.setdefault(level, []).append(own)
    return found
