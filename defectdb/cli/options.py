"""Options that several commands share: --material, --dataset, and checks of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from defectdb.cli.completion import datasets, materials

Command = TypeVar("Command", bound=Callable[..., Any])


def material_option(
    text: str = "Only this material; needed where several fit.",
) -> Callable[[Command], Command]:
    """The option --material, given to the command as ``material``."""
    return click.option("--material", metavar="M", shell_complete=materials, help=text)


def materials_option(text: str) -> Callable[[Command], Command]:
    """The repeatable option --material, given to the command as the tuple ``materials``."""
    return click.option(
        "--material", "materials", multiple=True, metavar="M", shell_complete=materials, help=text
    )


def dataset_option(text: str = "Only this dataset; repeatable.") -> Callable[[Command], Command]:
    """The repeatable option --dataset, given to the command as the tuple ``datasets``."""
    return click.option(
        "--dataset", "datasets", multiple=True, metavar="D", shell_complete=datasets, help=text
    )


def seconds(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """A time that ends. NaN and infinity pass every range."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds; write e.g. 300")
    return value


def seed_number(_context: click.Context, _option: click.Parameter, value: int) -> int:
    """A seed that the database can store."""
    if not -(2**63) <= value < 2**63:
        raise click.BadParameter(f"{value} does not fit into 64 bits; write e.g. 1")
    return value


class Weight(click.ParamType[tuple[str, float]]):
    """A name and how much it counts, ``cu_poet=2``; given to the command as a pair."""

    name = "weight"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Name and number. Raises BadParameter for a text without a name, or without a number above zero."""
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).rpartition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = math.nan
        if not name or not 0.0 < factor < math.inf:
            self.fail(f"{value!r} is no weight: write e.g. cu_poet=2 or config_type:surface=0.5", param, ctx)
        return name, factor


class Energy(click.ParamType[float]):
    """An energy with its unit, ``2meV`` or ``0.002eV``; given to the command in eV."""

    name = "energy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The energy in eV. Raises BadParameter for a text without a number, a unit or above zero."""
        if isinstance(value, float):
            return value
        text = str(value).replace(" ", "")
        number, scale = (text[:-3], 1e-3) if text.endswith("meV") else (text.removesuffix("eV"), 1.0)
        try:
            energy = float(number) * scale
        except ValueError:
            energy = math.nan
        if not text.endswith("eV") or not (0 < energy < math.inf):
            self.fail(f"{value!r} is no energy above zero with its unit; write e.g. 2meV", param, ctx)
        return energy


ENERGY = Energy()
