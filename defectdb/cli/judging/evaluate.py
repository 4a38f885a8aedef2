"""`defectdb evaluate`: errors of the models in use, or of models trained for the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from defectdb.cli.completion import targets
from defectdb.cli.display.tables import table_options
from defectdb.cli.display.terminal import emit, progress_bar, say
from defectdb.cli.judging.published import show_published
from defectdb.cli.options import dataset_option, material_option, seconds, seed_number
from defectdb.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    from rich.progress import Progress as Bar

    from defectdb.cli import Settings
    from defectdb.learn import LearnConfig, Progress

DIGITS = "{:.4g}"


@click.command("evaluate")
@click.option(
    "--against",
    type=click.Choice(["targets"]),
    default="targets",
    expose_value=False,
    help="What to compare with: the stored targets.",
)
@click.option("--by", metavar="GROUP", help="n_defects, descriptor, material or dataset (default: several).")
@click.option("--target", metavar="T", shell_complete=targets, help="Only this target.")
@click.option(
    "--published", is_flag=True, help="The eight published sets: published errors, common models, ours."
)
@click.option("--extrapolate", "bound", metavar="r<R", help="Train below R angstrom, test beyond.")
@click.option(
    "--few-data", "sizes", metavar="N,N...", help="Train on so many structures, test on a fifth held out."
)
@click.option(
    "--from", "protocol", type=click.Choice(["pairs", "all"]), default="pairs", show_default=True,
    help="What to train on: structures of one and two defects, or all.",
)  # fmt: skip
@click.option(
    "--network", is_flag=True, help="The networks in use beside the formulas, on the same structures."
)
@material_option("Only this material; for training needed where several fit.")
@dataset_option()
@click.option(
    "--seed", type=int, default=0, show_default=True, callback=seed_number,
    help="Of the training and the draws.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Draws of every size."
)
@click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True, metavar="S",
    callback=seconds, help="Seconds for training one kernel.",
)  # fmt: skip
@click.option(
    "--generations", type=click.IntRange(min=0), default=12, show_default=True, help="Rounds of the search."
)
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes (0: one for every core).")
@click.option("--json", "style", flag_value="json", help="As JSON, errors in eV.")
@click.option("--csv", "style", flag_value="csv", help="As CSV, errors in eV.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw the errors of --few-data: .png, .pdf or .svg")  # fmt: skip
@table_options
@click.pass_obj
def evaluate_command(settings: Settings, /, **options: Any) -> None:
    """Compare the active models' predictions with the stored targets: mean absolute errors.

    With --extrapolate or --few-data new models are trained in a copy and tested on structures that they did not
    see, beside laws and tables fitted to the same structures. The database and its models stay as they are.

    \b
    Examples:
      defectdb evaluate
      defectdb evaluate --by descriptor --target formation_energy_per_site
      defectdb evaluate --published
      defectdb evaluate --network --by material
      defectdb evaluate --extrapolate "r<9" --time-limit 30
      defectdb evaluate --few-data 10,20,50,100 --seeds 3 -o curve.png
    """
    asked = [name for name in ("by", "published", "bound", "sizes") if options[name]]
    if len(asked) > 1:
        raise UsageError("choose one of --by, --published, --extrapolate and --few-data")
    if options["network"] and asked not in ([], ["by"]):
        raise UsageError("--network compares stored predictions: it goes with --by alone")
    if options["output"] is not None and not options["sizes"]:
        raise UsageError("-o draws the curves of --few-data; `defectdb plot parity` draws predictions")
    if options["network"]:
        _networks(settings, options)
    elif options["bound"]:
        _extrapolate(settings, options)
    elif options["sizes"]:
        _few_data(settings, options)
    else:
        _stored(settings, options)


def _stored(settings: Settings, options: dict[str, Any]) -> None:
    """Errors of the active models."""
    import polars as pl

    from defectdb.db import open_database
    from defectdb.db.scope import make_scope
    from defectdb.db.stale import stale_sentence
    from defectdb.query.evaluate import coverage_sentences, evaluate, missing_terms, unpredicted

    style = options["style"]
    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, options["material"], options["datasets"])
        if options["published"]:
            show_published(settings, db, scope, options["target"], style)
            return
        frame = evaluate(db, options["by"], options["target"], scope)
        left_out = unpredicted(db, scope, options["target"])
        missing = missing_terms(db, scope, options["target"]) if frame["undefined"].sum() else []
        if stale := stale_sentence(db):
            say(settings, stale)
    for sentence in coverage_sentences(frame, left_out, missing):
        say(settings, sentence)
    if style is None:
        errors = ("mae", "rmse", "max_error", "bias")
        frame = frame.with_columns(pl.col(name) * 1000 for name in errors).drop("unit", "coverage")
        frame = frame.rename({name: f"{name} [meV]" for name in errors} | {"undefined": "no value"})
    emit(frame, style or "table", floats=DIGITS)


def _networks(settings: Settings, options: dict[str, Any]) -> None:
    """Errors of the networks in use and of the formulas on the same structures."""
    import polars as pl

    from defectdb.db import open_database
    from defectdb.db.scope import make_scope
    from defectdb.query.networks.beside import METHODS, evaluate_networks

    with open_database(settings.database, read_only=True) as db:
        scope = make_scope(db, options["material"], options["datasets"])
        frame = evaluate_networks(db, options["by"], options["target"], scope)
    say(settings, "mean absolute errors; both: formulas and the network of what they leave")
    if options["style"] is None:
        frame = frame.with_columns(pl.col(name) * 1000 for name in METHODS).drop("unit")
        frame = frame.rename({name: f"{name} [meV]" for name in METHODS})
    emit(frame, options["style"] or "table", floats=DIGITS)


def _extrapolate(settings: Settings, options: dict[str, Any]) -> None:
    from defectdb.db import open_database
    from defectdb.db.scope import dataset_ids
    from defectdb.learn.judging.retrain import extrapolate, parse_bound

    bound = parse_bound(options["bound"])
    config, per_site = _config(options)
    with open_database(settings.database, read_only=True) as db, progress_bar(settings) as bar:
        display = _display(bar, f"training below {bound:g} A")
        datasets = dataset_ids(db, options["datasets"])
        frame = extrapolate(db, config, bound, datasets=datasets, per_site=per_site, progress=display)
    say(settings, f"{_asked(options)}: mean absolute errors in training below {bound:g} angstrom, and beyond")
    _emit_errors(frame, options["style"])


def _few_data(settings: Settings, options: dict[str, Any]) -> None:
    from defectdb.db import open_database
    from defectdb.db.scope import dataset_ids
    from defectdb.learn.judging.retrain import few_data

    sizes = _sizes(options["sizes"])
    seeds = [options["seed"] + k for k in range(options["seeds"])]
    config, per_site = _config(options)
    with open_database(settings.database, read_only=True) as db, progress_bar(settings) as bar:
        whole = bar.add_task("trainings", total=len(sizes) * len(seeds))

        def progress(size: int, seed: int) -> Progress:
            bar.update(whole, advance=0 if (size, seed) == (sizes[0], seeds[0]) else 1)
            return _display(bar, f"{size} structures, seed {seed}")

        datasets = dataset_ids(db, options["datasets"])
        frame = few_data(db, config, sizes, seeds, datasets=datasets, per_site=per_site, progress=progress)
    say(settings, f"{_asked(options)}: mean absolute errors on held-out structures")
    if options["style"] is None:
        import polars as pl

        frame_shown = frame.group_by("n_train", maintain_order=True).agg(
            pl.len().alias("seeds"), pl.col("n").first(), pl.exclude("seed", "n").mean()
        )
        _emit_errors(frame_shown, None)
    else:
        emit(frame, options["style"])
    if options["output"] is not None:
        from defectdb.query.figures.retrain import draw_few_data

        draw_few_data(frame, options["output"], _asked(options))
        say(settings, f"figure in {options['output']}")


def _asked(options: dict[str, Any]) -> str:
    return options["target"] or "formation_energy_per_site"


def _config(options: dict[str, Any]) -> tuple[LearnConfig, bool]:
    """What to train, and whether errors count per site."""
    from defectdb.learn import LearnConfig

    target = _asked(options)
    names = ("material", "protocol", "seed", "time_limit", "generations", "workers")
    config = LearnConfig(target=target.removesuffix("_per_site"), **{name: options[name] for name in names})
    return config, target.endswith("_per_site")


def _sizes(text: str) -> list[int]:
    """Numbers of structures, rising. Raises UsageError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"{text!r} are no numbers of structures; write --few-data 10,20,50,100")
    return sorted({int(part) for part in parts})


def _display(bar: Bar, text: str) -> Progress:
    """A line of the display that counts one training's kernels."""
    from defectdb.learn import Progress

    task = bar.add_task(text, total=None)

    def kernel(_: object, done: int, total: int) -> None:
        bar.update(task, completed=done, total=total, visible=done < total)

    return Progress(kernel=kernel)


def _emit_errors(frame: pl.DataFrame, style: str | None) -> None:
    """Errors in eV as data, in meV for the eye."""
    import polars as pl

    from defectdb.learn.judging.retrain import COLUMNS

    if style is not None:
        emit(frame, style)
        return
    shown = frame.with_columns(pl.col(name) * 1000 for name in COLUMNS)
    emit(shown.rename({name: f"{name} [meV]" for name in COLUMNS}), floats=DIGITS)
