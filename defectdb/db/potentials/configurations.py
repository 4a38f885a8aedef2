"""Configurations with energies and forces: the door through which they enter, leave and are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from defectdb.db.connection import Database
from defectdb.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class ConfigurationRows:
    """One dataset of configurations, as frames named like the tables."""

    dataset: dict[str, Any]
    configurations: pl.DataFrame
    atoms: pl.DataFrame
    targets: pl.DataFrame


def store_configurations(db: Database, rows: ConfigurationRows, *, write: bool = True) -> bool:
    """Store a dataset of configurations in one transaction, in place of the one before; whether nothing changed.

    Raises UsageError where a dataset of defects has the name.
    """
    dataset_id = rows.dataset["dataset_id"]
    stored = db.frame("SELECT format, sha256, energy_zero FROM datasets WHERE dataset_id = ?", [dataset_id])
    if stored.height and stored["format"][0] != rows.dataset["format"]:
        raise UsageError(f"dataset {dataset_id!r} holds defects; give these configurations another --name")
    if stored.height and stored.row(0)[1:] == (rows.dataset["sha256"], rows.dataset["energy_zero"]):
        return True
    if not write:
        return False
    with db.transaction():
        remove_configurations(db, dataset_id)
        db.execute("DELETE FROM datasets WHERE dataset_id = ?", [dataset_id])
        db.append("datasets", pl.DataFrame([rows.dataset]))
        db.append("configurations", rows.configurations)
        db.append("atoms", rows.atoms)
        db.append("targets", rows.targets)
    return False


def remove_configurations(db: Database, dataset_id: str) -> int:
    """Remove a dataset's configurations with their atoms and targets, in the caller's transaction; how many."""
    own = "SELECT structure_id FROM configurations WHERE dataset_id = ?"
    count = int(db.value(f"SELECT count(*) FROM ({own})", [dataset_id]))
    if count:
        db.execute(
            "UPDATE models SET status = 'stale' WHERE kind = 'potential' AND status = 'active' "
            "AND model_id IN (SELECT model_id FROM potential_shifts WHERE dataset_id = ?)",
            [dataset_id],
        )
        db.execute(
            "UPDATE formulas SET status = 'stale' WHERE status = 'active' AND role IS NOT NULL AND formula_id NOT IN ("
            "SELECT unnest([phi_id, rho_id, embedding_id]) FROM potentials JOIN models USING (model_id) "
            "WHERE models.status = 'active')"
        )
    for table in ("targets", "atoms", "configurations"):
        db.execute(f"DELETE FROM {table} WHERE structure_id IN ({own})", [dataset_id])
    return count


def known_configurations(db: Database, material_id: str) -> int:
    """How many configurations of an element there are."""
    return int(db.value("SELECT count(*) FROM configurations WHERE material_id = ?", [material_id]))


def configurations_of(
    db: Database, material_id: str, *, where: str | None = None, datasets: Sequence[str] = ()
) -> pl.DataFrame:
    """The configurations of an element with cell, atoms, forces, energy (eV) and stress (xx yy zz yz xz xy), by id.

    ``where``: SQL condition on columns of ``configurations``; ``datasets``: only these.
    """
    condition = f"AND ({where})" if where else ""
    stress = ", ".join(
        f"max(value) FILTER (target = 'stress_{p}')" for p in ("xx", "yy", "zz", "yz", "xz", "xy")
    )
    return db.frame(
        f"""
        WITH chosen AS (
            SELECT c.*, d.energy_zero FROM configurations AS c JOIN datasets AS d USING (dataset_id)
            WHERE c.material_id = $material AND (len($datasets) = 0 OR list_contains($datasets, c.dataset_id))
            {condition}
        ), numbers AS (
            SELECT structure_id, max(value) FILTER (target = 'energy') AS energy, [{stress}] AS stress
            FROM targets SEMI JOIN chosen USING (structure_id) GROUP BY structure_id
        )
        SELECT c.*, a.cell, a.positions, a.forces, n.energy, n.stress
        FROM chosen AS c JOIN atoms AS a USING (structure_id) JOIN numbers AS n USING (structure_id)
        ORDER BY c.dataset_id, c.row
        """,
        {"material": material_id, "datasets": list(datasets)},
    )
