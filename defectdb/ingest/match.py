"""Match the structures of one source to hosts: frames of the accepted ones, rejects for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from defectdb.ingest.frames import Block, assemble
from defectdb.ingest.matching.candidates import candidates
from defectdb.ingest.matching.closeness import overlapping
from defectdb.ingest.matching.declared import CONTRADICTION, undeclared
from defectdb.ingest.matching.defects import Extras, Found, find_defects
from defectdb.ingest.matching.host_assignment import assign, join, without_file
from defectdb.ingest.matching.placement import Placement, Placer
from defectdb.ingest.matching.plausible import too_many
from defectdb.ingest.matching.site_occupation import (
    Occupation,
    SiteGrid,
    occupy,
    same_lattice,
    select,
    site_grid,
)
from defectdb.ingest.matching.strain import nearest_supercell
from defectdb.ingest.matching.unit_cells import standard
from defectdb.ingest.readers.cif import Atoms
from defectdb.ingest.readers.electrons import MOST_CHARGE, WHOLE_CHARGE
from defectdb.ingest.records import Geometries, Host, Integers, Note, Reject, Source
from defectdb.ingest.remarks import charge_notes, strain_notes, without_negative_gaps
from defectdb.ingest.targets import charges

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
    any_number: whether structures are taken of which more is changed than point defects change.
    """

    cutoff: float = 30.0
    displacement: float = MAX_DISPLACEMENT
    strict: bool = False
    any_number: bool = False


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
            ids = set(block.structures["structure_id"])
            told = tuple(note for note in source.notes if note.structure_id in ids)
            block = replace(block, notes=(*told, *block.notes))
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
    differences = _differences(table, found, limits)
    reasons = (
        _impossible_charges(table)
        | _unlikely(table["declared"], host, found, limits)
        | differences[0]
        | reasons
    )
    good = np.setdiff1d(np.arange(table.height), list(reasons)).astype(np.int64)
    if reasons:
        found = find_defects(host, occupation.numbers[good], extras.only(good))
    accepted = table[good].drop("geometry").with_columns(displacement=occupation.displacement[good])
    accepted, notes = without_negative_gaps(accepted)
    names, own = accepted["structure_id"], select(geometries, good)
    notes += [Note(table["structure_id"][i], *why) for i, why in differences[1].items() if i not in reasons]
    notes += strain_notes(host, names, own.lattice)
    notes += charge_notes(host, names, charges(accepted))
    block = assemble(host, own, found, accepted, potentials, limits.cutoff)
    return replace(block, notes=tuple(notes)), _rejects(table, reasons)


def _rejects(table: pl.DataFrame, reasons: dict[int, tuple[str, str]]) -> list[Reject]:
    columns = table.select("source_path", "row", "structure_id")
    rejects = []
    for i, (reason, detail) in sorted(reasons.items()):
        path, row, name = columns.row(i)
        rejects.append(Reject(path, row, reason, f"{name}: {detail}", name))
    return rejects


def _differences(
    table: pl.DataFrame, found: Found, limits: Limits
) -> tuple[dict[int, tuple[str, str]], dict[int, tuple[str, str]]]:
    """Structures whose defects are not the declared ones: those to refuse, and those to note."""
    refused: dict[int, tuple[str, str]] = {}
    noted: dict[int, tuple[str, str]] = {}
    for i, why in undeclared(table["declared"], found).items():
        (refused if limits.strict or why[0] == CONTRADICTION else noted)[i] = why
    return refused, noted


def _unlikely(declared: pl.Series, host: Host, found: Found, limits: Limits) -> dict[int, tuple[str, str]]:
    """Structures that are another crystal rather than this one with defects; what is declared is believed."""
    if limits.any_number:
        return {}
    advice = "it is another crystal, or --any-number takes it as it is"
    silent = declared.is_null()
    return {
        i: ("too many defects", f"{what}: {advice}") for i, what in too_many(host, found).items() if silent[i]
    }


def _impossible_charges(table: pl.DataFrame) -> dict[int, tuple[str, str]]:
    """Structures whose charge is no whole number of elementary charges, or no point defect's."""
    values = charges(table)
    wrong = (np.abs(values - np.round(values)) > WHOLE_CHARGE) | (np.abs(values) > MOST_CHARGE)
    return {
        i: ("impossible charge", f"charge {values[i]:g}; whole numbers up to {MOST_CHARGE} are taken")
        for i in np.flatnonzero(wrong).tolist()
    }


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
        if (what := overlapping(atoms)) is not None:
            reasons[i] = ("two atoms in one place", what)
            continue
        placement = placer.place(atoms)
        if placement is None:
            reasons[i] = ("does not fit the host", _misfit(host, atoms))
            continue
        occupation.numbers[i], occupation.displacement[i] = placement.numbers, placement.displacement
        if geometries.moved is not None:  # adatoms and interstitials leave no site
            geometries.moved[start + placement.extra] = 0.0
        placed.append((i, placement))
    _relax(geometries, occupation)
    reasons = _too_far(occupation, limits) | reasons
    return reasons, Extras.of([(i, placement) for i, placement in placed if i not in reasons])


def _misfit(host: Host, atoms: Atoms) -> str:
    """Why the atoms cannot be placed on the host."""
    plane = standard(atoms.lattice)
    near = None if plane is None else nearest_supercell(plane[:2, :2], len(atoms.numbers), [host.material])
    hint = "" if near is None else f"; its lattice is {near}"
    return f"its cell or atoms are not those of {host.host_id}{hint}"


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
