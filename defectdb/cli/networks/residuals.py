"""`defectdb residuals`: where a network is more accurate than the formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import targets
from defectdb.cli.display.terminal import emit, say
from defectdb.cli.options import dataset_option, material_option

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("residuals")
@click.option(
    "--target", default="formation_energy_per_site", show_default=True, shell_complete=targets, metavar="T",
    help="formation_energy, formation_energy_per_site, homo_lumo_gap, homo or lumo.",
)  # fmt: skip
@material_option("Only structures of this material.")
@dataset_option("Only structures of this dataset; repeatable.")
@click.option(
    "--most", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Rows of the list."
)
@click.option("--json", "style", flag_value="json", help="As JSON, energies in eV.")
@click.option("--csv", "style", flag_value="csv", help="As CSV, energies in eV.")
@click.pass_obj
def residuals_command(
    settings: Settings,
    target: str,
    material: str | None,
    datasets: tuple[str, ...],
    most: int,
    style: str | None,
) -> None:
    """List the pairs and triangles where a network is more accurate than the formulas: physics still to find.

    It compares the formulas in use with the network trained on what they leave (`learn --network --on-residuals`), or
    else with the one trained on the values; on structures left out of its training (`--hold-out`) where there are some.

    \b
    Examples:
      defectdb residuals
      defectdb residuals --target homo_lumo_gap --most 50 --csv
    """
    import polars as pl

    from defectdb.db import open_database
    from defectdb.db.scope import make_scope
    from defectdb.query.networks.residuals import residuals

    with open_database(settings.database, read_only=True) as db:
        frame, sentence = residuals(db, target, make_scope(db, material, datasets), most)
    say(settings, sentence)
    if style is None:
        names = ("formulas", "network", "gain", "bias")
        frame = frame.with_columns(pl.col(name) * 1000 for name in names)
        frame = frame.rename({name: f"{name} [meV]" for name in names})
    emit(frame, style or "table", floats="{:.4g}")
