"""Load sources of any format into the database, one transaction per dataset, and report what happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from operator import add
from pathlib import Path

import polars as pl

from defectdb.db import Database
from defectdb.db.write import Changes, DatasetRows, compare, write_dataset
from defectdb.errors import InputDataError, UsageError
from defectdb.ingest.formats import read_sources
from defectdb.ingest.levels import level_of
from defectdb.ingest.match import MAX_DISPLACEMENT, Limits, Matched, Progress, match_structures
from defectdb.ingest.matching.host_tables import host_frames, stored_hosts
from defectdb.ingest.options import Options
from defectdb.ingest.records import Host, Note, Reject, Source
from defectdb.ingest.renaming import settle
from defectdb.ingest.targets import EnergyCheck


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of one dataset: structures counted, rejects by reason, energies recomputed, the longer
    names of structures whose own were taken, files of the sources that were left aside, notes about loaded
    structures."""

    dataset_id: str
    format: str
    loaded: int
    updated: int
    unchanged: int
    removed: int
    rejected: dict[str, int]
    energies: EnergyCheck
    dry_run: bool
    rejects: tuple[Reject, ...] = field(repr=False, default=())
    renamed: dict[str, str] = field(repr=False, default_factory=dict)
    aside: tuple[str, ...] = field(repr=False, default=())
    notes: tuple[Note, ...] = field(repr=False, default=())

    @property
    def n_rejected(self) -> int:
        """All rejects."""
        return sum(self.rejected.values())


def load(
    db: Database,
    sources: list[Path],
    *,
    format: str = "auto",
    name: str | None = None,
    strict: bool = False,
    dry_run: bool = False,
    cutoff: float = 30.0,
    max_displacement: float = MAX_DISPLACEMENT,
    options: Options | None = None,
    progress: Progress | None = None,
) -> list[LoadReport]:
    """Load files and folders; one report per dataset.

    Each dataset is stored in one transaction. Loading the same content again changes nothing. ``strict`` turns
    any reject of any dataset into an InputDataError before anything is written, and counts structures whose defects
    are not the declared ones as rejects though their composition is right; ``dry_run`` reports without
    writing. ``cutoff`` [angstrom] bounds the periodic images in ``distances``; a structure in which an atom is
    farther than ``max_displacement`` [angstrom] from its site is refused; ``options`` say how single formats
    are read. Raises InputDataError for a source that cannot be read, UsageError for an impossible length,
    UnknownNameError for an unknown format.
    """
    if not 0 < cutoff <= 1000:
        raise UsageError(f"the cutoff must lie between 0 and 1000 angstrom, not {cutoff}")
    if not 0 < max_displacement <= 1000:
        raise UsageError(
            f"the largest displacement must lie between 0 and 1000 angstrom, not {max_displacement}"
        )
    limits = Limits(cutoff, max_displacement, strict)

    def pass_over(*, write: bool) -> list[LoadReport]:
        known = {host.host_id: host for host in stored_hosts(db)}
        reports: list[LoadReport] = []
        try:
            for source in read_sources(sources, format=format, name=name, options=options or Options()):
                reports.append(
                    _load_one(db, source, known, limits, strict=strict, write=write, progress=progress)
                )
        except InputDataError as cause:
            if not (write and reports):
                raise
            done = ", ".join(report.dataset_id for report in reports)
            raise InputDataError(f"{cause}; stored before it: {done}") from cause
        return reports

    if strict and not dry_run:
        pass_over(write=False)
    return pass_over(write=not dry_run)


def _load_one(
    db: Database,
    source: Source,
    known: dict[str, Host],
    limits: Limits,
    *,
    strict: bool,
    write: bool,
    progress: Progress | None,
) -> LoadReport:
    """One dataset; its hosts join ``known``, so that later sources stand on them in a dry run too."""
    foreign = db.frame("SELECT DISTINCT host_id FROM structures WHERE dataset_id <> ?", [source.dataset_id])
    found = match_structures(source, list(known.values()), frozenset(foreign["host_id"]), limits, progress)
    found, renamed = settle(db, source, found)
    level = level_of(db, source, found.hosts)
    keys = _stack([b.structures.select("structure_id", "content_hash") for b in found.blocks], "structures")
    changes = compare(db, source.dataset_id, keys, complete=source.complete)
    collisions = [
        Reject(source.uri, None, "id in another dataset", f"{name!r} is stored with other content")
        for name in changes.foreign["structure_id"]
    ]
    rejects = [*found.rejects, *collisions]
    if strict and rejects:
        first = rejects[0]
        raise InputDataError(
            f"{counted(len(rejects))}; nothing was loaded. The first: {first.reason}: {first.detail}",
            path=first.source_path,
        )
    if not keys.height and not rejects:
        raise InputDataError("holds no structures", path=source.uri)
    if not keys.height and changes.removed.height:
        raise InputDataError(
            f"all of it was rejected ({rejects[0].reason}: {rejects[0].detail}); the {changes.removed.height} "
            "stored structures stay; `defectdb remove` takes them away", path=source.uri,
        )  # fmt: skip
    known |= {host.host_id: host for host in found.hosts}
    if write:
        if progress is not None:
            progress("writing", 0, None)
        write_dataset(db, _rows(source, found, rejects, limits.cutoff, level), changes)
    return replace(_report(source, found, changes, rejects, dry_run=not write), renamed=renamed)


def counted(rejects: int) -> str:
    """``1 reject`` or ``3 rejects``."""
    return f"{rejects} reject{'' if rejects == 1 else 's'}"


def _report(
    source: Source, found: Matched, changes: Changes, rejects: list[Reject], *, dry_run: bool
) -> LoadReport:
    return LoadReport(
        dataset_id=source.dataset_id,
        format=source.format,
        loaded=changes.new.height,
        updated=changes.updated.height,
        unchanged=changes.unchanged.height + changes.shared.height,
        removed=changes.removed.height,
        rejected=dict(sorted(Counter(r.reason for r in rejects).items())),
        energies=reduce(add, (b.energies for b in found.blocks), EnergyCheck()),
        dry_run=dry_run,
        rejects=tuple(rejects),
        aside=source.aside,
        notes=tuple(note for block in found.blocks for note in block.notes),
    )


_EMPTY: dict[str, dict[str, type[pl.DataType]]] = {
    "structures": {"structure_id": pl.String, "content_hash": pl.String},
    "defects": {"structure_id": pl.String},
    "pairs": {"structure_id": pl.String},
    "targets": {"structure_id": pl.String},
    "materials": {"material_id": pl.String},
    "material_sites": {"material_id": pl.String},
    "hosts": {"host_id": pl.String},
    "host_sites": {"host_id": pl.String},
}


def _stack(frames: list[pl.DataFrame], table: str) -> pl.DataFrame:
    """Frames of one table under one another, or an empty one with the key column."""
    return pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame(schema=_EMPTY[table])


def _rows(source: Source, found: Matched, rejects: list[Reject], cutoff: float, level: str) -> DatasetRows:
    """The frames of every table."""
    hosts = host_frames(found.hosts) if found.hosts else {
        name: _stack([], name) for name in ("materials", "material_sites", "hosts", "host_sites")
    }  # fmt: skip
    structures = _stack([b.structures for b in found.blocks], "structures").with_columns(
        dataset_id=pl.lit(source.dataset_id), density=pl.lit(source.density, dtype=pl.String)
    )
    return DatasetRows(
        dataset={
            "dataset_id": source.dataset_id,
            "name": source.name,
            "format": source.format,
            "source_uri": source.uri,
            "sha256": source.sha256,
            "licence": source.licence,
            "citation": source.citation,
            "doi": source.doi,
            "cutoff": cutoff,
            "functional": source.functional,
            "level": level,
            "ingested_at": datetime.now(UTC).replace(tzinfo=None),
        },
        structures=structures,
        defects=_stack([b.defects for b in found.blocks], "defects"),
        pairs=_stack([b.pairs for b in found.blocks], "pairs"),
        targets=_stack([b.targets for b in found.blocks], "targets"),
        rejects=_reject_frame(rejects),
        notes=pl.DataFrame(
            [(note.structure_id, note.text) for block in found.blocks for note in block.notes],
            schema={"structure_id": pl.String, "note": pl.String},
            orient="row",
        ),
        potentials=pl.DataFrame(
            [(element, mu, reference) for element, (mu, reference) in source.potentials.items()],
            schema={"element": pl.String, "mu": pl.Float64, "reference": pl.String},
            orient="row",
        ),
        **hosts,
    )


def _reject_frame(rejects: list[Reject]) -> pl.DataFrame:
    return pl.DataFrame(
        [(r.source_path, r.row, r.reason, r.detail) for r in rejects],
        schema={"source_path": pl.String, "row": pl.Int64, "reason": pl.String, "detail": pl.String},
        orient="row",
    )
