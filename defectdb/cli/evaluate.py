"""`defectdb evaluate`: predictions beside stored targets, of the active models or of models trained for the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import targets
from defectdb.cli.terminal import emit, say

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("evaluate")
@click.option(
    "--against",
    type=click.Choice(["targets"]),
    default="targets",
    expose_value=False,
    help="What to compare with: the stored targets.",
)
@click.option("--by", metavar="GROUP", help="descriptor, material or n_defects (default: several).")
@click.option("--target", metavar="T", shell_complete=targets, help="Only this target.")
@click.option("--published", "beside", is_flag=True, help="Our errors beside published ones.")
@click.option("--json", "style", flag_value="json", help="As JSON, errors in eV.")
@click.option("--csv", "style", flag_value="csv", help="As CSV, errors in eV.")
@click.pass_obj
def evaluate_command(
    settings: Settings, by: str | None, target: str | None, beside: bool, style: str | None
) -> None:
    """Compare the active models' predictions with the stored targets: mean absolute errors.

    \b
    Examples:
      defectdb evaluate
      defectdb evaluate --by descriptor --target formation_energy_per_site
      defectdb evaluate --published
    """
    import polars as pl

    from defectdb.db import open_database
    from defectdb.db.stale import stale_sentence
    from defectdb.query.evaluate import evaluate
    from defectdb.query.published import accuracy

    with open_database(settings.database, read_only=True) as db:
        if beside:
            emit(accuracy(db), style or "table")
            return
        frame = evaluate(db, by, target)
        if stale := stale_sentence(db):
            say(settings, stale)
    if style is None:
        errors = ("mae", "rmse", "max_error", "bias")
        frame = frame.with_columns(pl.col(name) * 1000 for name in errors).drop("unit")
        frame = frame.rename({name: f"{name} [meV]" for name in errors})
    emit(frame, style or "table", floats="{:.4g}")
