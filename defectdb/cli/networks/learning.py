"""The options and the display of `defectdb learn --network`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from defectdb.cli.display.terminal import emit, emit_json, progress_bar, say
from defectdb.cli.options import Command
from defectdb.errors import UsageError

if TYPE_CHECKING:
    from defectdb.cli import Settings
    from defectdb.learn.network.learning import Epoch
    from defectdb.learn.network.storing import TrainedNetwork

_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--network", is_flag=True, help="A graph network of the defects alone, see docs/network.md."),
    click.option(
        "--recipe", type=click.Choice(["fast", "published"]), default="fast", show_default=True,
        help="With --network: settings for a CPU, or those of Kazeev et al.",
    ),
    click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="With --network: passes over the data."),
    click.option(
        "--members", type=click.IntRange(1, 64), default=1, show_default=True,
        help="With --network: networks whose mean predicts; their spread is stored.",
    ),
    click.option(
        "--joint", is_flag=True, help="With --network: one for all, not one for few and one for many defects."
    ),
    click.option(
        "--hold-out", is_flag=True,
        help="With --network: leave out a fifth of those with three or more defects to measure on."
    ),
    click.option(
        "--on-residuals", is_flag=True, help="With --network: learn what the formulas in use leave, and add it to them."
    ),
)  # fmt: skip
_NETWORK = ("recipe", "epochs", "members", "joint", "hold_out", "on_residuals")
_SHARED = (
    "network",
    "materials",
    "datasets",
    "target",
    "where",
    "device",
    "seed",
    "activate",
    "as_json",
    "resume",
)


def network_options(command: Command) -> Command:
    """The options that `learn --network` has beside those of formulas."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def demand_own_options(context: click.Context) -> None:
    """Raises UsageError for an option of networks without --network, and of formulas with it."""
    asked = context.params["network"]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name in _SHARED:
            continue
        if (name in _NETWORK) != asked:
            flag = parameter.opts[0]
            raise UsageError(
                f"{flag} is about {'formulas, not --network' if asked else 'a network: add --network'}"
            )


def learn_networks_command(settings: Settings, options: dict[str, Any]) -> None:
    """Train, and print one line for every network."""
    from defectdb.db import open_database
    from defectdb.learn.network.config import NetworkConfig, recipe_settings
    from defectdb.learn.network.learning import learn_networks

    architecture, schedule = recipe_settings(options["recipe"], options["target"], options["epochs"])
    names = set(NetworkConfig.model_fields) & set(options)
    config = NetworkConfig(
        **{name: options[name] for name in names}, architecture=architecture, schedule=schedule
    )
    with open_database(settings.database, shared=True) as db, progress_bar(settings) as bar:
        task = bar.add_task("training", total=None)

        def watch(epoch: Epoch) -> None:
            before = (epoch.network - 1) * epoch.n_members + epoch.member - 1
            done, total = (
                before * epoch.n_epochs + epoch.epoch,
                epoch.n_networks * epoch.n_members * epoch.n_epochs,
            )
            bar.update(task, completed=done, total=total, description=f"loss {epoch.loss:.3g}")
            if not settings.progress and epoch.epoch % max(1, epoch.n_epochs // 10) == 0:
                say(settings, f"epoch {done} of {total}, loss {epoch.loss:.4g}, {epoch.seconds:.0f} s")

        trained = learn_networks(db, config, watch, _state_file(settings, options["resume"]))
    if options["as_json"]:
        emit_json([_row(network) for network in trained])
    else:
        _print(trained)
    state = "active" if config.activate else "stored, not active"
    for network in trained:
        say(settings, f"run {network.run_id}, network {network.network_id} {state}, {network.seconds:.1f} s")


def _state_file(settings: Settings, text: str | None) -> Path | None:
    """The file of --resume: the one named, or one beside the database; None without the option."""
    if text is None:
        return None
    return Path(f"{settings.database}.network-state" if text == "newest" else text)


def _row(network: TrainedNetwork) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(network)


def _print(trained: list[TrainedNetwork]) -> None:
    import polars as pl

    rows = [
        {
            "network": t.network_id, "hosts": ", ".join(t.hosts), "n_train": t.n_train, "parameters": t.n_parameters,
            "mae_train [meV]": _mev(t.mae_train), "left out": t.n_held, "mae_held [meV]": _mev(t.mae_held),
            "seconds": t.seconds,
        }
        for t in trained
    ]  # fmt: skip
    emit(pl.DataFrame(rows, schema_overrides={"mae_held [meV]": pl.Float64}), floats="{:.4g}")


def _mev(error: float | None) -> float | None:
    return None if error is None else 1000 * error
