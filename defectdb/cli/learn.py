"""`defectdb learn`: learn formulas for pairs, a whole material model, or a network of the defects."""

from __future__ import annotations

from typing import Any

import click

from defectdb.cli import Settings
from defectdb.cli.cluster.learn_jobs import (
    job_options,
    learn_all,
    learn_one,
    planned_runs,
    show_estimate,
    submitted_before,
)
from defectdb.cli.display.live import LearnDisplay
from defectdb.cli.display.terminal import emit, emit_json, say
from defectdb.cli.networks.learning import demand_own_options, learn_networks_command, network_options
from defectdb.cli.options import ENERGY, dataset_option, materials_option, seconds, seed_number
from defectdb.errors import UsageError
from defectdb.learn.config import LearnConfig

_DEFAULTS: dict[str, Any] = {name: field.default for name, field in LearnConfig.model_fields.items()}
"""The learner's own defaults."""


@click.command("learn")
@click.option(
    "--pair", "pairs", multiple=True, metavar="LABEL", help="Pair label, in either order; repeatable."
)
@click.option("--all-pairs", is_flag=True, help="Every pair label of the material.")
@click.option("--model", is_flag=True, help="The whole material model, three-body terms included.")
@click.option(
    "--from",
    "protocol",
    type=click.Choice(["pairs", "all"]),
    default=_DEFAULTS["protocol"],
    show_default=True,
    help="Learn from 1- and 2-defect structures, or (--model) from every structure.",
)
@materials_option("Needed where several materials have pairs; of a network repeatable, all without it.")
@dataset_option("Learn from this dataset only; repeatable.")
@click.option(
    "--target",
    default=_DEFAULTS["target"],
    show_default=True,
    help="formation_energy, homo_lumo_gap, homo or lumo.",
)
@click.option(
    "--where",
    metavar="SQL",
    help="A predicate over view pair_energies, e.g. 'distance < 9'; with --from all or --network over structures "
    "and targets_wide.",
)
@click.option(
    "--images",
    type=click.Choice(["nearest", "sum"]),
    default=_DEFAULTS["images"],
    show_default=True,
    help="Kernel of the nearest image, or lattice sum over all images.",
)
@click.option("--decay", is_flag=True, help="Demand that the kernel vanish at large distance.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default=_DEFAULTS["device"], show_default=True,
    help="auto takes CUDA where there is one.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=_DEFAULTS["seed"], show_default=True, callback=seed_number,
    help="On the CPU the same seed repeats exactly.",
)  # fmt: skip
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=_DEFAULTS["time_limit"],
    show_default=True,
    metavar="S",
    callback=seconds,
    help="Seconds for one kernel; a search that it cuts short does not repeat exactly.",
)
@click.option(
    "--generations", type=click.IntRange(min=0), default=_DEFAULTS["generations"], show_default=True,
    help="Rounds of sampling, fitting and retraining (0: the exhaustive search alone).",
)  # fmt: skip
@click.option(
    "--population",
    type=click.IntRange(min=64),
    default=_DEFAULTS["population"],
    show_default=True,
    help="Candidates of one generation.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(5, 60),
    default=_DEFAULTS["max_tokens"],
    show_default=True,
    help="Longest formula, constants included.",
)
@click.option(
    "--max-term", type=click.IntRange(11, 200), metavar="N",
    help="With --model --from all: longest term; products and sums of formulas share it.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--allow", multiple=True, metavar="TOKEN",
    help="A further operator that formulas may use, e.g. damped, pow or abs; repeatable.",
)  # fmt: skip
@click.option(
    "--require", multiple=True, metavar="TOKEN", help="An operator that every formula must use; repeatable."
)
@click.option(
    "--forbid", multiple=True, metavar="TOKEN", help="An operator that no formula may use; repeatable."
)
@click.option(
    "--conditional", is_flag=True, help="Let the network that proposes formulas see the data as well."
)
@click.option(
    "--units",
    is_flag=True,
    help="Only dimensionally sound formulas: cos(c*r), not cos(r); constants carry units.",
)
@click.option("--warm", is_flag=True, help="Start from the stored formulas of the same kernels as well.")
@click.option(
    "--nested",
    is_flag=True,
    help="With --model --from all: cross-validate the choice of the formulas too (six times the work).",
)
@click.option(
    "--accuracy", type=ENERGY, metavar="2meV",
    help="With --all-pairs or --model: the shortest model that accurate.",
)  # fmt: skip
@click.option(
    "--tokens", type=click.IntRange(min=1), metavar="N",
    help="With --all-pairs or --model: the most accurate model of at most N tokens.",
)  # fmt: skip
@click.option(
    "--islands",
    type=click.IntRange(1, 64),
    default=_DEFAULTS["islands"],
    show_default=True,
    help="Independent searches of every kernel, their fronts merged.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 64),
    default=1,
    help="Islands, with a report in how many of them every kernel's family was found.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=_DEFAULTS["workers"],
    help="Processes on the CPU (0: one for every core).",
)
@click.option(
    "--activate/--no-activate", default=_DEFAULTS["activate"], show_default=True,
    help="Put what was learned to use, or store it as candidates.",
)  # fmt: skip
@job_options
@network_options
@click.option("--json", "as_json", is_flag=True, help="Print what was learned as JSON.")
@click.pass_context
def learn_command(context: click.Context, /, **options: Any) -> None:
    """Learn formulas for pairs by deep symbolic regression, the whole material model, or a network of the defects.

    Prints, of one pair label, the front of every kernel (the best formula of every complexity; the chosen one is
    marked *), of several labels the chosen formulas. These become the active ones, unless --no-activate; --json holds
    everything.

    \b
    Examples:
      defectdb learn --pair Vac_Mo-Vac_S
      defectdb learn --pair Vac_Mo-Vac_S --target homo_lumo_gap --where "distance < 12"
      defectdb learn --all-pairs --target formation_energy
      defectdb learn --model --from all
      defectdb learn --all-pairs --all-materials --dry-run
      defectdb learn --all-pairs --executor slurm --slurm partition=short
      defectdb learn --plan jobs.toml --executor local
      defectdb learn --resume
      defectdb learn --network --material MoS2
    """
    settings: Settings = context.obj
    demand_own_options(context)
    if options["network"]:
        learn_networks_command(settings, options)
        return
    materials = options.pop("materials")
    if len(materials) > 1:
        raise UsageError(
            f"formulas are of one material, not of {', '.join(materials)}; name one, or write --network"
        )
    _learn_formulas(settings, {**options, "material": materials[0] if materials else None})


def _learn_formulas(settings: Settings, options: dict[str, Any]) -> None:
    """Learn formulas and print them."""
    if options["pairs"] and (options["accuracy"] or options["tokens"]):
        raise UsageError("--accuracy and --tokens choose among whole models; write --all-pairs or --model")
    if options["accuracy"] and options["tokens"]:
        raise UsageError("--accuracy and --tokens exclude each other; leave out one of the two")
    asked = bool(options["pairs"]) + options["all_pairs"] + options["model"]
    asked += (options["plan"] is not None) + (options["resume"] is not None)
    if asked != 1:
        raise UsageError(
            "say what to learn: one of --pair LABEL, --all-pairs, --model, --network, --plan FILE or --resume"
        )
    from defectdb.cli.display.learned import (
        LIGHTER,
        agreement_note,
        chosen_table,
        error_note,
        front_table,
        rows_note,
        stored_front,
        summary,
    )
    from defectdb.cli.display.model_front import FRONT_NOTE, model_front_table
    from defectdb.learn.cluster.plan import Planned

    options["islands"] = max(options["islands"], options["seeds"])
    names = set(LearnConfig.model_fields) & set(options)
    config = LearnConfig(
        **{name: options[name] for name in names},
        allowed=options["allow"],
        forbidden=options["forbid"],
        required=options["require"],
    )
    before = submitted_before(settings, options) if options["resume"] is not None else None
    planned = before.planned if before else Planned(config, options["pairs"] or None, options["model"])
    runs = planned_runs(settings, options, planned)
    if options["dry_run"]:
        show_estimate(settings, runs, options["as_json"])
        return
    if options["plan"] is not None or options["all_materials"]:
        learn_all(settings, options, runs)
        return
    config = planned.config
    with LearnDisplay(settings, config.time_limit, config.generations) as display:
        learned = learn_one(settings, options, planned, display.progress(), before)
    if options["as_json"]:
        emit_json(summary(learned))
        return
    if len({kernel.task.label for kernel in learned.kernels}) == 1:
        for kernel in learned.kernels:
            click.echo(f"{rows_note(kernel)}\n{error_note(learned)}")
            emit(front_table(kernel), floats="{:.4g}", lighter=LIGHTER)
    else:
        click.echo(error_note(learned))
        emit(chosen_table(learned), floats="{:.4g}", lighter=LIGHTER)
        if learned.front:
            click.echo(FRONT_NOTE)
            emit(model_front_table(stored_front(learned)), floats="{:.4g}")
    if agreed := agreement_note(learned):
        say(settings, agreed)
    state = "active" if config.activate else "stored, not active"
    say(settings, f"run {learned.run_id}, model {learned.model_id} {state}, {learned.seconds:.1f} s")
    if not config.activate:
        ids = ", ".join(str(formula_id) for formula_id in learned.formula_ids)
        say(settings, f"`defectdb formulas activate ID` puts a formula to use; chosen: {ids}")
