"""The commands that look at the database itself: status, schema, pairs, check, migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from defectdb.cli.display.tables import table_options
from defectdb.cli.display.terminal import emit, emit_json, say
from defectdb.cli.options import dataset_option, material_option

if TYPE_CHECKING:
    import polars as pl

    from defectdb.cli import Settings

SHORT = {"formation_energy": "energy", "homo_lumo_gap": "gap"}
"""Targets as the printed table of pairs calls them."""

_TOLD_APART = 3  # numbers of defects that a line of `status` counts one by one


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def status_command(settings: Settings, as_json: bool) -> None:
    """Count what the database holds.

    \b
    Examples:
      defectdb status
      defectdb --db other.duckdb status --json
    """
    import polars as pl

    from defectdb.db import open_database
    from defectdb.db.read import status
    from defectdb.db.stale import stale_sentence

    with open_database(settings.database, read_only=True) as db:
        found = status(db)
        stale = stale_sentence(db)
    if stale:
        say(settings, stale)
    if as_json:
        emit_json(found)
        return
    models, _ = found.pop("active_models"), found.pop("stale_models")
    found["structures_by_defects"] = _few(found["structures_by_defects"])
    rows = [(name, _words(value)) for name, value in found.items()]
    emit(pl.DataFrame(rows, schema=["what", "count"], orient="row"))
    if models:
        emit(pl.DataFrame(models, infer_schema_length=None))


def _few(by_number: dict[str, int]) -> dict[str, int]:
    """Counts of structures by number of defects, those with more than three together where there are many numbers."""
    many = [number for number in by_number if int(number) > _TOLD_APART]
    if len(many) <= _TOLD_APART:
        return by_number
    few = {number: count for number, count in by_number.items() if number not in many}
    return few | {f"{many[0]} to {many[-1]}": sum(by_number[number] for number in many)}


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count}" for key, count in value.items()) or "none"
    return str(value)


@click.command("schema")
@click.argument("table", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def schema_command(settings: Settings, table: str | None, as_json: bool) -> None:
    """Print the data dictionary: all tables, or one table's columns with type, unit and meaning.

    \b
    Examples:
      defectdb schema
      defectdb schema pair_energies
    """
    from defectdb.db import open_database
    from defectdb.db.read import dictionary, overview

    with open_database(settings.database, read_only=True) as db:
        frame = dictionary(db, table) if table or as_json else overview()
    emit(frame if table is None or as_json else frame.drop("table"), "json" if as_json else "table")


@click.command("pairs")
@material_option("Only this material.")
@dataset_option()
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.option("--csv", "style", flag_value="csv", help="As CSV.")
@table_options
@click.pass_obj
def pairs_command(
    settings: Settings, material: str | None, datasets: tuple[str, ...], style: str | None
) -> None:
    """List the pair labels with counts, distances and |dz| [angstrom], and formulas.

    The column "alone" counts structures with no other defect, "active" says for which targets a formula is in use.

    \b
    Examples:
      defectdb pairs
      defectdb pairs --material MoS2 --json
    """
    from defectdb.db import open_database
    from defectdb.db.read import pair_summary
    from defectdb.db.scope import make_scope

    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, material, datasets)
        frame = pair_summary(db, scope.material, scope.datasets)
    emit(frame if style else _shown_pairs(frame), style or "table")


def _shown_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of the printed table, distances in angstrom."""
    import polars as pl

    return frame.select(
        pl.col("material_id").alias("material"), "label", pl.col("n_two_defect").alias("alone"),
        pl.col("n_structures").alias("structures"), pl.col("n_pairs").alias("pairs"),
        pl.col("r_min", "r_max").round(3), pl.col("dz").list.eval(pl.element().cast(pl.String)).list.join(" "),
        pl.col("n_formulas").alias("formulas"),
        pl.col("active").list.eval(pl.element().replace(SHORT)).list.join(" "),
    )  # fmt: skip


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def check_command(settings: Settings, as_json: bool) -> None:
    """Verify the database's references, stored numbers, views and macros; exit code 3 if any contradict.

    Views and macros that somebody added are named: they run when a query uses them.

    \b
    Example:
      defectdb check
    """
    from defectdb.db import open_database
    from defectdb.db.check import added, check
    from defectdb.errors import InputDataError

    with open_database(settings.database, read_only=True) as db:
        frame = check(db)
        foreign = added(db)
    if foreign:
        say(settings, f"not of defectdb: {', '.join(foreign)}")
    emit(frame, "json" if as_json else "table")
    failed = frame.filter(frame["n"] > 0)["check"].to_list()
    if failed:
        raise InputDataError(f"contradicts itself: not {'; not '.join(failed)}", path=settings.database)


@click.command("migrate")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def migrate_command(settings: Settings, as_json: bool) -> None:
    """Bring an older database to this version's schema and compile its formulas anew.

    \b
    Example:
      defectdb --db old.duckdb migrate
    """
    from defectdb.db import open_database
    from defectdb.db.catalogue import rewrite_views
    from defectdb.db.compile import compile_formulas

    with open_database(settings.database) as db, db.transaction():
        rewrite_views(db)
        macros = compile_formulas(db)
        version = db.value("SELECT max(version) FROM schema_migrations")
    if as_json:
        emit_json({"schema_version": version, "macros": macros})
    say(settings, f"schema version {version}; {len(macros)} macros compiled")
