"""The commands that propose new structures and pick stored ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import targets
from defectdb.cli.display.tables import table_options
from defectdb.cli.display.terminal import emit, say
from defectdb.cli.display.written import emit_table_file
from defectdb.cli.options import dataset_option, material_option

if TYPE_CHECKING:
    import polars as pl

    from defectdb.cli import Settings

UNITS = {"value": "eV", "distance": "A", "dz": "A", "nearest_computed": "A"}
"""Units of columns whose names in files do not tell them, for tables that are read."""


@click.command("enumerate")
@material_option("The host material; needed where several are stored.")
@dataset_option("Only hosts of this dataset; repeatable.")
@click.option("--supercell", required=True, metavar="A,B,1", help="Repeats of the unit cell, e.g. 8,8,1.")
@click.option("--defects", required=True, metavar="LABELS", help="E.g. Vac_Mo,Vac_S,Vac_S.")
@click.option("--target", metavar="T", shell_complete=targets, help="Predict this with the active model.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Only the K lowest values.")
@click.option("--where", metavar="SQL", help="A predicate over the result, e.g. 'value < 2.5'.")
@click.option("--every", is_flag=True, help="All placements, equivalent ones included.")
@click.option("--part", metavar="I/N", help="Only the I-th of N parts; one after another they are the whole.")
@click.option("--concentration", type=float, metavar="X", help="Sample at random: defects per site.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many random placements.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random placements.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help=".csv or .parquet")
@click.option("--structures", type=click.Path(path_type=Path), metavar="DIR", help="Write structure files.")
@click.option("--format", "format_", default="poscar", show_default=True, help="poscar or cif.")
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.option("--csv", "style", flag_value="csv", help="As CSV.")
@table_options
@click.pass_obj
def enumerate_command(
    settings: Settings, material: str | None, datasets: tuple[str, ...], supercell: str, defects: str,
    target: str | None, top: int | None, where: str | None, every: bool, part: str | None, concentration: float | None,
    sample: int, seed: int, output: Path | None, structures: Path | None, format_: str, style: str | None,
) -> None:  # fmt: skip
    """List every symmetry-inequivalent placement of defects, with multiplicity and predicted value [eV].

    Sites are numbered as in a stored host of that size: of several the one of low density, then the one with
    most structures.

    \b
    Examples:
      defectdb enumerate --supercell 8,8,1 --defects Vac_Mo,Vac_S,Vac_S
      defectdb enumerate --material MoS2 --supercell 8x8 --defects W_Mo --target homo
      defectdb enumerate --supercell 8x8 --defects Vac_S,Vac_S --structures next/
      defectdb enumerate --supercell 9x9 --defects Vac_S --concentration 0.02
      defectdb enumerate --supercell 8x8 --defects Vac_S,Vac_S --target homo --every --part 3/8 -o part-3.parquet
    """
    from defectdb.db import open_database
    from defectdb.db.scope import chosen_material, make_scope
    from defectdb.query.export import style_of, write
    from defectdb.query.placements.chosen import Request, candidates, stream_to_file
    from defectdb.query.placements.parts import WHOLE, parse_part
    from defectdb.query.placements.structure_files import write_structures

    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, material, datasets)
        request = Request(
            chosen_material(db, scope), supercell, defects, target, top, where, every, concentration, sample,
            seed, scope.datasets, parse_part(part) if part else WHOLE,
        )  # fmt: skip
        if every and output is not None and top is None:
            count = stream_to_file(db, request, output)
            say(settings, f"{count} placements in {output}")
            if style == "json":
                emit_table_file(output, style_of(output), count)
            return
        found = candidates(db, request)
    what = ", ".join(label if n == 1 else f"{n} {label}" for label, n in Counter(found.labels).items())
    host = f", sites of host {found.cell.host}" if found.cell.host else ""
    say(settings, f"{found.frame.height} placements of {what} in {found.cell.name}{host}")
    if structures is not None:
        paths = write_structures(found.cell, found.labels, found.sites(), structures, format_)
        say(settings, f"{len(paths)} structures in {structures}")
    if output is not None:
        about = {
            "material": request.material,
            "supercell": found.cell.name,
            "labels": found.labels,
            "target": target,
        }
        write(found.frame, style_of(output), output, about)
        if style == "json":
            emit_table_file(output, style_of(output), found.frame.height)
    else:
        emit(found.frame if style else _with_units(found.frame), style or "table")


@click.command("suggest")
@material_option("The host material; needed where several are stored.")
@click.option("--supercell", required=True, metavar="A,B,1", help="Repeats of the unit cell, e.g. 8,8,1.")
@click.option(
    "--budget", type=click.IntRange(min=1), required=True, metavar="N", help="How many calculations."
)
@click.option(
    "--target", default="formation_energy", show_default=True, metavar="T", shell_complete=targets,
    help="formation_energy, homo_lumo_gap, homo or lumo.",
)  # fmt: skip
@click.option("--structures", type=click.Path(path_type=Path), metavar="DIR", help="Write structure files.")
@click.option("--format", "format_", default="poscar", show_default=True, help="poscar or cif.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help=".csv or .parquet")
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.option("--csv", "style", flag_value="csv", help="As CSV.")
@table_options
@click.pass_obj
def suggest_command(
    settings: Settings, material: str | None, supercell: str, budget: int, target: str,
    structures: Path | None, format_: str, output: Path | None, style: str | None,
) -> None:  # fmt: skip
    """Suggest the pairs of defects whose calculation lowers the model's error most.

    Where the formulas of a front disagree and no distance near by is computed, weighted by how often the distance
    occurs among all placements. What one calculation tells about its neighbours counts, so that a batch spreads. The
    table gives the reasons.

    \b
    Examples:
      defectdb suggest --material MoS2 --supercell 8,8,1 --budget 10 --structures next/
      defectdb suggest --supercell 8x8 --budget 5 --target homo_lumo_gap --csv
    """
    from defectdb.db import open_database
    from defectdb.db.scope import chosen_material, make_scope
    from defectdb.query.export import style_of, write
    from defectdb.query.placements.structure_files import write_each
    from defectdb.query.placements.suggest import structures_of, suggest

    with open_database(settings.database, read_only=True) as db:
        chosen = chosen_material(db, make_scope(db, material))
        found = suggest(db, chosen, supercell, budget, target)
    if structures is not None:
        paths = write_each(found.cell, structures_of(found), structures, format_)
        say(settings, f"{len(paths)} structures in {structures}")
    if found.frame.height < budget:
        say(settings, f"no more than {found.frame.height} placements of two defects are not stored yet")
    if output is not None:
        write(found.frame, style_of(output), output)
        if style == "json":
            emit_table_file(output, style_of(output), found.frame.height)
    else:
        emit(found.frame if style else _with_units(found.frame), style or "table", floats="{:.3g}")


def _with_units(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its units in the names of its columns, for reading."""
    return frame.rename({name: f"{name} [{unit}]" for name, unit in UNITS.items() if name in frame.columns})


@click.command("select")
@click.argument("filters", required=False, default="", metavar="[FILTERS]")
@material_option("Only this material.")
@dataset_option()
@click.option("-c", "--columns", default="", metavar="COLUMNS", help="+gap,-n_defects or a list.")
@click.option("-s", "--sort", default="structure_id", show_default=True, metavar="COLUMN",
              help="gap, or gap- for falling values.")  # fmt: skip
@click.option("-n", "--count", is_flag=True, help="Only how many.")
@click.option("-L", "--limit", type=click.IntRange(1, 2**62), metavar="N", help="At most N rows.")
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.option("--csv", "style", flag_value="csv", help="As CSV.")
@click.pass_obj
def select_command(
    settings: Settings,
    filters: str,
    material: str | None,
    datasets: tuple[str, ...],
    columns: str,
    sort: str,
    count: bool,
    limit: int | None,
    style: str | None,
) -> None:
    """Pick stored structures by properties and numbers of defects, without SQL.

    Filters are joined by commas: n_defects=3, 2.2<gap<2.5, Vac_Mo>=1, descriptor=V2.

    \b
    Examples:
      defectdb select 'n_defects=3,0.3<gap<0.6,Vac_Mo>=1' -c +gap -s gap-
      defectdb select 'Vac_S=2' -n
    """
    from defectdb.db import open_database
    from defectdb.db.scope import make_scope
    from defectdb.query.select import select

    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, material, datasets)
        frame = select(db, filters, columns=columns, sort=sort, limit=limit, scope=scope)
    if count:
        click.echo(frame.height)
    else:
        emit(frame, style or "table")
