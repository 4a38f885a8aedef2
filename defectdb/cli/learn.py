"""`defectdb learn`: options to one call of the learner, with a live table on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from defectdb.cli import Settings
from defectdb.cli.live import LearnDisplay
from defectdb.cli.terminal import emit, emit_json, say
from defectdb.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from defectdb.learn import Learned
    from defectdb.learn.kernels import Kernel
    from defectdb.learn.segvae.front import Scored
    from defectdb.learn.segvae.settings import Generation


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
    default="pairs",
    show_default=True,
    help="Learn from 1- and 2-defect structures, or (--model) from every structure.",
)
@click.option("--material", metavar="M", help="Needed where several materials have pairs.")
@click.option(
    "--target",
    default="formation_energy",
    show_default=True,
    help="formation_energy, homo_lumo_gap, homo or lumo.",
)
@click.option("--where", metavar="SQL", help="A predicate over view pair_energies, e.g. 'distance < 9'.")
@click.option(
    "--images",
    type=click.Choice(["nearest", "sum"]),
    default="nearest",
    show_default=True,
    help="Kernel of the nearest image, or lattice sum over all images.",
)
@click.option("--decay", is_flag=True, help="Demand that the kernel vanish at large distance.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="auto takes CUDA where there is one.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, help="On the CPU the same seed repeats exactly."
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Seconds for one kernel; a search that it cuts short does not repeat exactly.",
)
@click.option(
    "--generations", type=click.IntRange(min=0), default=12, show_default=True,
    help="Rounds of sampling, fitting and retraining (0: the exhaustive search alone).",
)  # fmt: skip
@click.option(
    "--population",
    type=click.IntRange(min=64),
    default=4000,
    show_default=True,
    help="Candidates of one generation.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(5, 60),
    default=25,
    show_default=True,
    help="Longest formula, constants included.",
)
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
    help="With --from all: cross-validate the choice of the formulas too (six times the work).",
)
@click.option(
    "--islands",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Independent searches of every kernel, their fronts merged.",
)
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, help="Processes on the CPU (0: one for every core)."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was learned as JSON.")
@click.pass_obj
def learn_command(settings: Settings, /, **options: Any) -> None:
    """Learn formulas for pairs by deep symbolic regression, or the whole material model.

    Prints the front (best formula of every complexity) and makes the chosen formula the active one.

    \b
    Examples:
      defectdb learn --pair Vac_Mo-Vac_S
      defectdb learn --pair Vac_Mo-Vac_S --target homo_lumo_gap --where "distance < 12"
      defectdb learn --all-pairs --target formation_energy
      defectdb learn --model --from all
    """
    asked = bool(options["pairs"]) + options["all_pairs"] + options["model"]
    if asked != 1:
        raise UsageError("say what to learn: --pair LABEL, --all-pairs or --model")
    from defectdb.db import open_database
    from defectdb.learn import LearnConfig, learn_model, learn_pairs

    names = set(LearnConfig.model_fields) & set(options)
    config = LearnConfig(
        **{name: options[name] for name in names},
        allowed=options["allow"],
        forbidden=options["forbid"],
        required=options["require"],
    )
    display = LearnDisplay(settings, config.time_limit, config.generations)
    with open_database(settings.database) as db, display:
        if options["model"]:
            learned = learn_model(db, config, display.progress())
        else:
            learned = learn_pairs(db, config, list(options["pairs"]) or None, display.progress())
    if options["as_json"]:
        emit_json(_summary(learned))
        return
    if len(learned.kernels) == 1:
        emit(_front(learned))
    else:
        emit(_chosen(learned))
    say(settings, f"run {learned.run_id}, model {learned.model_id} active, {learned.seconds:.1f} s")


def _front(learned: Learned) -> pl.DataFrame:
    import polars as pl

    from defectdb.schema.texts import to_infix

    kernel = learned.kernels[0]
    rows = [
        {
            "": "*" if i == kernel.chosen else "",
            "tokens": s.complexity,
            "MAE_meV": 1000 * s.mae,
            "MAE_cv_meV": 1000 * s.mae_cv,
            "interior_cv_meV": 1000 * s.mae_cv_interior,
            "BIC": s.bic,
            "DL_nats": s.description_length,
            "formula": to_infix(s.expression, s.constants, 5),
        }
        for i, s in enumerate(kernel.front)
    ]
    return pl.DataFrame(rows)


def _chosen(learned: Learned) -> pl.DataFrame:
    import polars as pl

    from defectdb.schema.texts import to_infix

    rows = []
    for kernel, formula_id in zip(learned.kernels, learned.formula_ids, strict=True):
        best = kernel.front[kernel.chosen]
        rows.append(
            {
                "kernel": kernel.task.name,
                "formula_id": formula_id,
                "tokens": best.complexity,
                "MAE_meV": 1000 * best.mae,
                "MAE_cv_meV": 1000 * best.mae_cv,
                "formula": to_infix(best.expression, best.constants, 5),
            }
        )
    return pl.DataFrame(rows)


def _summary(learned: Learned) -> dict[str, Any]:
    from defectdb.schema.texts import to_infix

    return {
        "run_id": learned.run_id,
        "model_id": learned.model_id,
        "material": learned.material,
        "seconds": learned.seconds,
        "kernels": [
            {
                "label": kernel.task.label, "target": kernel.task.config.target,
                "dz_min": kernel.task.dz_min, "dz_max": kernel.task.dz_max, "formula_id": formula_id,
                "n_train": len(kernel.task.y), "seconds": kernel.seconds, "n_fits": kernel.n_fits,
                "front": [
                    {
                        "infix": to_infix(s.expression, s.constants), "complexity": s.complexity,
                        "n_constants": len(s.constants), "mse": s.mse, "mae": s.mae, "mae_cv": s.mae_cv,
                        "mae_cv_interior": s.mae_cv_interior, "bic": s.bic,
                        "description_length": s.description_length, "chosen": i == kernel.chosen,
                        **_units(s, kernel),
                    }
                    for i, s in enumerate(kernel.front)
                ],
                "generations": [_statistics(g) for g in kernel.generations],
            }
            for kernel, formula_id in zip(learned.kernels, learned.formula_ids, strict=True)
        ],
    }  # fmt: skip


def _units(scored: Scored, kernel: Kernel) -> dict[str, Any]:
    """With --units: exponents of angstrom and eV of every constant."""
    from defectdb.schema.dimensions import ENERGY, constant_units, kernel_unit

    if not kernel.task.config.units:
        return {}
    variables = {name: kernel_unit(name) for name in kernel.task.variables}
    solved = (constant_units(scored.expression, variables, value) for value in (ENERGY, None))
    found: list[Any] = next((units for units in solved if units is not None), [])
    named = [None if unit is None else {"angstrom": unit[0], "eV": unit[1]} for unit in found]
    return {"units": named}


def _statistics(generation: Generation) -> dict[str, Any]:
    """One generation's numbers, errors squared in eV as elsewhere."""
    from dataclasses import asdict

    reached = [{"complexity": size, "mse": mse} for size, mse in generation.reached]
    return {**asdict(generation), "reached": reached}
