"""The commands that write tables and draw figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import labels, targets
from defectdb.cli.display.terminal import emit_json, say
from defectdb.cli.display.written import emit_table_file, file_facts
from defectdb.cli.options import dataset_option, material_option
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("export")
@click.argument("what", metavar="QUERY-OR-TABLE | paper")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@material_option("With paper: only this material (default: a section for each).")
@dataset_option("With paper: only these datasets; repeatable.")
@click.option("--to", "style", metavar="FORMAT", help="latex, csv, markdown, html or parquet.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Write here (default: stdout).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was written; with -o or paper.")
@click.pass_obj
def export_command(
    settings: Settings, what: str, folder: Path | None, material: str | None, datasets: tuple[str, ...],
    style: str | None, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a table, view or query as LaTeX, CSV, Markdown, HTML or Parquet; or everything a paper needs.

    \b
    Examples:
      defectdb export formulas --to latex -o formulas.tex
      defectdb export "SELECT pair_label, r_min FROM formulas" --to markdown
      defectdb export paper paper/ --material MoS2
    """
    if what == "paper":
        if style is not None or output is not None:
            folder = None
        _paper(settings, folder, material, datasets, as_json)
        return
    if folder is not None:
        raise UsageError("only `export paper` takes a folder; name a file with -o FILE")
    if material is not None or datasets:
        raise UsageError(
            "--material and --dataset choose what `export paper` holds; for a table write a query with WHERE"
        )
    if as_json and output is None:
        raise UsageError("--json says which file was written: name it with -o FILE; `sql --json` prints rows")
    from defectdb.db import open_database
    from defectdb.query.export import render, select, style_of, write

    style = style or (style_of(output) if output else "csv")
    with open_database(settings.database, read_only=True) as db:
        frame = select(db, what, style)
    if output is None:
        click.echo(render(frame, style), nl=False)
        return
    write(frame, style, output)
    if as_json:
        emit_table_file(output, style, frame.height)
    say(settings, f"{frame.height} rows in {output}")


def _paper(
    settings: Settings, folder: Path | None, material: str | None, datasets: tuple[str, ...], as_json: bool
) -> None:
    if folder is None:
        raise UsageError("`export paper` takes a folder, neither --to nor -o: defectdb export paper DIR")
    from defectdb.db import open_database
    from defectdb.db.scope import make_scope
    from defectdb.query.paper.accuracy import coverage_sentences, own_errors
    from defectdb.query.paper.paper import write_paper

    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, material, datasets)
        paths = []
        for path in write_paper(db, folder, scope):
            say(settings, str(path))
            paths.append(path)
        sentences = coverage_sentences(own_errors(db, scope))
    for sentence in sentences:
        say(settings, sentence)
    if as_json:
        files = [file_facts(path) for path in paths]
        emit_json({"folder": str(folder), "files": files, "remarks": list(sentences)})


@click.command("plot")
@click.argument("kind", metavar="kernel | front | model-front | parity | map")
@click.argument("label", required=False, shell_complete=labels)
@material_option()
@dataset_option("Only points of this dataset; repeatable.")
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
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was drawn.")
@click.pass_obj
def plot_command(
    settings: Settings, kind: str, label: str | None, material: str | None, datasets: tuple[str, ...],
    target: str, formula_id: int | None, output: Path, as_json: bool,
) -> None:  # fmt: skip
    """Draw a figure: a pair's kernel with its data, its front, a material's model front, a parity plot, or a map.

    \b
    Examples:
      defectdb plot kernel Vac_Mo-Vac_S -o kernel.pdf
      defectdb plot front Vac_Mo-Vac_S -o front.png
      defectdb plot model-front --material MoS2 -o lengths.png
      defectdb plot parity --target homo_lumo_gap -o parity.svg
      defectdb plot map Vac_S-Vac_S -o map.png
    """
    from defectdb.db import open_database
    from defectdb.db.scope import make_scope
    from defectdb.query.figures.draw import draw

    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, material, datasets)
        draw(db, kind, output, label=label, target=target, formula_id=formula_id, scope=scope)
    if as_json:
        about = {
            "kind": kind,
            "label": label,
            "target": target,
            "material": material,
            "datasets": scope.datasets,
        }
        emit_json(file_facts(output, **about, formula_id=formula_id))
    say(settings, f"figure in {output}")
