"""Read hosts and materials from the database's tables, and write them as frames."""

from __future__ import annotations

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.ingest.matching.unit_cells import formula_of
from defectdb.ingest.readers.cif import NUMBERS
from defectdb.ingest.records import Floats, Host, Material
from defectdb.schema.labels import ELEMENTS

_VECTORS = tuple(f"{vector}_{axis}" for vector in "abc" for axis in "xyz")
_PLACES = ("frac_x", "frac_y", "frac_z")
SAME_PLACE = 1e-3  # angstrom between sites and lattice vectors of one host in two datasets
SAME_ENERGY = 1e-9  # eV


def stored_hosts(db: Database) -> list[Host]:
    """Every host of the database, ordered by name."""
    materials = {m.material_id: m for m in _materials(db)}
    sites = db.frame("SELECT * FROM host_sites ORDER BY host_id, site_index").partition_by(
        "host_id", as_dict=True
    )
    hosts = []
    for row in db.frame("SELECT * FROM hosts ORDER BY host_id").iter_rows(named=True):
        own = sites[(row["host_id"],)]
        hosts.append(
            Host(
                host_id=row["host_id"],
                material=materials[row["material_id"]],
                supercell=row["supercell"],
                lattice=_lattice(row),
                numbers=_numbers(own),
                frac=own.select(_PLACES).to_numpy(),
                sublattice=own["sublattice"].to_numpy().astype(np.int64),
                energy=row["energy"],
                e1=row["e1"],
                e_vbm=row["e_vbm"],
                fermi=row["fermi"],
            )
        )
    return hosts


def _materials(db: Database) -> list[Material]:
    sites = db.frame("SELECT * FROM material_sites ORDER BY material_id, sublattice")
    found = []
    for row in db.frame("SELECT * FROM materials").iter_rows(named=True):
        own = sites.filter(pl.col("material_id") == row["material_id"])
        found.append(
            Material(
                material_id=row["material_id"],
                lattice=_lattice(row),
                numbers=_numbers(own),
                frac=own.select(_PLACES).to_numpy(),
                layers=tuple(own["layer"]),
                zigzag=(row["zigzag_x"], row["zigzag_y"]),
                angle_period=row["angle_period"],
            )
        )
    return found


def _lattice(row: dict[str, float]) -> Floats:
    return np.array([row[name] for name in _VECTORS]).reshape(3, 3)


def _numbers(sites: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array([NUMBERS[symbol] for symbol in sites["element"]], dtype=np.uint8)


def same_geometry(one: Host, other: Host) -> bool:
    """Whether two hosts have the same cell and the same atoms in the same places."""
    if one.numbers.tolist() != other.numbers.tolist():
        return False
    difference = one.frac - other.frac
    difference -= np.round(difference)
    return bool(
        np.abs(one.lattice - other.lattice).max() < SAME_PLACE
        and np.abs(difference @ one.lattice).max() < SAME_PLACE
    )


def same_height(one: Host, other: Host) -> bool:
    """Whether two hosts have cells of the same height."""
    return bool(abs(one.lattice[2, 2] - other.lattice[2, 2]) < SAME_PLACE)


def same_levels(one: Host, other: Host) -> bool:
    """Whether two hosts carry the same energies [eV]."""
    pairs = zip(_levels(one), _levels(other), strict=True)
    return all(a == b or (a is not None and b is not None and abs(a - b) < SAME_ENERGY) for a, b in pairs)


def _levels(host: Host) -> tuple[float | None, ...]:
    return (host.energy, host.e1, host.e_vbm, host.fermi)


def host_frames(hosts: list[Host]) -> dict[str, pl.DataFrame]:
    """Frames materials, material_sites, hosts and host_sites of these hosts."""
    materials = list({h.material.material_id: h.material for h in hosts}.values())
    return {
        "materials": pl.DataFrame([_material_row(m) for m in materials], infer_schema_length=None),
        "material_sites": pl.concat([_site_frame(m) for m in materials]),
        "hosts": pl.DataFrame(
            [_host_row(h) for h in hosts], schema_overrides=_LEVELS, infer_schema_length=None
        ),
        "host_sites": pl.concat([_host_site_frame(h) for h in hosts]),
    }


_LEVELS = {"energy": pl.Float64, "e1": pl.Float64, "e_vbm": pl.Float64, "fermi": pl.Float64}


def _vectors(lattice: Floats) -> dict[str, float]:
    return dict(zip(_VECTORS, lattice.ravel().tolist(), strict=True))


def _material_row(material: Material) -> dict[str, object]:
    return {
        "material_id": material.material_id,
        "formula": formula_of(material),
        **_vectors(material.lattice),
        "zigzag_x": material.zigzag[0],
        "zigzag_y": material.zigzag[1],
        "angle_period": material.angle_period,
        "n_sites": len(material.numbers),
    }


def _site_frame(material: Material) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "material_id": [material.material_id] * len(material.numbers),
            "sublattice": np.arange(len(material.numbers)),
            "element": [ELEMENTS[int(z) - 1] for z in material.numbers],
            "layer": list(material.layers),
            **{name: material.frac[:, k] for k, name in enumerate(_PLACES)},
        }
    )


def _host_row(host: Host) -> dict[str, object]:
    return {
        "host_id": host.host_id,
        "material_id": host.material.material_id,
        "supercell": host.supercell,
        "n_sites": len(host.numbers),
        **_vectors(host.lattice),
        **dict(zip(_LEVELS, _levels(host), strict=True)),
    }


def _host_site_frame(host: Host) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "host_id": [host.host_id] * len(host.numbers),
            "site_index": np.arange(len(host.numbers)),
            "element": [ELEMENTS[int(z) - 1] for z in host.numbers],
            "sublattice": host.sublattice,
            "layer": pl.Series(host.material.layers, dtype=pl.String).gather(host.sublattice),
            **{name: host.frac[:, k] for k, name in enumerate(_PLACES)},
        }
    )
