"""Every symmetry-inequivalent placement of a list of defects on a supercell, with its multiplicity.

One defect of the rarest kind is moved to a representative of its site's orbit; what is left of the symmetry
acts on the others. A placement's canonical form is the smallest of its images that hold the representative,
so no two placements are ever compared with one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import polars as pl

from defectdb.errors import UsageError
from defectdb.query.placements.parts import WHOLE, Part
from defectdb.query.placements.supercells import Ints, Supercell
from defectdb.schema.labels import stored_defect

MAX_PLACEMENTS = 20_000_000
_BLOCK = 200_000


def site_columns(n: int) -> list[str]:
    """Names of the columns that hold the host site of each defect."""
    return [f"site_{number}" for number in range(1, n + 1)]


def replaced_element(label: str) -> str:
    """The host element whose site a defect takes. Raises UsageError for a defect that takes none."""
    element = stored_defect(label).element_from
    if element is None:
        raise UsageError(
            f"{label} stands on no host site: only vacancies and substitutions can be enumerated"
        )
    return element


def count_placements(cell: Supercell, labels: Sequence[str]) -> int:
    """Number of different placements of the defects, equivalent ones included."""
    free = Counter(cell.elements)
    total = 1
    for label, m in sorted(Counter(labels).items()):
        element = replaced_element(label)
        total *= comb(free[element], m)
        free[element] -= m
    return total


def enumerate_placements(cell: Supercell, labels: Sequence[str], part: Part = WHOLE) -> pl.DataFrame:
    """Inequivalent placements: columns ``site_1`` ... (in the order of the sorted labels), ``multiplicity``.

    Multiplicities of all parts add up to ``count_placements``, and the parts one after another are the whole. Raises
    UsageError where there are too many placements.
    """
    labels = sorted(labels)
    species = list(dict.fromkeys(sorted(labels, key=lambda label: (labels.count(label), label))))
    counts = [labels.count(label) for label in species]
    orbit: Ints = cell.permutations.min(axis=0)  # each site's orbit, named by its smallest site
    anchored: list[tuple[int, Ints]] = []
    seen: set[int] = set()
    for representative in sorted(set(orbit[cell.sites_of(replaced_element(species[0]))])):
        placements = _anchored(cell, species, counts, int(representative))
        # The anchor stands for its own orbit: no other defect of its kind in an orbit that came before.
        fresh = ~np.isin(orbit[placements[:, : counts[0]]], list(seen)).any(axis=1)
        anchored.append((int(representative), placements[fresh]))
        seen.add(int(orbit[representative]))
    low, high = part.bounds(sum(len(placements) for _, placements in anchored))
    found: list[tuple[Ints, Ints]] = [
        (np.empty((0, len(labels)), dtype=np.int64), np.empty(0, dtype=np.int64))
    ]
    for representative, placements in anchored:
        if not len(placements):
            continue
        own = slice(max(0, low), max(0, min(high, len(placements))))
        found.append(_reduced(cell, placements, counts, representative, orbit, own))
        low, high = low - len(placements), high - len(placements)
    if not any(len(placements) for _, placements in anchored):
        raise UsageError(f"the supercell {cell.name} is too small for {', '.join(labels)}")
    sites, multiplicity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    names = [label for label, m in zip(species, counts, strict=True) for _ in range(m)]
    order = np.argsort(np.array(names), kind="stable")
    columns = dict(zip(site_columns(len(labels)), sites[:, order].T, strict=True))
    return pl.DataFrame({**columns, "multiplicity": multiplicity})


def _anchored(cell: Supercell, species: Sequence[str], counts: Sequence[int], anchor: int) -> Ints:
    """Every placement [placement, defect] whose first species has one defect on the anchor site."""
    sites = [cell.sites_of(replaced_element(label)) for label in species]
    total = comb(len(sites[0]) - 1, counts[0] - 1)
    for own, m in zip(sites[1:], counts[1:], strict=True):
        total *= comb(len(own), m)
    if total > MAX_PLACEMENTS or len(cell.elements) ** sum(counts) >= 2**63:
        raise UsageError(
            f"{total} placements are too many to enumerate (limit {MAX_PLACEMENTS}); "
            "sample them: --concentration 0.05 --sample 1000"
        )
    rows = np.array([[anchor]])
    for number, (own, m) in enumerate(zip(sites, counts, strict=True)):
        choice = own[own != anchor] if number == 0 else own
        chosen = _subsets(choice, m - 1 if number == 0 else m)
        rows = np.hstack([np.repeat(rows, len(chosen), axis=0), np.tile(chosen, (len(rows), 1))])
    ordered = np.sort(rows, axis=1)
    different: Ints = rows[(ordered[:, 1:] != ordered[:, :-1]).all(axis=1)]
    return different


def _subsets(sites: Ints, m: int) -> Ints:
    """Every choice of m sites [choice, m]."""
    if m == 0:
        return np.empty((1, 0), dtype=np.int64)
    if m == 1:
        return sites[:, None]
    if m == 2:
        return np.stack([sites[i] for i in np.triu_indices(len(sites), 1)], axis=1)
    flat = np.fromiter((x for c in combinations(sites.tolist(), m) for x in c), dtype=np.int64)
    return flat.reshape(-1, m)


def _reduced(
    cell: Supercell, placements: Ints, counts: Sequence[int], anchor: int, orbit: Ints, own: slice
) -> tuple[Ints, Ints]:
    """One placement of each class of equivalent ones, the one of smallest key, and the classes' sizes.

    Of all placements in the order of their keys only those at ``own``: a class is where its smallest key is.
    """
    keys = _encode(placements, counts, len(cell.elements))
    order = np.argsort(keys, kind="stable")[own]
    kept: list[Ints] = [np.empty(0, dtype=np.int64)]
    stabilisers: list[Ints] = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(order), _BLOCK):
        at = order[start : start + _BLOCK]
        smallest, hits = _canonical(cell, placements[at], counts, anchor, orbit)
        first = smallest == keys[at]
        kept.append(smallest[first])
        stabilisers.append(hits[first])
    stabiliser = np.concatenate(stabilisers)
    sites = _decode(np.concatenate(kept), len(cell.elements), placements.shape[1])
    return sites, len(cell.permutations) // stabiliser


def _canonical(
    cell: Supercell, placements: Ints, counts: Sequence[int], anchor: int, orbit: Ints
) -> tuple[Ints, Ints]:
    """Smallest key among the images that hold the anchor site, and how many operations reach it."""
    best = np.full(len(placements), np.iinfo(np.int64).max)
    hits = np.zeros(len(placements), dtype=np.int64)
    to_anchor = [
        cell.permutations[cell.permutations[:, site] == anchor] for site in range(len(cell.elements))
    ]
    longest = max(len(found) for found in to_anchor)
    table = np.full((len(cell.elements), longest, len(cell.elements)), -1, dtype=np.int64)
    for site, found in enumerate(to_anchor):
        table[site, : len(found)] = found
    for chosen in range(counts[0]):
        for number in range(longest):
            maps = table[placements[:, chosen], number]  # [placement, site]
            images = np.take_along_axis(maps, placements, axis=1)
            valid = (orbit[placements[:, chosen]] == orbit[anchor]) & (images[:, 0] >= 0)
            keys = np.where(valid, _encode(images, counts, len(cell.elements)), np.iinfo(np.int64).max)
            hits = np.where(keys < best, 1, hits + (valid & (keys == best)))
            best = np.minimum(best, keys)
    return best, hits


def _encode(images: Ints, counts: Sequence[int], n_sites: int) -> Ints:
    """One integer per placement, the same for any order of like defects."""
    key = np.zeros(len(images), dtype=np.int64)
    start = 0
    for m in counts:
        for column in np.sort(images[:, start : start + m], axis=1).T:
            key = key * n_sites + column
        start += m
    return key


def _decode(keys: Ints, n_sites: int, n_defects: int) -> Ints:
    digits = [(keys // n_sites**power) % n_sites for power in reversed(range(n_defects))]
    return np.stack(digits, axis=1)


def sample_placements(
    cell: Supercell, labels: Sequence[str], concentration: float, n: int, seed: int
) -> tuple[list[str], pl.DataFrame]:
    """Random placements at a concentration (defects per site), the kinds as frequent as in ``labels``.

    Returns the labels and a frame like ``enumerate_placements``' without multiplicities; the same seed gives
    the same placements. Raises UsageError.
    """
    if not 0 < concentration < 1:
        raise UsageError(f"a concentration is a share of the sites, above 0 and below 1, not {concentration}")
    total = round(concentration * len(cell.elements))
    if total < 1:
        raise UsageError(f"a concentration of {concentration} leaves no defect in {len(cell.elements)} sites")
    kinds = sorted(labels[i % len(labels)] for i in range(total))
    random = np.random.default_rng(seed)
    columns = []
    taken = np.zeros((n, len(cell.elements)), dtype=bool)
    for label, m in sorted(Counter(kinds).items()):
        own = cell.sites_of(replaced_element(label))
        order = random.random((n, len(own)))
        order[taken[:, own]] = 2.0  # sites that another kind has taken come last
        if m > (order < 1).sum(axis=1).min():
            raise UsageError(f"{m} {label} do not fit on the sites of {cell.name}")
        chosen = np.sort(own[np.argsort(order, axis=1)[:, :m]], axis=1)
        np.put_along_axis(taken, chosen, True, axis=1)
        columns.append(chosen)
    sites = np.concatenate(columns, axis=1)
    return kinds, pl.DataFrame(dict(zip(site_columns(total), sites.T, strict=True)))
