"""The command that lists, shows and activates learned formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from defectdb.cli.completion import labels, targets
from defectdb.cli.display.tables import table_options
from defectdb.cli.display.terminal import emit, emit_json, say
from defectdb.cli.options import material_option
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings


@click.command("formulas")
@click.argument("words", nargs=-1, metavar="[LABEL | show ID | activate ID]", shell_complete=labels)
@material_option("Only formulas of this material.")
@click.option("--target", metavar="T", shell_complete=targets, help="Only formulas of this target.")
@click.option("--model-front", is_flag=True, help="The most accurate models of every total length.")
@click.option(
    "--tokens", type=click.IntRange(min=1), metavar="N", help="With activate: the model that short."
)
@click.option("--front", is_flag=True, help="Every stored version, not only the active ones.")
@click.option("--json", "style", flag_value="json", help="As JSON.")
@click.option("--csv", "style", flag_value="csv", help="As CSV.")
@table_options
@click.pass_obj
def formulas_command(
    settings: Settings, words: tuple[str, ...], material: str | None, target: str | None, model_front: bool,
    tokens: int | None, front: bool, style: str | None,
) -> None:  # fmt: skip
    """List the active formulas; show one in every notation; put one to use.

    \b
    Examples:
      defectdb formulas
      defectdb formulas Vac_Mo-Vac_S --front
      defectdb formulas --columns id,pair,formula
      defectdb formulas show 12
      defectdb formulas activate 12
      defectdb formulas --model-front --material MoS2
      defectdb formulas activate --tokens 60 --material MoS2
    """
    if model_front or tokens is not None:
        _models(settings, words, material, target or "formation_energy", tokens, style)
        return
    if words[:1] in (("show",), ("activate",)):
        _one(settings, words, style)
        return
    if len(words) > 1:
        raise UsageError(f"expected one pair label, not {len(words)}: {' '.join(words)}")
    from defectdb.db import open_database
    from defectdb.db.read import formulas
    from defectdb.query.listing import formula_listing

    with open_database(settings.database, read_only=True) as db:
        frame = formulas(db, words[0] if words else None, target, material, front=front)
        if style is None:
            frame = formula_listing(db, frame)
    if frame.is_empty():
        say(settings, "no formulas yet" if front else "no active formulas; --front lists every stored one")
    emit(frame, style or "table", floats="{:.4g}")


def _models(
    settings: Settings, words: tuple[str, ...], material: str | None, target: str, tokens: int | None,
    style: str | None,
) -> None:  # fmt: skip
    """List the newest model front, or put one of its models to use."""
    if words != (() if tokens is None else ("activate",)):
        raise UsageError("write `defectdb formulas --model-front` or `defectdb formulas activate --tokens N`")
    from defectdb.db import open_database
    from defectdb.db.models.model_fronts import activate_front_model, newest_front
    from defectdb.db.scope import chosen_material, make_scope

    with open_database(settings.database, read_only=tokens is None) as db:
        material = chosen_material(db, make_scope(db, material))
        if tokens is None:
            frame = newest_front(db, material, target).drop("formula_ids")
            if style is None:
                from defectdb.cli.display.model_front import FRONT_NOTE, model_front_table

                say(settings, f"{FRONT_NOTE}; some of {frame.height}, --csv lists all")
                frame = model_front_table(frame)
            emit(frame, style or "table", floats="{:.4g}")
            return
        with db.transaction():
            model_id, length = activate_front_model(db, material, target, tokens)
    if style == "json":
        emit_json({"model_id": model_id, "tokens": length})
    say(settings, f"model {model_id}, {length} tokens, is active")


def _one(settings: Settings, words: tuple[str, ...], style: str | None) -> None:
    if len(words) != 2 or not words[1].isdigit():
        raise UsageError(f"`formulas {words[0]}` takes one formula id; `defectdb formulas` lists them")
    (_show if words[0] == "show" else _activate)(settings, int(words[1]), style)


def _show(settings: Settings, formula_id: int, style: str | None) -> None:
    from defectdb.db import open_database
    from defectdb.query.notations import notations

    with open_database(settings.database, read_only=True) as db:
        shown = notations(db, formula_id)
    if style == "json":
        emit_json(shown)
        return
    for name, value in shown.items():
        click.echo(f"{name:>16}  {_indented(value)}")


def _indented(value: Any) -> str:
    return str(value).rstrip().replace("\n", "\n" + 18 * " ")


def _activate(settings: Settings, formula_id: int, style: str | None) -> None:
    from defectdb.db import open_database
    from defectdb.db.models.formulas import activate_formula

    with open_database(settings.database) as db, db.transaction():
        model_id = activate_formula(db, formula_id)
    if style == "json":
        emit_json({"formula_id": formula_id, "model_id": model_id})
    say(settings, f"formula {formula_id} is active in model {model_id}")
