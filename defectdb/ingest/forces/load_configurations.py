"""Load configurations with energies and forces, one dataset a file, each in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl

from defectdb.db import Database
from defectdb.db.potentials.configurations import ConfigurationRows, store_configurations
from defectdb.errors import InputDataError, UsageError
from defectdb.ingest.forces.configurations import Configuration, check_configurations
from defectdb.ingest.forces.read_configurations import has_forces, is_xyz, read_configurations
from defectdb.ingest.options import Options
from defectdb.ingest.report import LoadReport
from defectdb.ingest.targets import EnergyCheck
from defectdb.schema.labels import ELEMENTS
from defectdb.schema.records import now

ZEROS = ("own", "atoms")
"""What energies may count from: the source's own zero, one shift for all atoms, or free atoms."""
STRESSES = ("xx", "yy", "zz", "yz", "xz", "xy")


def wants_configurations(path: Path, format: str, options: Options) -> bool:
    """Whether a source is read as configurations: by its format's name, or an xyz file with forces that comes without
    hosts to find defects in.
    """
    if format != "auto":
        return format == "forces"
    if options.unit_cells or options.reference is not None or not path.is_file() or not is_xyz(path):
        return False
    return path.suffix.lower() == ".gz" or has_forces(path)


def load_configurations(
    db: Database,
    path: Path,
    *,
    name: str | None = None,
    energy_zero: str = "own",
    dry_run: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> LoadReport:
    """Load one file as one dataset; the same content again changes nothing.

    ``energy_zero``: "atoms" where energies count from free atoms. Raises InputDataError for what no potential can be
    learned from, before anything is stored, and UsageError for an unknown zero or a name that defects have.
    """
    if energy_zero not in ZEROS:
        raise UsageError(f"unknown energy zero {energy_zero!r}; known: {', '.join(ZEROS)}")
    if not path.is_file():
        raise InputDataError("there is no such file", path=str(path))
    found = []
    for configuration in read_configurations(path):
        found.append(configuration)
        if progress is not None and len(found) % 20 == 0:
            progress("reading", len(found), None)
    check_configurations(found, str(path))
    dataset_id = name or path.name.split(".")[0]
    rows = _rows(found, dataset_id, path, energy_zero)
    unchanged = store_configurations(db, rows, write=not dry_run)
    count = len(found)
    return LoadReport(
        dataset_id,
        "forces",
        0 if unchanged else count,
        0,
        count if unchanged else 0,
        0,
        {},
        EnergyCheck(),
        dry_run,
    )


def _rows(found: list[Configuration], dataset_id: str, path: Path, energy_zero: str) -> ConfigurationRows:
    ids = [f"{dataset_id}-{c.row}" for c in found]
    element = ELEMENTS[int(found[0].numbers[0]) - 1]
    digest = hashlib.sha256(
        "".join(c.content_hash + c.split + c.config_type for c in found).encode()
    ).hexdigest()
    structures = pl.DataFrame(
        {
            "structure_id": ids, "dataset_id": [dataset_id] * len(ids), "material_id": [element] * len(ids),
            "name": [c.name or None for c in found], "config_type": [c.config_type for c in found],
            "split": [c.split for c in found], "n_atoms": [len(c.numbers) for c in found],
            "source_path": [c.path for c in found], "row": [c.row for c in found],
            "content_hash": [c.content_hash for c in found],
        },
        schema_overrides={"name": pl.String},
    )  # fmt: skip
    atoms = pl.DataFrame(
        {
            "structure_id": ids,
            "cell": [c.cell.ravel().tolist() for c in found],
            "numbers": [c.numbers.tolist() for c in found],
            "positions": [c.positions.ravel().tolist() for c in found],
            "forces": [None if c.forces is None else c.forces.ravel().tolist() for c in found],
        },
        schema_overrides={"numbers": pl.List(pl.UInt8), "forces": pl.List(pl.Float64)},
    )
    targets = [(i, "energy", c.energy, "eV", "", "energy") for i, c in zip(ids, found, strict=True)]
    targets += [
        (i, f"stress_{part}", float(value), "eV/angstrom^3", "", "stress")
        for i, c in zip(ids, found, strict=True)
        if c.stress is not None
        for part, value in zip(STRESSES, c.stress, strict=True)
    ]
    columns = ["structure_id", "target", "value", "unit", "spin", "source"]
    dataset = {
        "dataset_id": dataset_id, "name": dataset_id, "format": "forces", "source_uri": str(path), "sha256": digest,
        "cutoff": 30.0, "n_structures": len(ids), "n_rejects": 0, "ingested_at": now(), "level": dataset_id,
        "energy_zero": energy_zero,
    }  # fmt: skip
    return ConfigurationRows(dataset, structures, atoms, pl.DataFrame(targets, schema=columns, orient="row"))


def frame_of_file(path: Path, energy_zero: str = "own") -> pl.DataFrame:
    """The configurations of a file as the database would give them, without storing them.

    Raises InputDataError as loading does.
    """
    found = list(read_configurations(path))
    check_configurations(found, str(path))
    rows = _rows(found, path.name.split(".")[0], path, energy_zero)
    numbers = pl.DataFrame(
        {
            "energy": [c.energy for c in found],
            "stress": [[None] * 6 if c.stress is None else c.stress.tolist() for c in found],
        },
        schema_overrides={"stress": pl.List(pl.Float64)},
    )
    whole = pl.concat([rows.configurations, rows.atoms.drop("structure_id"), numbers], how="horizontal")
    return whole.with_columns(energy_zero=pl.lit(energy_zero))
