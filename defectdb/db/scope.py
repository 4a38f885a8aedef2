"""The material and the datasets that a command is about, checked against the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from defectdb.db.connection import Database
from defectdb.db.read import material
from defectdb.errors import UnknownNameError, UsageError

OF_DATASETS = "coalesce(list_contains(CAST($datasets AS VARCHAR[]), dataset_id), TRUE)"
"""SQL predicate over column dataset_id: rows of the datasets bound to ``$datasets``, all rows where that is NULL."""

IN_SCOPE = f"coalesce(material_id = $material, TRUE) AND {OF_DATASETS}"
"""SQL predicate over columns material_id and dataset_id: rows of a scope, with ``Scope.parameters`` bound."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows a command reads.

    ``material``: material_id, None for every material.
    ``datasets``: dataset_ids, empty for every dataset.
    """

    material: str | None = None
    datasets: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Values for ``IN_SCOPE``."""
        return {"material": self.material, "datasets": list(self.datasets) or None}


EVERYTHING = Scope()
"""The scope of a command without --material and --dataset."""


def make_scope(db: Database, material_id: str | None = None, datasets: Sequence[str] = ()) -> Scope:
    """The scope that the options --material and --dataset ask for.

    Raises UnknownNameError for names that the database does not have, UsageError where no structure of the
    material is in the datasets.
    """
    if material_id is not None:
        material(db, material_id)
    scope = Scope(material_id, dataset_ids(db, datasets))
    if material_id is not None and datasets and material_id not in (held := materials_of(db, scope.datasets)):
        raise UsageError(
            f"{', '.join(scope.datasets)} holds no structure of {material_id}, only of {', '.join(held) or 'none'}"
        )
    return scope


def dataset_ids(db: Database, names: Sequence[str]) -> tuple[str, ...]:
    """Ids of datasets given by id or by name, each once. Raises UnknownNameError, which lists the known ids."""
    if not names:
        return ()
    rows = db.frame("SELECT dataset_id, name FROM datasets ORDER BY ALL")
    ids = rows["dataset_id"].to_list()
    found: list[str] = []
    for name in names:
        named = [name] if name in ids else rows.filter(name=name)["dataset_id"].to_list()
        if not named:
            raise UnknownNameError("dataset", name, ids)
        found += named
    return tuple(dict.fromkeys(found))


def materials_of(db: Database, datasets: Sequence[str] = ()) -> list[str]:
    """Materials that have structures, in these datasets (empty: in any), sorted."""
    return db.frame(
        "SELECT DISTINCT h.material_id FROM structures AS s JOIN hosts AS h USING (host_id) "
        f"WHERE {OF_DATASETS} ORDER BY ALL",
        {"datasets": list(datasets) or None},
    )["material_id"].to_list()


def one_material(db: Database, scope: Scope, fitting: Sequence[str], what: str) -> str | None:
    """The one material that is meant among those that have ``what``; None where no material has it.

    ``fitting``: materials that have what is asked for, e.g. a kernel of a label.
    ``what``: a plural for the message, e.g. "kernels of Vac_S-Vac_S".

    Raises UsageError, which names the materials, where several fit.
    """
    if scope.material is not None:
        return scope.material if scope.material in fitting else None
    held = materials_of(db, scope.datasets) if scope.datasets else fitting
    found = sorted(set(fitting) & set(held))
    if len(found) > 1:
        raise UsageError(f"several materials have {what} ({', '.join(found)}); choose one with --material")
    return found[0] if found else None


def chosen_material(db: Database, scope: Scope) -> str:
    """The material of a scope: the one named, or the only one with structures in its datasets.

    Raises UsageError where there are several, which it names, or none.
    """
    if scope.material is not None:
        return scope.material
    found = one_material(db, scope, materials_of(db, scope.datasets), "structures")
    if found is None:
        raise UsageError("the database holds no structures; `defectdb ingest` loads some")
    return found


def one_level(db: Database, scope: Scope, target: str = "formation_energy") -> str | None:
    """The level of theory of a scope's structures that have the target; None where none has it.

    Raises UsageError where they are of several levels, whose energies must not be averaged: it names the datasets of
    each.
    """
    rows = db.frame(
        "SELECT coalesce(b.level, dataset_id) AS level, string_agg(DISTINCT dataset_id, ', ' ORDER BY dataset_id) "
        "FROM structures AS s JOIN hosts USING (host_id) JOIN datasets AS b USING (dataset_id) "
        f"WHERE {IN_SCOPE} AND s.structure_id IN (SELECT structure_id FROM targets WHERE target = $target) "
        "GROUP BY ALL ORDER BY ALL",
        {**scope.parameters(), "target": target},
    ).rows()
    if len(rows) > 1:
        listed = "; ".join(datasets for _, datasets in rows)
        raise UsageError(
            f"{scope.material or 'the material'} has data of {len(rows)} levels of theory (other functionals, "
            "chemical potentials or pristine energies), whose energies cannot be averaged; choose with --dataset "
            f"among: {listed}"
        )
    return rows[0][0] if rows else None
