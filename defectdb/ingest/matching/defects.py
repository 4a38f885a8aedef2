"""List the defects of structures, in canonical order, from the occupation of their sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.ingest.matching.placement import Placement
from defectdb.ingest.records import Floats, Host, Integers, Numbers
from defectdb.schema.labels import ELEMENTS, DefectKind, defect_label

ABOVE = 0.5  # angstrom beyond the outermost layer, from which an extra atom is an adatom
_ADATOM, _INTERSTITIAL = 254, 255  # "elements before" that stand for no site


@dataclass(frozen=True, slots=True, eq=False)
class Extras:
    """Atoms on no site: structure (k,), atomic number (k,), place in the host's fractional frame (k, 3)."""

    owner: Integers
    numbers: Numbers
    frac: Floats

    @staticmethod
    def of(placed: Sequence[tuple[int, Placement]]) -> Extras:
        """The extra atoms of placed structures, given with their rows."""
        return Extras(
            np.repeat([i for i, _ in placed], [len(p.extra_numbers) for _, p in placed]).astype(np.int64),
            np.concatenate([np.zeros(0, dtype=np.uint8), *(p.extra_numbers for _, p in placed)]),
            np.concatenate([np.zeros((0, 3)), *(p.extra_frac for _, p in placed)]),
        )

    def only(self, rows: Integers) -> Extras:
        """The extra atoms of these structures (sorted), renumbered in their order."""
        keep = np.isin(self.owner, rows)
        return Extras(np.searchsorted(rows, self.owner[keep]), self.numbers[keep], self.frac[keep])


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Defects of m structures, flat, ordered by structure, label, site.

    ``counts`` (m,); the others (n,): label, kind and elements as text, site and sublattice (-1 for none),
    layer, ``place`` (n, 3) [angstrom], ``frac`` (n, 3).
    """

    counts: Integers
    label: pl.Series
    kind: pl.Series
    element_from: pl.Series
    element_to: pl.Series
    site: Integers
    sublattice: Integers
    layer: pl.Series
    place: Floats
    frac: Floats


def find_defects(host: Host, occupation: Numbers, extras: Extras) -> Found:
    """Every site whose atom is not the pristine one, and every extra atom. occupation: (m, sites)."""
    structure, site = np.nonzero(occupation != host.numbers)
    before, after = host.numbers[site], occupation[structure, site]
    outside = _outside(host, extras.frac[:, 2])
    structure = np.concatenate([structure, extras.owner])
    site = np.concatenate([site, np.full(len(extras.owner), -1)])
    code = np.concatenate([before, np.where(outside != 0, _ADATOM, _INTERSTITIAL)]).astype(np.int64) * 256
    code += np.concatenate([after, extras.numbers])
    frac = np.concatenate([host.frac[site[site >= 0]], extras.frac])
    names, inverse = _named(code)
    rank = np.argsort(np.argsort([name[0] for name in names])) if names else np.zeros(0, dtype=np.int64)
    order = np.lexsort((frac[:, 0], frac[:, 1], frac[:, 2], site, rank[inverse], structure))
    level = np.concatenate([np.zeros(len(before), dtype=np.int64), outside])[order]
    inverse, site, frac = inverse[order], site[order], frac[order]
    columns = [pl.Series([name[k] for name in names], dtype=pl.String).gather(inverse) for k in range(4)]
    sublattice = np.where(site >= 0, host.sublattice[site], -1)
    layers = np.array([*host.material.layers, "middle"])[sublattice]
    layers = np.where(site >= 0, layers, np.array(["middle", "top", "bottom"])[level])
    return Found(
        counts=np.bincount(structure, minlength=len(occupation)),
        label=columns[0], kind=columns[1], element_from=columns[2], element_to=columns[3],
        site=site,
        sublattice=sublattice,
        layer=pl.Series(layers.tolist(), dtype=pl.String),
        place=frac @ host.lattice,
        frac=frac,
    )  # fmt: skip


def _outside(host: Host, heights: Floats) -> Integers:
    """1 above the crystal, -1 below it, 0 within it."""
    z, own = heights * host.lattice[2, 2], host.frac[:, 2] * host.lattice[2, 2]
    above, below = z > own.max() + ABOVE, z < own.min() - ABOVE
    return np.asarray(above.astype(np.int64) - below.astype(np.int64))


def _named(code: Integers) -> tuple[list[tuple[str, str, str | None, str | None]], Integers]:
    """label, kind, element_from, element_to of every distinct change, and which one each defect is."""
    codes, inverse = np.unique(code, return_inverse=True)
    return [_names(int(c) // 256, int(c) % 256) for c in codes], inverse


def _names(before: int, after: int) -> tuple[str, str, str | None, str | None]:
    source = None if before in (_ADATOM, _INTERSTITIAL) else ELEMENTS[before - 1]
    target = None if after == 0 else ELEMENTS[after - 1]
    if source is None:
        kind = DefectKind.ADATOM if before == _ADATOM else DefectKind.INTERSTITIAL
    else:
        kind = DefectKind.VACANCY if target is None else DefectKind.SUBSTITUTION
    return defect_label(kind, source, target), kind.value, source, target


def joined_labels(found: Found) -> pl.Series:
    """Every structure's labels, sorted and joined by '+'; '' without defects."""
    owner = np.repeat(np.arange(len(found.counts)), found.counts)
    joined = (
        pl.DataFrame({"owner": owner, "label": found.label})
        .group_by("owner", maintain_order=True)
        .agg(pl.col("label").str.join("+"))
    )
    everyone = pl.DataFrame({"owner": np.arange(len(found.counts))})
    return everyone.join(joined, on="owner", how="left", maintain_order="left")["label"].fill_null("")
