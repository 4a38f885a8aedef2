"""Commands that load datasets, list them, their rejects and notes, and remove them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.display.tables import table_options
from defectdb.cli.display.terminal import emit, emit_json, progress_bar, say
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings


_FILE = click.Path(path_type=Path)


@click.command("ingest")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--format",
    "format_",
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help="auto, 2dmd, vasp, ase, table, json, structure or forces.",
)
@click.option("--name", help="Name of the dataset (default: from the source).")
@click.option(
    "--only", multiple=True, metavar="DATASET", help="Only this dataset of a 2DMD archive. Repeatable."
)
@click.option("--strict", is_flag=True, help="Load nothing if anything would be rejected.")
@click.option("--any-number", is_flag=True, help="Take structures with more changes than point defects make.")
@click.option("--dry-run", is_flag=True, help="Say what would be loaded; write nothing.")
@click.option(
    "--cutoff", type=float, default=30.0, show_default=True, help="Longest image distance [angstrom]."
)
@click.option(
    "--max-displacement",
    type=float,
    default=1.0,
    show_default=True,
    help="Farthest an atom may be from its site [angstrom].",
)
@click.option(
    "--unit-cell",
    "unit_cells",
    type=_FILE,
    multiple=True,
    help="CIF or POSCAR of a host's unit cell; its name is the file's. Repeatable.",
)
@click.option("--reference", type=_FILE, help="TOML with pristine energies and chemical potentials.")
@click.option("--mapping", type=_FILE, help="TOML that says what a table's columns hold.")
@click.option(
    "--occupied",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Occupation from which a VASP level counts as occupied.",
)
@click.option("--url", help="Another address of the public archive, for SOURCE 2dmd.")
@click.option("--sha256", help="Checksum of the public archive (default: that of the first download).")
@click.option("--offline", is_flag=True, help="Take the public archive from the cache or not at all.")
@click.option(
    "--energy-zero", type=click.Choice(["own", "atoms"]), default="own", show_default=True,
    help="What energies of configurations with forces count from.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.pass_obj
def ingest_command(
    settings: Settings,
    *,
    sources: tuple[str, ...],
    format_: str,
    name: str | None,
    only: tuple[str, ...],
    strict: bool,
    any_number: bool,
    dry_run: bool,
    cutoff: float,
    max_displacement: float,
    unit_cells: tuple[Path, ...],
    reference: Path | None,
    mapping: Path | None,
    occupied: float,
    url: str | None,
    sha256: str | None,
    offline: bool,
    energy_zero: str,
    as_json: bool,
) -> None:
    """Load DFT defect structures: 2DMD archives, VASP runs, ASE files, tables, JSON, CIF and POSCAR files.

    SOURCE 2dmd is the public archive by name.

    \b
    Examples:
      defectdb ingest 2d-materials-point-defects-all.zip
      defectdb ingest runs/ --unit-cell MoS2.cif --reference energies.toml
      defectdb ingest mine.csv --mapping columns.toml --dry-run
      defectdb ingest copper.extxyz.gz --energy-zero atoms
    """
    from defectdb.cli.display.reports import demand_success, narrate, plain, table
    from defectdb.db import MEMORY, open_database
    from defectdb.ingest import Download, Options, load

    if "" in sources:
        raise UsageError("a SOURCE is empty; write . for this folder")
    if name is not None and not name.strip():
        raise UsageError("--name is empty")
    options = Options(
        mapping=mapping, unit_cells=unit_cells, reference=reference, only=only, occupied=occupied,
        download=Download(url=url, sha256=sha256, offline=offline),
    )  # fmt: skip
    new = not Path(settings.database).exists()
    place = MEMORY if dry_run and new else settings.database
    with open_database(place, create=True) as db, _progress(settings) as progress:
        reports = load(
            db,
            [Path(source) for source in sources],
            format=format_,
            name=name,
            strict=strict,
            any_number=any_number,
            dry_run=dry_run,
            cutoff=cutoff,
            max_displacement=max_displacement,
            options=options,
            progress=progress,
            energy_zero=energy_zero,
        )
    for report in reports:
        narrate(settings, report)
    if as_json:
        emit_json([plain(report) for report in reports])
    else:
        emit(table(reports))
    demand_success(reports)


@contextmanager
def _progress(settings: Settings) -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar per stage, with count, rate and time left; None where none is wanted."""
    if not settings.progress:
        yield None
        return
    with progress_bar(settings) as bar:
        tasks: dict[str, int] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield show


@click.command("datasets")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--bibtex", is_flag=True, help="References to cite, as BibTeX.")
@table_options
@click.pass_obj
def datasets_command(settings: Settings, *, as_json: bool, bibtex: bool) -> None:
    """List the loaded datasets with licence and citation.

    \b
    Examples:
      defectdb datasets
      defectdb datasets --bibtex > data.bib
    """
    from defectdb.db import open_database
    from defectdb.ingest import bibtex_entries

    with open_database(settings.database, read_only=True) as db:
        frame = db.frame(
            "SELECT dataset_id, format, n_structures, n_rejects, licence, citation, doi, source_uri, sha256, "
            "ingested_at FROM datasets ORDER BY dataset_id"
        )
    if bibtex:
        click.echo("\n\n".join(bibtex_entries(frame)))
    elif as_json:
        emit(frame, "json")
    else:
        emit(frame.drop("sha256", "source_uri"), lighter=("ingested_at", "doi", "format"))


@click.command("rejects")
@click.argument("dataset", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@table_options
@click.pass_obj
def rejects_command(settings: Settings, dataset: str | None, as_json: bool) -> None:
    """List the rows that could not be loaded, and why.

    \b
    Example:
      defectdb rejects 2dmd-low-MoS2
    """
    from defectdb.db import open_database
    from defectdb.db.write import known_dataset

    with open_database(settings.database, read_only=True) as db:
        if dataset is not None:
            known_dataset(db, dataset)
        frame = db.frame(
            'SELECT dataset_id, source_path, "row", reason, detail FROM rejects '
            "WHERE $dataset IS NULL OR dataset_id = $dataset ORDER BY ALL",
            {"dataset": dataset},
        )
    if as_json:
        emit(frame, "json")
    else:  # what is wrong comes first: a narrow terminal cuts names before it cuts reasons
        emit(
            frame.select("reason", "detail", "source_path", "row", "dataset_id"),
            lighter=("dataset_id", "row"),
        )


@click.command("notes")
@click.argument("dataset", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@table_options
@click.pass_obj
def notes_command(settings: Settings, dataset: str | None, as_json: bool) -> None:
    """List what is odd about structures that were loaded all the same.

    \b
    Example:
      defectdb notes 2dmd-high-hBN_spin_500
    """
    from defectdb.db import open_database
    from defectdb.db.write import known_dataset

    with open_database(settings.database, read_only=True) as db:
        if dataset is not None:
            known_dataset(db, dataset)
        frame = db.frame(
            "SELECT dataset_id, structure_id, note FROM notes "
            "WHERE $dataset IS NULL OR dataset_id = $dataset ORDER BY ALL",
            {"dataset": dataset},
        )
    if as_json:
        emit(frame, "json")
    else:
        emit(frame.select("note", "structure_id", "dataset_id"), lighter=("dataset_id",))


@click.command("remove")
@click.argument("dataset")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def remove_command(settings: Settings, dataset: str, as_json: bool) -> None:
    """Remove a dataset and its rows; formulas learned from it become stale.

    \b
    Example:
      defectdb remove 2dmd-low-MoS2
    """
    from defectdb.db import open_database
    from defectdb.db.write import remove_dataset

    with open_database(settings.database) as db:
        count = remove_dataset(db, dataset)
    if as_json:
        emit_json({"dataset_id": dataset, "structures": count})
    say(settings, f"removed {dataset} with {count} structures")
