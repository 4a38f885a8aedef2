"""`defectdb suggest`: which structures to compute next, with their files and the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import targets
from defectdb.cli.options import material_option
from defectdb.cli.terminal import emit, say

if TYPE_CHECKING:
    from defectdb.cli import Settings


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
    else:
        emit(found.frame, style or "table", floats="{:.3g}")
