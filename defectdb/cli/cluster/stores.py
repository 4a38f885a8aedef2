"""The commands that join databases and hand them to a group: merge, publish."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.display.terminal import emit, emit_json, say
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("merge")
@click.argument("sources", nargs=-1, required=True, metavar="DATABASE...")
@click.option("-o", "--output", required=True, metavar="FILE", help="The database to make, or to add to.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def merge_command(settings: Settings, sources: tuple[str, ...], output: str, as_json: bool) -> None:
    """Join databases: data sets, structures, runs, formulas and models of all of them in one file.

    What a file brings that is there already is left out, so that merging twice changes nothing. Of several active
    models of one material and target the first stays active, the others become candidates. Files that contradict
    each other are refused and nothing is written.

    \b
    Examples:
      defectdb merge MoS2.duckdb WSe2.duckdb -o all.duckdb
      defectdb merge job-*.duckdb -o all.duckdb --json
    """
    import polars as pl

    from defectdb.db import open_database
    from defectdb.db.stores.merge import merge

    if Path(output).resolve() in {Path(source).resolve() for source in sources}:
        raise UsageError(
            f"{output} is among the files to join; what it holds stays in it anyway, leave it out"
        )
    with ExitStack() as stack:
        opened = [stack.enter_context(open_database(source, read_only=True)) for source in sources]
        db = stack.enter_context(open_database(output, create=True))
        rows = [asdict(added) for added in merge(db, opened)]
        whole = db.value("SELECT count(*) FROM structures")
    if as_json:
        emit_json({"database": output, "structures": whole, "added": rows})
        return
    emit(pl.DataFrame(rows))
    say(settings, f"{whole} structures in {output}")


@click.command("publish")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="List the files as JSON.")
@click.pass_obj
def publish_command(settings: Settings, folder: Path, as_json: bool) -> None:
    """Write a read-only copy for a shared disk, a web server or an archive: DuckDB, Parquet and a description.

    The DuckDB file is in a storage version that DuckDB 1.4 and browsers read, the Parquet files carry units in their
    schemas, datapackage.json names licences, citations and hashes. An earlier copy in DIR is replaced.

    \b
    Examples:
      defectdb publish /shared/defects
      defectdb --db /shared/defects/defects.duckdb formulas
    """
    from defectdb.db import open_database
    from defectdb.query.publish import publish

    with open_database(settings.database, read_only=True) as db:
        files = publish(db, folder)
    if as_json:
        emit_json({"folder": str(folder), "files": files})
        return
    for name in files:
        click.echo(name)
    say(settings, f"{len(files)} files in {folder}")
