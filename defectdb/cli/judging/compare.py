"""`defectdb compare`: the formula in use beside known laws, as a table and a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import labels, targets
from defectdb.cli.display.terminal import emit, say
from defectdb.cli.options import dataset_option, material_option

if TYPE_CHECKING:
    import polars as pl

    from defectdb.cli import Settings
    from defectdb.learn.judging.compare import Comparison
    from defectdb.query.figures.compare import Panel


@click.command("compare")
@click.argument("label", shell_complete=labels)
@material_option("Needed where several materials have pairs.")
@dataset_option("Only rows of this dataset; repeatable.")
@click.option(
    "--target", default="formation_energy", show_default=True, metavar="T", shell_complete=targets,
    help="formation_energy, homo_lumo_gap, homo or lumo.",
)  # fmt: skip
@click.option(
    "--images", type=click.Choice(["nearest", "sum"]), default=None,
    help="Nearest image, or lattice sum (default: what the formula was learned with).",
)  # fmt: skip
@click.option("--dz", type=float, metavar="A", help="Only the kernel that holds for this |dz| in angstrom.")
@click.option("--json", "style", flag_value="json", help="As JSON, energies in eV.")
@click.option("--csv", "style", flag_value="csv", help="As CSV, energies in eV.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw the curves and errors: .png, .pdf or .svg")  # fmt: skip
@click.pass_obj
def compare_command(
    settings: Settings, label: str, material: str | None, datasets: tuple[str, ...], target: str,
    images: str | None, dz: float | None, style: str | None, output: Path | None,
) -> None:  # fmt: skip
    """Compare a pair's formula with known laws (power law, Yukawa, Morse, RKKY ...) and with look-up tables.

    All are fitted to the same rows in the same way. Every distance is left out in turn, with all constants
    fitted anew; inner distances and the two outermost ones count apart.

    \b
    Examples:
      defectdb compare Vac_Mo-Vac_S
      defectdb compare Vac_S-Vac_S --dz 0 -o laws.png
      defectdb compare Vac_Mo-Vac_S --target homo_lumo_gap --csv
    """
    from defectdb.db import open_database
    from defectdb.db.scope import dataset_ids
    from defectdb.learn.judging.compare import as_frame, compare

    with open_database(settings.database, read_only=True) as db:
        rows = dataset_ids(db, datasets)
        found = compare(db, label, target, material, images, dz, rows)  # type: ignore[arg-type]
    if style is not None:
        emit(as_frame(found), style)
    else:
        for comparison in found:
            say(settings, f"{comparison.task.name}, {target}: {len(comparison.task.y)} structures")
            emit(_shown(as_frame([comparison], digits=4)), floats="{:.4g}")
    for comparison in found:
        say(settings, verdict(comparison))
    if output is not None:
        from defectdb.query.figures.compare import draw_comparison

        draw_comparison([_panel(comparison) for comparison in found], output)
        say(settings, f"figure in {output}")


def verdict(found: Comparison) -> str:
    """One line that says which law predicts distances best that it was not fitted to."""
    from defectdb.learn.judging.compare import DISCOVERED

    ours, best = found.discovered, found.winner
    rival = next((f for f in found.fits if f.safe and f is not best), best)
    name = "the formula in use" if best.law == DISCOVERED else best.law
    other = "the formula in use" if rival.law == DISCOVERED else rival.law
    text = (
        f"{found.task.name}: in cross-validation {name} wins, {_mev(best.errors.interior)} at inner distances "
        f"left out; next is {other}, {_mev(rival.errors.interior)}"
    )
    if best is ours:
        return text
    return f"{text}; `defectdb learn --pair {found.task.label}` may find a better formula"


def _mev(value: float) -> str:
    return f"{1000 * value:.3g} meV" if math.isfinite(value) else "undefined"


def _shown(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of the printed table, errors in meV."""
    import polars as pl

    def limit(name: str) -> pl.Expr:
        number = pl.col(name)
        text = (1000 * number).round_sig_figs(3).cast(pl.String)
        return pl.when(number.is_nan()).then(pl.lit("oscillates")).otherwise(text)

    errors = {
        "mae_train": "MAE",
        "mae_cv": "left out",
        "mae_cv_interior": "inner",
        "mae_cv_ends": "outermost",
    }
    return frame.select(
        pl.when("wins").then(pl.lit("*")).otherwise(pl.lit("")).alias(""),
        pl.when("safe").then("law").otherwise(pl.col("law") + " (not quiet)").alias("law"),
        pl.col("n_constants").alias("const"), pl.col("complexity").alias("tokens"),
        *((1000 * pl.col(name)).alias(f"{text} [meV]") for name, text in errors.items()),
        pl.col("aicc").alias("AICc"), pl.col("bic").alias("BIC"),
        limit("value_at_infinity").alias("V at inf [meV]"), limit("slope_at_infinity").alias("slope [meV/A]"),
        "formula",
    )  # fmt: skip


def _panel(found: Comparison) -> Panel:
    from defectdb.learn.judging.compare import DISCOVERED, curves
    from defectdb.learn.pairs.distance_classes import nearest
    from defectdb.query.figures.compare import Line, Panel

    task = found.task
    grid, values = curves(found)
    lines = [Line(f.law, f.errors.train, f.errors.interior, values.get(f.law)) for f in found.fits]
    window = (
        task.name.removeprefix(task.label)
        .strip()
        .replace("dz", "|Δz| ")
        .replace(">=", "≥ ")
        .replace("<", "< ")
    )
    window = f"{window} Å" if window else ""
    return Panel(task.label, task.config.target, window, nearest(task), task.y, grid, lines, DISCOVERED)
