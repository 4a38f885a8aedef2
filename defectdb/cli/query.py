"""The commands that predict and run SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from defectdb.cli.completion import targets
from defectdb.cli.display.tables import table_options
from defectdb.cli.display.terminal import emit, say
from defectdb.cli.display.written import emit_table_file
from defectdb.cli.options import dataset_option, material_option
from defectdb.errors import InputDataError, UsageError

if TYPE_CHECKING:
    import polars as pl

    from defectdb.cli import Settings
    from defectdb.db import Database
    from defectdb.db.scope import Scope


@click.command("predict")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--target",
    default="formation_energy_per_site",
    show_default=True,
    metavar="T",
    shell_complete=targets,
    help="formation_energy, formation_energy_per_site, homo_lumo_gap, homo or lumo.",
)
@material_option("Only stored structures of this material.")
@dataset_option("Only stored structures of this dataset; repeatable.")
@click.option("--model", "model_id", type=int, metavar="ID", help="This model, not the active one.")
@click.option("--network", is_flag=True, help="By the networks in use, not by formulas.")
@click.option("--network-id", type=int, metavar="ID", help="This network, not those in use.")
@click.option(
    "--on-residuals", is_flag=True, help="With --network: by formulas and the network of what they leave."
)
@click.option("--format", "format_", default="auto", show_default=True, help="Format of the sources.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help=".csv or .parquet")
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.option("--csv", "style", flag_value="csv", help="As CSV.")
@table_options
@click.pass_obj
def predict_command(
    settings: Settings, sources: tuple[str, ...], target: str, material: str | None, datasets: tuple[str, ...],
    model_id: int | None, network: bool, network_id: int | None, on_residuals: bool, format_: str, output: Path | None,
    style: str | None,
) -> None:  # fmt: skip
    """Predict a target for new structures (CIF, POSCAR, archives) or, without SOURCE, every stored one.

    Values are in eV; they are empty where a formula is missing.

    \b
    Examples:
      defectdb predict some.cif --target formation_energy_per_site
      defectdb predict --target homo_lumo_gap --output predictions.parquet
      defectdb predict new.zip --network -o predictions.csv
    """
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise UsageError(f"unknown file format {output.suffix!r}; try .csv or .parquet")
    if sources and (material is not None or datasets):
        raise UsageError(
            "--material and --dataset choose among stored structures; they do not go with SOURCE"
        )
    asked = _Asked(target, material, datasets, sources, format_)
    if network or network_id is not None or on_residuals:
        if model_id is not None:
            raise UsageError("--model is a model of formulas, not a network; write --network-id ID")
        from defectdb.learn.network.prediction import COLUMNS as NETWORK_COLUMNS

        frame = _by_network(settings, asked, network_id, on_residuals=on_residuals)
        _print_predictions(settings, asked, frame, NETWORK_COLUMNS, output, style)
        return
    from defectdb.query.predict import COLUMNS

    _print_predictions(settings, asked, _by_formulas(settings, asked, model_id), COLUMNS, output, style)


@dataclass(frozen=True)
class _Asked:
    """What to predict, and for which structures: stored ones of a scope, or those of files."""

    target: str
    material: str | None
    datasets: tuple[str, ...]
    sources: tuple[str, ...]
    format: str


def _by_formulas(settings: Settings, asked: _Asked, model_id: int | None) -> pl.DataFrame:
    """Predictions of the models in use or the one named; what has none is told on stderr."""
    from defectdb.db import open_database
    from defectdb.db.scope import EVERYTHING, make_scope
    from defectdb.db.stale import stale_sentence
    from defectdb.query.predict import demand_model, narrate_gaps, predict

    target = asked.target
    with open_database(settings.database, read_only=True) as db:
        if asked.sources:
            demand_model(db, target, model_id)
            with _loaded(settings, db, asked, model_id) as copy:
                frame = predict(copy, target, model_id)
                _say_unpredicted(settings, copy, frame, EVERYTHING)
        else:
            scope = make_scope(db, asked.material, asked.datasets)
            frame = predict(db, target, model_id, scope)
            _say_unpredicted(settings, db, frame, scope)
        stale = stale_sentence(db, target.removesuffix("_per_site"))
    if stale:
        say(settings, stale)
    if sentence := narrate_gaps(frame):
        say(settings, sentence)
    return frame


def _by_network(
    settings: Settings, asked: _Asked, network_id: int | None, *, on_residuals: bool
) -> pl.DataFrame:
    """Predictions of the networks in use or the one named; what has none is told on stderr."""
    from defectdb.db import open_database
    from defectdb.db.models.networks import stored_networks
    from defectdb.db.scope import EVERYTHING, make_scope
    from defectdb.learn.network.prediction import predict_networks
    from defectdb.query.predict import narrate_unknown, narrate_unpredicted

    target = asked.target
    with open_database(settings.database, read_only=True) as db:
        if asked.sources:
            stored_networks(db, target, network_id, on_residuals=on_residuals)
            with _loaded(settings, db, asked, None) as copy:
                frame = predict_networks(copy, target, network_id, networks_of=db, on_residuals=on_residuals)
                sentences = narrate_unpredicted(copy, frame, EVERYTHING)
        else:
            scope = make_scope(db, asked.material, asked.datasets)
            frame = predict_networks(db, target, network_id, scope, on_residuals=on_residuals)
            sentences = narrate_unpredicted(db, frame, scope)
    for sentence in (*sentences, *narrate_unknown(frame)):
        say(settings, sentence)
    return frame


def _print_predictions(
    settings: Settings, asked: _Asked, frame: pl.DataFrame, columns: tuple[str, ...], output: Path | None,
    style: str | None,
) -> None:  # fmt: skip
    """Predictions on stdout, or in the file."""
    if output is None:
        lighter = ("model_id", "n_defects", "target")  # a narrow terminal keeps the interval
        shown = frame if style == "json" else frame.select(columns)
        emit(shown, style or "table", lighter=lighter)
    else:
        from defectdb.query.output_file import write_frame

        kind = "model" if "model_id" in columns else "network"
        used = sorted(set(frame[f"{kind}_id"].drop_nulls().to_list()))
        write_frame(
            frame.select(columns),
            output,
            {"target": asked.target, f"{kind}s": used, "material": asked.material},
        )
        if style == "json":
            emit_table_file(output, output.suffix[1:], frame.height)
        say(settings, f"{frame.height} predictions in {output}")


@contextmanager
def _loaded(settings: Settings, db: Database, asked: _Asked, model_id: int | None) -> Iterator[Database]:
    """A copy of the database that holds its hosts and formulas and, of structures, those of the files alone."""
    from defectdb.db.scratch import scratch
    from defectdb.ingest import load

    with scratch(db, model_id) as copy:
        reports = load(copy, [Path(source) for source in asked.sources], format=asked.format)
        for report in reports:
            for reject in report.rejects:
                say(settings, f"{reject.source_path}: {reject.reason}: {reject.detail}")
        if not copy.value("SELECT count(*) FROM structures"):
            raise InputDataError("no structure could be read", path=", ".join(asked.sources))
        yield copy


def _say_unpredicted(settings: Settings, db: Database, frame: pl.DataFrame, scope: Scope) -> None:
    from defectdb.query.predict import narrate_unpredicted

    for sentence in narrate_unpredicted(db, frame, scope):
        say(settings, sentence)


@click.command("sql")
@click.argument("query")
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Bind $NAME in the query.")  # fmt: skip
@click.option("--format", "style", default=None, metavar="FORMAT", help="table, csv, json or parquet.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here.")
@click.option("--write", is_flag=True, help="Let the statement change the database.")
@click.option("--files", is_flag=True, help="Let the query read other files, with --write write them.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@table_options
@click.pass_obj
def sql_command(
    settings: Settings, query: str, parameters: tuple[tuple[str, str], ...], style: str | None,
    output: Path | None, write: bool, files: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run a SQL query (DuckDB). The database is open for reading only unless --write is given, and the query reads
    nothing else unless --files is given.

    \b
    Examples:
      defectdb sql "SELECT label, count(*) FROM pairs GROUP BY ALL"
      defectdb sql 'FROM predictions WHERE value < $limit' -p limit 2.5 --format csv
      defectdb sql "SELECT * FROM 'mine.csv' JOIN structures USING (structure_id)" --files
    """
    from defectdb.db import open_database

    if not query.strip():
        raise UsageError('the query is empty; write "SELECT ..." or "FROM table"')
    style = _sql_style(style, output, as_json)
    bound = {name: _value(text) for name, text in parameters} or None
    with open_database(settings.database, read_only=not write, files=files) as db:
        if files and not write:
            db.demand_select(query)
        if write:
            with db.transaction():
                frame = db.frame(query, bound)
        else:
            frame = db.frame(query, bound)
    if output is None:
        emit(frame, style)
        return
    _write_result(frame, style, output)
    say(settings, f"{frame.height} rows in {output}")


def _sql_style(style: str | None, output: Path | None, as_json: bool) -> str:
    from defectdb.db.read import known

    if style is None:
        named = output.suffix[1:] if output else ""
        style = "json" if as_json else named if named in ("csv", "json", "parquet") else "table"
    known("format", style, ("table", "csv", "json", "parquet"))
    if output is None and style == "parquet":
        raise UsageError("parquet is no text: name a file with -o FILE")
    return style


def _write_result(frame: pl.DataFrame, style: str, path: Path) -> None:
    from defectdb.query.output_file import whole_file, write_frame

    if style in ("csv", "parquet"):
        write_frame(frame, path.with_suffix(path.suffix or f".{style}"))
        return
    from contextlib import redirect_stdout

    with whole_file(path) as draft, draft.open("w", encoding="utf-8") as file, redirect_stdout(file):
        emit(frame, style)


def _value(text: str) -> int | float | str:
    """A number where the text is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
