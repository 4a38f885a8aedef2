"""Matched structures of one host to the frames of the database's tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.ingest.formation import element_changes, formation_energy
from defectdb.ingest.pairs import combinations, pair_geometry, shell_index
from defectdb.ingest.records import Floats, Host, Integers, Numbers
from defectdb.ingest.targets import EnergyCheck, complete
from defectdb.schema.labels import ELEMENTS, DefectKind, defect_label

HASH_VERSION = "1"  # raise it when the same files must give other rows


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Defects of m structures, flat, ordered by structure, label, site.

    ``counts`` (m,); the others (n,): labels, kinds and elements as text, ``site`` and ``place`` (n, 3) [angstrom].
    """

    counts: Integers
    label: pl.Series
    kind: pl.Series
    element_from: pl.Series
    element_to: pl.Series
    site: Integers
    place: Floats
    frac: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Frames of the structures on one host, keyed by structure_id; ``declared`` labels as found, sorted, joined by '+'."""

    structures: pl.DataFrame
    defects: pl.DataFrame
    pairs: pl.DataFrame
    targets: pl.DataFrame
    energies: EnergyCheck


def find_defects(host: Host, occupation: Numbers) -> Found:
    """Vacancies and substitutions: every site whose atom is not the pristine one. occupation: (m, sites)."""
    structure, site = np.nonzero(occupation != host.numbers)
    before, after = host.numbers[site].astype(np.int64), occupation[structure, site].astype(np.int64)
    codes, inverse = np.unique(before * 256 + after, return_inverse=True)
    names = [_names(int(code) // 256, int(code) % 256) for code in codes]
    rank = np.argsort(np.argsort([name[0] for name in names])) if names else np.zeros(0, dtype=np.int64)
    order = np.lexsort((site, rank[inverse], structure))
    inverse, site = inverse[order], site[order]
    columns = [pl.Series([name[k] for name in names], dtype=pl.String).gather(inverse) for k in range(4)]
    return Found(
        counts=np.bincount(structure, minlength=len(occupation)),
        label=columns[0],
        kind=columns[1],
        element_from=columns[2],
        element_to=columns[3],
        site=site,
        place=host.frac[site] @ host.lattice,
        frac=host.frac[site],
    )


def _names(before: int, after: int) -> tuple[str, str, str, str | None]:
    """label, kind, element_from, element_to."""
    source = ELEMENTS[before - 1]
    if after == 0:
        return defect_label(DefectKind.VACANCY, source, None), DefectKind.VACANCY.value, source, None
    target = ELEMENTS[after - 1]
    return (
        defect_label(DefectKind.SUBSTITUTION, source, target),
        DefectKind.SUBSTITUTION.value,
        source,
        target,
    )


def declared_labels(found: Found) -> pl.Series:
    """Every structure's labels, sorted and joined by '+'; '' without defects."""
    owner = np.repeat(np.arange(len(found.counts)), found.counts)
    joined = pl.DataFrame({"owner": owner, "label": found.label}).group_by("owner", maintain_order=True).agg(
        pl.col("label").str.join("+")
    )  # fmt: skip
    everyone = pl.DataFrame({"owner": np.arange(len(found.counts))})
    return everyone.join(joined, on="owner", how="left", maintain_order="left")["label"].fill_null("")


def assemble(
    host: Host,
    occupation: Numbers,
    found: Found,
    table: pl.DataFrame,
    displacement: Floats,
    potentials: dict[str, float],
    cutoff: float,
) -> Block:
    """Frames for structures that are accepted. ``table`` is aligned with ``occupation`` and holds structure_id,
    descriptor, source_path, digest, and the number columns."""
    ids = table["structure_id"]
    elements, added = element_changes(host, occupation)
    numbers = table.drop(
        "descriptor", "source_path", "digest", "base", "size", "declared", "row", strict=False
    )
    energy = np.asarray(
        table["energy"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        if "energy" in table.columns
        else np.full(len(ids), np.nan)
    )
    formation = formation_energy(energy, host.energy, elements, added, potentials)
    wide = numbers.with_columns(n_defects=pl.Series(found.counts))
    targets, check = complete(wide, host, formation)
    structures = pl.DataFrame(
        {
            "structure_id": ids,
            "host_id": pl.repeat(host.host_id, len(ids), eager=True, dtype=pl.String),
            "descriptor": table["descriptor"],
            "n_defects": found.counts,
            "composition": _compositions(host, elements, added),
            "max_displacement": displacement,
            "source_path": table["source_path"],
            "content_hash": content_hashes(table, numbers, host, potentials, cutoff),
        }
    )
    return Block(structures, _defects(host, found, ids), _pairs(host, found, ids), targets, check)


def _compositions(host: Host, elements: Integers, added: Integers) -> pl.Series:
    """``Mo64 S127`` for every structure: elements in the unit cell's order, then dopants by atomic number."""
    totals = added + np.array([(host.numbers == z).sum() for z in elements])
    first = {int(z): i for i, z in reversed(list(enumerate(host.material.numbers)))}
    order = sorted(range(len(elements)), key=lambda k: (first.get(int(elements[k]), 99), int(elements[k])))
    unique, inverse = np.unique(totals[:, order], axis=0, return_inverse=True)
    symbols = [ELEMENTS[int(elements[k]) - 1] for k in order]
    texts = [" ".join(f"{s}{n}" for s, n in zip(symbols, row, strict=True) if n) for row in unique]
    return pl.Series(texts, dtype=pl.String).gather(inverse.ravel())


def content_hashes(
    table: pl.DataFrame, numbers: pl.DataFrame, host: Host, potentials: dict[str, float], cutoff: float
) -> list[str]:
    """SHA-256 over everything that a structure's rows follow from: file, row, host, potentials, cutoff."""
    context = repr(
        (HASH_VERSION, host.host_id, host.energy, host.e1, host.e_vbm, sorted(potentials.items()), cutoff)
    )
    context += hashlib.sha256(
        host.lattice.tobytes() + host.frac.tobytes() + host.numbers.tobytes()
    ).hexdigest()
    columns = sorted(c for c in numbers.columns if c != "structure_id")
    parts = ["structure_id", "digest", "descriptor", *columns]
    text = table.select(
        pl.concat_str([pl.col(c).cast(pl.String).fill_null("") for c in parts], separator="\x1f")
    ).to_series()
    seed = hashlib.sha256((context + "\x1f".join(columns)).encode())
    return [_continue(seed, line) for line in text]


def _continue(seed: hashlib._Hash, line: str) -> str:
    digest = seed.copy()
    digest.update(line.encode())
    return digest.hexdigest()


def _defects(host: Host, found: Found, ids: pl.Series) -> pl.DataFrame:
    owner = np.repeat(np.arange(len(ids)), found.counts)
    starts = np.cumsum(found.counts) - found.counts
    sublattice = host.sublattice[found.site]
    return pl.DataFrame(
        {
            "structure_id": ids.gather(owner),
            "idx": np.arange(len(owner)) - starts[owner],
            "kind": found.kind,
            "label": found.label,
            "element_from": found.element_from,
            "element_to": found.element_to,
            "site_index": found.site,
            "sublattice": sublattice,
            "layer": pl.Series(host.material.layers, dtype=pl.String).gather(sublattice),
            "frac_x": found.frac[:, 0], "frac_y": found.frac[:, 1], "frac_z": found.frac[:, 2],
            "x": found.place[:, 0], "y": found.place[:, 1], "z": found.place[:, 2],
        }
    )  # fmt: skip


def _pairs(host: Host, found: Found, ids: pl.Series) -> pl.DataFrame:
    group, left, right = combinations(found.counts)
    starts = np.cumsum(found.counts) - found.counts
    geometry = pair_geometry(host, found.place[left], found.place[right])
    shell = shell_index(
        host.material, host.sublattice[found.site[left]], host.sublattice[found.site[right]], geometry.inplane
    )
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
