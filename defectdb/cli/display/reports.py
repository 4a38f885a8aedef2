"""Print the reports of ingest: lines on stderr, a table, JSON, and the error where nothing was loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from defectdb.cli.display.terminal import say
from defectdb.errors import InputDataError
from defectdb.ingest.recognise import format_of_name, some
from defectdb.ingest.report import counted

if TYPE_CHECKING:
    from defectdb.cli import Settings
    from defectdb.ingest import LoadReport


MOST_NAMES = 12  # of files left aside that are printed


def demand_success(reports: list[LoadReport]) -> None:
    """Raises InputDataError where everything that the sources hold was rejected: that is no success."""
    if any(report.loaded + report.updated + report.unchanged for report in reports):
        return
    rejected = sum(report.n_rejected for report in reports)
    reasons = sorted({reason for report in reports for reason in report.rejected})
    listed = "" if any(report.dry_run for report in reports) else "; `defectdb rejects` lists them"
    raise InputDataError(f"nothing was loaded: {counted(rejected)} ({', '.join(reasons)}){listed}")


def narrate(settings: Settings, report: LoadReport) -> None:
    """What the table cannot say: the format recognised, differing energies, the first rejects."""
    verb = "would load" if report.dry_run else "dataset"
    say(settings, f"{verb} {report.dataset_id} (format {report.format})")
    if report.unchanged and not (report.loaded or report.updated or report.removed):
        say(settings, f"nothing changed: all {report.unchanged} structures are stored already")
    energies = report.energies
    if energies.compared:
        say(
            settings,
            f"{energies.compared} formation energies recomputed: {energies.different} differ, "
            f"largest difference {energies.largest:.2g} eV",
        )
    for example in report.energies.examples:
        say(settings, f"  {example}")
    for line in _left_aside(report.aside):
        say(settings, line)
    for name, longer in list(report.renamed.items())[:3]:
        say(settings, f"  {name} is stored as {longer}: another structure has that name")
    for reject in report.rejects[:5]:
        say(settings, f"  rejected: {reject.source_path}: {reject.reason}: {reject.detail}")
    if len(report.rejects) > 5:
        where = "" if report.dry_run else ": `defectdb rejects` lists them"
        say(settings, f"  and {len(report.rejects) - 5} more{where}")

    for sentence in report.scatter:
        say(settings, f"  scatter: {sentence}")
    for sentence in report.unreferenced:
        say(settings, f"  {sentence}")
    for kind, count in Counter(note.kind for note in report.notes).items():
        say(settings, f"  noted: {kind} ({count}); `defectdb notes` lists them")


def _left_aside(paths: tuple[str, ...]) -> Iterator[str]:
    """Lines that name the files which were not read, and why."""
    by_name = [path for path in paths if format_of_name(Path(path).name) is not None]
    unknown = [path for path in paths if format_of_name(Path(path).name) is None]
    if by_name:
        yield f"  left aside: {some(by_name)}; such files are read where they are given by name"
    if unknown:
        more = "; --json names them all" if len(unknown) > MOST_NAMES else ""
        yield f"  left aside, in no format that is known: {some(unknown, MOST_NAMES)}{more}"


def plain(report: LoadReport) -> dict[str, object]:
    """The report for JSON."""
    return {
        "dataset_id": report.dataset_id, "format": report.format, "dry_run": report.dry_run,
        "loaded": report.loaded, "updated": report.updated, "unchanged": report.unchanged,
        "removed": report.removed, "rejected": report.rejected,
        "notes": dict(Counter(note.kind for note in report.notes)), "scatter": list(report.scatter),
        "unreferenced": list(report.unreferenced),
        "left_aside": list(report.aside),
        "formation_energies": {
            "compared": report.energies.compared, "different": report.energies.different,
            "largest_difference": report.energies.largest,
        },
    }  # fmt: skip


def table(reports: list[LoadReport]) -> pl.DataFrame:
    """One row per dataset."""
    rows = [
        {"dataset": r.dataset_id, "loaded": r.loaded, "updated": r.updated, "unchanged": r.unchanged,
         "removed": r.removed, "noted": len(r.notes), "rejected": r.n_rejected,
         "reasons": ", ".join(f"{reason} ({n})" for reason, n in r.rejected.items())}
        for r in reports
    ]  # fmt: skip
    return pl.DataFrame(rows)
