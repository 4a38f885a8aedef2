"""Load sources of any format into the database, one transaction per dataset, and report what happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

from defectdb.db import Database
from defectdb.db.references import missing_references
from defectdb.db.write import Changes, compare, write_dataset
from defectdb.errors import InputDataError, UsageError
from defectdb.ingest.forces.load_configurations import load_configurations, wants_configurations
from defectdb.ingest.formats import read_sources
from defectdb.ingest.levels import level_of
from defectdb.ingest.match import MAX_DISPLACEMENT, Limits, Matched, Progress, match_structures
from defectdb.ingest.matching.host_tables import stored_hosts
from defectdb.ingest.options import Options
from defectdb.ingest.records import Host, Reject, Source
from defectdb.ingest.renaming import settle
from defectdb.ingest.report import LoadReport, counted, scatter
from defectdb.ingest.rows import dataset_rows, stacked
from defectdb.ingest.targets import EnergyCheck


def load(
    db: Database,
    sources: list[Path],
    *,
    format: str = "auto",
    name: str | None = None,
    strict: bool = False,
    dry_run: bool = False,
    any_number: bool = False,
    cutoff: float = 30.0,
    max_displacement: float = MAX_DISPLACEMENT,
    options: Options | None = None,
    progress: Progress | None = None,
    energy_zero: str = "own",
) -> list[LoadReport]:
    """Load files and folders; one report per dataset.

    Each dataset is stored in one transaction. Loading the same content again changes nothing.

    strict: any reject of any dataset is an InputDataError before anything is written, and structures whose defects are
        not the declared ones are rejects though their composition is right.
    dry_run: report without writing.
    any_number: take structures in which more is changed than point defects change.
    cutoff: periodic images of pairs up to this distance are in ``distances`` [angstrom].
    max_displacement: a structure in which an atom is farther from its site is refused [angstrom].
    options: how single formats are read.
    progress: called with (stage, done, total).
    energy_zero: what the energies of configurations with forces count from, "own" zero or free "atoms".

    Raises InputDataError for a source that cannot be read, UsageError for an impossible length, UnknownNameError for an
    unknown format.
    """
    if not 0 < cutoff <= 1000:
        raise UsageError(f"the cutoff must lie between 0 and 1000 angstrom, not {cutoff}")
    if not 0 < max_displacement <= 1000:
        raise UsageError(
            f"the largest displacement must lie between 0 and 1000 angstrom, not {max_displacement}"
        )
    limits = Limits(cutoff, max_displacement, strict, any_number)

    forces = [path for path in sources if wants_configurations(path, format, options or Options())]
    sources = [path for path in sources if path not in forces]
    if name is not None and len(forces) > 1:
        raise UsageError("--name names one dataset: give files with forces one at a time")

    def pass_over(*, write: bool) -> list[LoadReport]:
        known = {host.host_id: host for host in stored_hosts(db)}
        reports: list[LoadReport] = []
        try:
            for path in forces:
                reports.append(
                    load_configurations(
                        db, path, name=name, energy_zero=energy_zero, dry_run=not write, progress=progress
                    )
                )
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
    keys = stacked([b.structures.select("structure_id", "content_hash") for b in found.blocks], "structures")
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
        write_dataset(db, dataset_rows(source, found, rejects, limits.cutoff, level), changes)
    report = replace(_report(source, found, changes, rejects, dry_run=not write), renamed=renamed)
    if not write:
        return report
    name = source.dataset_id
    return replace(report, scatter=scatter(db, name), unreferenced=missing_references(db, dataset=name))


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
