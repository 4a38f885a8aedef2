"""The commands that write tables and draw figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import labels, targets
from defectdb.cli.terminal import say
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("export")
@click.argument("what", metavar="QUERY-OR-TABLE | paper")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--to", "style", metavar="FORMAT", help="latex, csv, markdown, html or parquet.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Write here (default: stdout).")  # fmt: skip
@click.pass_obj
def export_command(
    settings: Settings, what: str, folder: Path | None, style: str | None, output: Path | None
) -> None:
    """Write a table, view or query as LaTeX, CSV, Markdown, HTML or Parquet; or everything a paper needs.

    \b
    Examples:
      defectdb export formulas --to latex -o formulas.tex
      defectdb export "SELECT pair_label, r_min FROM formulas" --to markdown
      defectdb export paper paper/
    """
    if what == "paper":
        _paper(settings, folder, style, output)
        return
    if folder is not None:
        raise UsageError("only `export paper` takes a folder; name a file with -o FILE")
    from defectdb.db import open_database
    from defectdb.query.export import render, select, style_of, write

    style = style or (style_of(output) if output else "csv")
    with open_database(settings.database, read_only=True) as db:
        frame = select(db, what, style)
    if output is None:
        click.echo(render(frame, style), nl=False)
        return
    write(frame, style, output)
    say(settings, f"{frame.height} rows in {output}")


def _paper(settings: Settings, folder: Path | None, style: str | None, output: Path | None) -> None:
    if folder is None or style is not None or output is not None:
        raise UsageError("`export paper` takes a folder and no options: defectdb export paper DIR")
    from defectdb.db import open_database
    from defectdb.query.paper.paper import write_paper

    with open_database(settings.database, read_only=True) as db:
        for path in write_paper(db, folder):
            say(settings, str(path))


@click.command("plot")
@click.argument("kind", metavar="kernel | front | parity | map")
@click.argument("label", required=False, shell_complete=labels)
@click.option(
    "--target",
    default="formation_energy",
    show_default=True,
    metavar="T",
    shell_complete=targets,
    help="Property to draw.",
)
@click.option("--formula", "formula_id", type=int, metavar="ID", help="This formula, not the active one.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help=".png, .pdf or .svg")  # fmt: skip
@click.pass_obj
def plot_command(
    settings: Settings, kind: str, label: str | None, target: str, formula_id: int | None, output: Path
) -> None:
    """Draw a figure: a pair's kernel with its data, its front, a parity plot, or a map of the interaction.

    \b
    Examples:
      defectdb plot kernel Vac_Mo-Vac_S -o kernel.pdf
      defectdb plot front Vac_Mo-Vac_S -o front.png
      defectdb plot parity --target homo_lumo_gap -o parity.svg
      defectdb plot map Vac_S-Vac_S -o map.png
    """
    from defectdb.db import open_database
    from defectdb.query.figures.draw import draw

    with open_database(settings.database, read_only=True) as db:
        draw(db, kind, output, label=label, target=target, formula_id=formula_id)
    say(settings, f"figure in {output}")
