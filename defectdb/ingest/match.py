"""Match the structures of one source to hosts: frames of the accepted ones, rejects for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from defectdb.ingest.frames import Block, assemble
from defectdb.ingest.matching.candidates import candidates
from defectdb.ingest.matching.declared import CONTRADICTION, undeclared
from defectdb.ingest.matching.defects import Extras, find_defects
from defectdb.ingest.matching.host_assignment import assign, join, without_file
from defectdb.ingest.matching.placement import Placement, Placer
from defectdb.ingest.matching.site_occupation import (
    Occupation,
    SiteGrid,
    occupy,
    same_lattice,
    select,
    site_grid,
)
from defectdb.ingest.readers.cif import Atoms
from defectdb.ingest.records import Geometries, Host, Integers, Note, Reject, Source

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, how much of it is done, and how much there is (None while that is not known)."""

MAX_DISPLACEMENT = 1.0  # angstrom
SUSPICIOUS = 0.3  # share of sites that differ, beyond which another setting of the crystal is looked for


@dataclass(frozen=True, slots=True)
class Limits:
    """What a structure may be and still be loaded.

    cutoff: periodic images of pairs up to this distance count [angstrom].
    displacement: farthest that an atom may be from its site [angstrom].
    strict: whether defects other than the declared ones are refused though the composition is the same.
    """

    cutoff: float = 30.0
    displacement: float = MAX_DISPLACEMENT
    strict: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Accepted structures by host, and rejects."""

    hosts: list[Host]
    blocks: list[Block]
    rejects: list[Reject]


def match_structures(
    source: Source,
    stored: list[Host],
    foreign: frozenset[str],
    limits: Limits,
    progress: Progress | None = None,
) -> Matched:
    """Match every structure of the source to its host, batch by batch.

    ``stored`` are the database's hosts; ``foreign`` names those that other datasets' structures stand on and
    that must not change. Formation energies need a pristine energy and chemical potentials of the source's
    own: those of other calculations would be wrong. Raises InputDataError for an impossible host.
    """
    known = candidates(source, stored, foreign)
    refused = {r.structure_id for r in source.rejects if r.structure_id is not None}
    rejects, seen, blocks = list(source.rejects), set(refused), []
    used: dict[str, SiteGrid] = {}
    positions = {name: row for row, name in enumerate(source.table["structure_id"])}
    for geometries, broken in source.batches:
        joined, lone = join(source.table, positions, geometries, refused)
        assigned, unknown = assign(joined, geometries, known)
        rejects += [*broken, *lone, *unknown]
        seen |= {*geometries.ids, *(r.structure_id for r in broken if r.structure_id is not None)}
        for host, rows in assigned:
            grid = used.get(host.host_id) or site_grid(host)
            order = joined["geometry"].gather(rows).to_numpy().astype(np.int64)
            potentials = (
                {e: mu for e, (mu, _) in source.potentials.items()} if host.host_id in known.own else {}
            )
            block, lost = _match(grid, joined[rows], select(geometries, order), potentials, limits)
            rejects += lost
            if block.structures.height:
                used[host.host_id] = grid
                blocks.append(block)
        if progress is not None:
            progress("structures", len(seen), source.table.height)
    rejects += without_file(source, seen)
    return Matched([grid.host for grid in used.values()], blocks, rejects)


def _match(
    grid: SiteGrid, table: pl.DataFrame, geometries: Geometries, potentials: dict[str, float], limits: Limits
) -> tuple[Block, list[Reject]]:
    """Frames of the structures whose atoms stand on the host's sites and whose defects are those declared."""
    host, occupation = grid.host, occupy(grid, geometries)
    differing = (occupation.numbers != host.numbers).sum(axis=1)
    plain = (
        same_lattice(host, geometries.lattice)
        & (occupation.strays + occupation.doubles == 0)
        & (differing <= SUSPICIOUS * len(host.numbers))
    )
    reasons, extras = _place(host, geometries, np.flatnonzero(~plain), occupation, limits)
    found = find_defects(host, occupation.numbers, extras)
    remarks = {}
    for i, why in undeclared(table["declared"], found).items():
        if limits.strict or why[0] == CONTRADICTION:
            reasons.setdefault(i, why)
        else:
            remarks[i] = why
    columns = table.select("source_path", "row", "structure_id")
    notes = tuple(Note(table["structure_id"][i], *why) for i, why in remarks.items() if i not in reasons)
    rejects = []
    for i, (reason, detail) in sorted(reasons.items()):
        path, row, name = columns.row(i)
        rejects.append(Reject(path, row, reason, f"{name}: {detail}", name))
    good = np.setdiff1d(np.arange(table.height), list(reasons)).astype(np.int64)
    if reasons:
        found = find_defects(host, occupation.numbers[good], extras.only(good))
    accepted = table[good].drop("geometry").with_columns(displacement=occupation.displacement[good])
    block = assemble(host, select(geometries, good), found, accepted, potentials, limits.cutoff)
    return replace(block, notes=notes), rejects


def _place(
    host: Host, geometries: Geometries, rows: Integers, occupation: Occupation, limits: Limits
) -> tuple[dict[int, tuple[str, str]], Extras]:
    """Place the structures that the grid could not; fills ``occupation`` in, gives reasons for refusals."""
    reasons: dict[int, tuple[str, str]] = {}
    placer = Placer(host) if len(rows) else None
    placed: list[tuple[int, Placement]] = []
    for i in rows.tolist():
        assert placer is not None
        start, stop = geometries.offsets[i], geometries.offsets[i + 1]
        atoms = Atoms(geometries.lattice[i], geometries.numbers[start:stop], geometries.frac[start:stop])
        placement = placer.place(atoms)
        if placement is None:
            reasons[i] = ("does not fit the host", f"its cell or atoms are not those of {host.host_id}")
            continue
        occupation.numbers[i], occupation.displacement[i] = placement.numbers, placement.displacement
        if geometries.moved is not None:  # adatoms and interstitials leave no site
            geometries.moved[start + placement.extra] = 0.0
        placed.append((i, placement))
    _relax(geometries, occupation)
    reasons = _too_far(occupation, limits) | reasons
    return reasons, Extras.of([(i, placement) for i, placement in placed if i not in reasons])


def _relax(geometries: Geometries, occupation: Occupation) -> None:
    """Raise the displacements to how far the atoms moved in the relaxation, where the source tells."""
    if geometries.moved is not None and len(geometries):
        farthest = np.maximum.reduceat(geometries.moved, geometries.offsets[:-1])
        np.maximum(occupation.displacement, farthest, out=occupation.displacement)


def _too_far(occupation: Occupation, limits: Limits) -> dict[int, tuple[str, str]]:
    """Structures in which an atom is farther from its site than the limit."""
    far = np.flatnonzero(occupation.displacement > limits.displacement).tolist()
    where = [f"an atom is {occupation.displacement[i]:.2f} angstrom from its site" for i in far]
    return {
        i: ("displaced too far", f"{what}, more than {limits.displacement:g}")
        for i, what in zip(far, where, strict=True)
    }
