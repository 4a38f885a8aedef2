"""Build the frames of the database's tables for the structures of one host."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.ingest.formation import formation_energy
from defectdb.ingest.matching.defects import Found, joined_labels
from defectdb.ingest.matching.pairs import combinations, pair_geometry, shell_index
from defectdb.ingest.matching.site_occupation import SITE_TOLERANCE, element_counts
from defectdb.ingest.records import Geometries, Host, Integers, Note
from defectdb.ingest.targets import EnergyCheck, charges, column, complete
from defectdb.schema.labels import ELEMENTS

_NO_TARGETS = ("descriptor", "source_path", "digest", "base", "size", "declared", "row", "displacement")
HASH_VERSION = "2"  # raise it when the same files must give other rows


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Frames of the structures on one host, keyed by structure_id, how their energies compare, and remarks."""

    structures: pl.DataFrame
    defects: pl.DataFrame
    pairs: pl.DataFrame
    targets: pl.DataFrame
    energies: EnergyCheck
    notes: tuple[Note, ...] = ()


def assemble(
    host: Host,
    geometries: Geometries,
    found: Found,
    table: pl.DataFrame,
    potentials: dict[str, float],
    cutoff: float,
) -> Block:
    """Frames for accepted structures.

    ``table``, aligned with ``geometries``, holds structure_id, descriptor, source_path, digest,
    displacement and the source's numbers.
    """
    ids = table["structure_id"]
    numbers = table.drop(_NO_TARGETS, strict=False)
    counts = element_counts(geometries)
    wide = numbers.with_columns(n_defects=pl.Series(found.counts))
    charge = np.round(charges(wide))
    formation = formation_energy(column(wide, "energy"), host, counts, potentials, charge)
    targets, check = complete(wide, host, formation)
    structures = pl.DataFrame(
        {
            "structure_id": ids,
            "host_id": pl.repeat(host.host_id, len(ids), eager=True, dtype=pl.String),
            "descriptor": table["descriptor"],
            "n_defects": found.counts,
            "composition": _compositions(host, counts),
            "relaxed": table["displacement"] > SITE_TOLERANCE,
            "max_displacement": table["displacement"],
            "source_path": table["source_path"],
            "content_hash": content_hashes(table, numbers, host, potentials, cutoff),
            "defect_labels": joined_labels(found),
            "charge": charge.astype(np.int32),
        }
    )
    return Block(structures, _defects(found, ids), _pairs(host, found, ids), targets, check)


def _compositions(host: Host, counts: Integers) -> pl.Series:
    """``Mo64 S127`` for every structure: elements in the unit cell's order, then dopants by atomic number."""
    first = {int(z): i for i, z in reversed(list(enumerate(host.material.numbers)))}
    present = np.flatnonzero(counts.any(axis=0)).tolist()
    order = sorted(present, key=lambda z: (first.get(z, 999), z))
    unique, inverse = np.unique(counts[:, order], axis=0, return_inverse=True)
    symbols = [ELEMENTS[z - 1] for z in order]
    texts = [" ".join(f"{s}{n}" for s, n in zip(symbols, row, strict=True) if n) for row in unique]
    return pl.Series(texts, dtype=pl.String).gather(inverse.ravel())


def content_hashes(
    table: pl.DataFrame, numbers: pl.DataFrame, host: Host, potentials: dict[str, float], cutoff: float
) -> list[str]:
    """SHA-256 over everything that a structure's rows follow from but its name: file, row, host, potentials,
    cutoff."""
    context = repr(
        (HASH_VERSION, host.host_id, host.energy, host.e1, host.e_vbm, sorted(potentials.items()), cutoff)
    )
    context += hashlib.sha256(
        host.lattice.tobytes() + host.frac.tobytes() + host.numbers.tobytes()
    ).hexdigest()
    columns = sorted(c for c in numbers.columns if c != "structure_id")
    parts = ["digest", "descriptor", *columns]
    text = table.select(
        pl.concat_str([pl.col(c).cast(pl.String).fill_null("") for c in parts], separator="\x1f")
    ).to_series()
    seed = hashlib.sha256((context + "\x1f".join(columns)).encode())
    return [_continue(seed, line) for line in text]


def _continue(seed: hashlib._Hash, line: str) -> str:
    digest = seed.copy()
    digest.update(line.encode())
    return digest.hexdigest()


def _defects(found: Found, ids: pl.Series) -> pl.DataFrame:
    owner = np.repeat(np.arange(len(ids)), found.counts)
    starts = np.cumsum(found.counts) - found.counts
    return pl.DataFrame(
        {
            "structure_id": ids.gather(owner),
            "idx": np.arange(len(owner)) - starts[owner],
            "kind": found.kind,
            "label": found.label,
            "element_from": found.element_from,
            "element_to": found.element_to,
            "site_index": pl.Series(found.site).replace(-1, None),
            "sublattice": pl.Series(found.sublattice).replace(-1, None),
            "layer": found.layer,
            "frac_x": found.frac[:, 0], "frac_y": found.frac[:, 1], "frac_z": found.frac[:, 2],
            "x": found.place[:, 0], "y": found.place[:, 1], "z": found.place[:, 2],
        }
    )  # fmt: skip


def _pairs(host: Host, found: Found, ids: pl.Series) -> pl.DataFrame:
    group, left, right = combinations(found.counts)
    starts = np.cumsum(found.counts) - found.counts
    geometry = pair_geometry(host, found.place[left], found.place[right])
    shell = shell_index(host.material, found.sublattice[left], found.sublattice[right], geometry.inplane)
    label = pl.DataFrame({"a": found.label.gather(left), "b": found.label.gather(right)})
    return pl.DataFrame(
        {
            "structure_id": ids.gather(group),
            "defect_i": left - starts[group],
            "defect_j": right - starts[group],
            "label": label.select(pl.concat_str("a", "b", separator="-")).to_series(),
            "distance": geometry.distance,
            "distance_inplane": geometry.inplane,
            "dz": np.abs(geometry.vector[:, 2]),
            "dx_min": geometry.vector[:, 0],
            "dy_min": geometry.vector[:, 1],
            "angle": pl.Series(geometry.angle).fill_nan(None),
            "shell": pl.Series(shell).replace(0, None),
        }
    )
