"""`defectdb potential`: learn interatomic potentials, judge them, compute their crystals' properties, export them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from defectdb.cli.display.terminal import emit, emit_json, progress_bar, say
from defectdb.cli.display.written import file_facts
from defectdb.cli.options import Weight, seconds, seed_number
from defectdb.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from defectdb.cli import Settings

DIGITS = "{:.4g}"
_FILE = click.Path(path_type=Path)
_model = click.option(
    "--model", "model_id", type=int, metavar="ID", help="This potential (default: the active one)."
)
_material = click.option("--material", metavar="EL", help="Element, where several have potentials.")
_style = [
    click.option("--json", "style", flag_value="json", help="As JSON, in eV and angstrom."),
    click.option("--csv", "style", flag_value="csv", help="As CSV, in eV and angstrom."),
]


def _styled(command: Any) -> Any:
    for option in reversed(_style):
        command = option(command)
    return command


@click.group("potential")
def potential_command() -> None:
    """Learn interatomic potentials of one element from energies and forces, judge, compute with and export them.

    \b
    Examples:
      defectdb ingest copper.extxyz.gz
      defectdb potential learn --material Cu
      defectdb potential evaluate
      defectdb potential properties
      defectdb potential export --to setfl -o Cu.eam.alloy
    """


@potential_command.command("learn")
@click.option("--material", required=True, metavar="EL", help="The element, e.g. Cu.")
@click.option("--train", default="split = 'train'", show_default=True, metavar="SQL",
              help="Condition on configurations of those to learn from.")  # fmt: skip
@click.option("--dataset", "datasets", multiple=True, metavar="D", help="Only this dataset. Repeatable.")
@click.option("--weight", "weights", multiple=True, type=Weight(), metavar="WHAT=N",
              help="Squared errors of a dataset, or of config_type:NAME, count N times. Repeatable.")  # fmt: skip
@click.option(
    "--cutoff", type=float, default=6.0, show_default=True, help="Where phi and rho end [angstrom]."
)
@click.option("--width", type=click.FloatRange(min=0, min_open=True), default=1.5, show_default=True,
              help="Length before the cutoff over which they go to zero [angstrom].")  # fmt: skip
@click.option("--engine", type=click.Choice(["equation-learner", "multistart", "segvae"]),
              default="equation-learner", show_default=True, help="How formulas are looked for.")  # fmt: skip
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), default=240.0, show_default=True,
              metavar="S", callback=seconds, help="Seconds of the search.")  # fmt: skip
@click.option("--playouts", type=click.IntRange(min=1), default=20_000, show_default=True, metavar="N",
              help="Descents of the search at the most; it is repeatable where they end it.")  # fmt: skip
@click.option("--max-constants", type=click.IntRange(3, 40), default=6, show_default=True, metavar="N",
              help="Fitted constants of all three formulas.")  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, callback=seed_number, help="Of the random numbers."
)
@_styled
@click.pass_obj
def learn_command(settings: Settings, /, *, style: str | None, **options: Any) -> None:
    """Learn phi(r), rho(r) and F(rho) of E = sum_i [1/2 sum_j phi(r_ij) + F(sum_j rho(r_ij))].

    \b
    Example:
      defectdb potential learn --material Cu --max-constants 6 --time-limit 240
      defectdb potential learn --material Cu --weight cu_poet=2 --weight config_type:elastic=30
    """
    import polars as pl

    from defectdb.db import open_database
    from defectdb.expressions.texts import to_infix
    from defectdb.learn.potential.learn import PotentialConfig, learn_potential

    with open_database(settings.database, shared=True) as db, _progress(settings) as progress:
        learned = learn_potential(db, PotentialConfig(**options), progress)
    for remark in learned.remarks:
        say(settings, remark)
    say(
        settings,
        f"potential {learned.model_id} is stored and active; spline floor {learned.floor:.4g} on this scale:",
    )
    for one in learned.front:
        say(settings, f"  {one.n_constants} constants, loss {one.fitted.loss:.4g}: {one.text}")
    parts = learned.potential.parts
    if style == "json":
        emit_json({
            "model_id": learned.model_id, "n_constants": len(learned.potential.constants),
            "formulas": {role: to_infix(p.expression, p.constants) for role, p in parts.items()},
            "errors": learned.errors.to_dicts(),
        })  # fmt: skip
        return
    if style is None:
        emit(pl.DataFrame({
            "part": list(parts), "formula": [to_infix(p.expression, p.constants, 6) for p in parts.values()],
        }))  # fmt: skip
    _emit_errors(learned.errors, style)


@potential_command.command("evaluate")
@click.argument("file", type=_FILE, required=False)
@_model
@_material
@click.option("--baselines/--no-baselines", default=True, show_default=True,
              help="Fixed forms and splines, fitted to the same training configurations, beside it.")  # fmt: skip
@click.option("--by", type=click.Choice(["split", "config_type"]), default="split", show_default=True,
              help="Groups of the errors.")  # fmt: skip
@_styled
@click.pass_obj
def evaluate_command(
    settings: Settings, /, *, file: Path | None, model_id: int | None, material: str | None, baselines: bool, by: str,
    style: str | None,
) -> None:  # fmt: skip
    """Errors of energies, forces and stresses, by dataset and split or config_type; FILE: of configurations not stored.

    \b
    Examples:
      defectdb potential evaluate --by config_type
      defectdb potential evaluate held_out.extxyz.gz
    """
    from defectdb.db import open_database
    from defectdb.learn.potential.evaluate import evaluate_potential

    with open_database(settings.database, read_only=True) as db:
        if file is None:
            frame = evaluate_potential(db, model_id, material, by=by, with_baselines=baselines)
        else:
            from defectdb.ingest.forces.load_configurations import frame_of_file

            rows = frame_of_file(file)
            frame = evaluate_potential(db, model_id, material, by=by, with_baselines=baselines, rows=rows)
    _emit_errors(frame, style)


@potential_command.command("properties")
@_model
@_material
@click.option("--baselines/--no-baselines", default=True, show_default=True,
              help="Properties of fixed forms and splines, fitted to the same configurations, beside it.")  # fmt: skip
@click.option("--eos", is_flag=True, help="The equation of state instead: energy and pressure by volume.")
@_styled
@click.pass_obj
def properties_command(
    settings: Settings, /, *, model_id: int | None, material: str | None, baselines: bool, eos: bool, style: str | None
) -> None:  # fmt: skip
    """Lattice, elastic constants, phonons, vacancy, surfaces, hcp and bcc of a potential beside theory and experiment.

    They are stored in the table potential_properties. With --eos: volume [angstrom^3/atom], energy [eV/atom] and
    pressure [GPa].

    \b
    Examples:
      defectdb potential properties --json
      defectdb potential properties --eos
    """
    from defectdb.db import open_database
    from defectdb.db.potentials.configurations import known_configurations
    from defectdb.db.potentials.models import store_properties, stored_potential
    from defectdb.learn.potential.evaluate import reference_properties
    from defectdb.learn.potential.output.properties import (
        Crystal,
        birch_murnaghan,
        mean_relative_error,
        properties,
        properties_table,
        stored_rows,
    )
    from defectdb.learn.potential.stored import potential_of

    with open_database(settings.database, shared=True) as db:
        stored = stored_potential(db, model_id=model_id, material=material)
        if eos:
            curve = Crystal(potential_of(stored), stored.material_id).equation_of_state()
            emit(curve, style or "table", floats="{:.6g}")
            modulus, derivative = birch_murnaghan(curve)
            say(settings, f"Birch and Murnaghan: B = {modulus:.1f} GPa, dB/dp = {derivative:.2f}")
            return
        found = properties(potential_of(stored), stored.material_id)
        with db.transaction():
            store_properties(db, stored.model_id, stored_rows(found))
        table = properties_table(found)
        if baselines and known_configurations(db, stored.material_id):
            table = table.join(
                reference_properties(db, stored), on="property", how="left", maintain_order="left"
            )
    emit(table, style or "table", floats=DIGITS)
    if errors := mean_relative_error(found):
        say(settings, f"mean relative error {errors[0]:.1%}, largest {errors[1]:.1%}")


@potential_command.command("export")
@click.option("--to", "form", type=click.Choice(["setfl", "lammps", "latex"]), required=True, help="Format.")
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="File (default: standard output).")
@_model
@_material
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was written; with -o.")
@click.pass_obj
def export_command(
    settings: Settings, /, *, form: str, output: Path | None, model_id: int | None, material: str | None, as_json: bool
) -> None:  # fmt: skip
    """Write a potential as a setfl table (LAMMPS eam/alloy), LAMMPS lines or LaTeX.

    \b
    Examples:
      defectdb potential export --to setfl -o Cu.eam.alloy
      defectdb potential export --to latex
    """
    from defectdb.db import open_database
    from defectdb.db.potentials.models import stored_potential
    from defectdb.learn.potential.output.export import exported
    from defectdb.query.output_file import write_whole

    if as_json and output is None:
        raise UsageError("--json says which file was written: name it with -o FILE")
    with open_database(settings.database, read_only=True) as db:
        stored = stored_potential(db, model_id=model_id, material=material)
        text = exported(stored, form)
    if output is None:
        click.echo(text, nl=False)
        return
    write_whole(output, text)
    if as_json:
        emit_json(file_facts(output, format=form, model_id=stored.model_id, material=stored.material_id))


@contextmanager
def _progress(settings: Settings) -> Iterator[Callable[[str, int, float], None] | None]:
    """A counter per stage with the lowest loss; None where none is wanted."""
    if not settings.progress:
        yield None
        return
    with progress_bar(settings) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=None)
            bar.update(tasks[stage], completed=done, description=f"{stage} {loss:.4f}")

        yield show


def _emit_errors(frame: pl.DataFrame, style: str | None) -> None:
    """Errors in eV, or for people in meV/atom, meV/angstrom and GPa."""
    import polars as pl

    if style is not None:
        emit(frame, style)
        return
    units = {"energy": (1e3, "meV/atom"), "force": (1e3, "meV/A"), "stress": (160.2176634, "GPa")}
    columns = [
        (pl.col(f"{name}_{kind}") * factor).alias(
            f"{name[0].upper() if name != 'stress' else name} {kind} [{unit}]"
        )
        for name, (factor, unit) in units.items()
        for kind in ("mae", "rmse")
    ]
    empty = {c for c, kind in frame.schema.items() if kind == pl.String and (frame[c] == "").all()}
    rest = [c for c in frame.columns if not c.endswith(("_mae", "_rmse")) and c not in empty]
    emit(frame.select(*rest, *columns).rename({"n_configurations": "n"}), "table", floats=DIGITS)
