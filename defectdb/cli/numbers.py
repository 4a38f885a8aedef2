"""Numbers on the command line that click's own ranges let through and nothing can be done with."""

from __future__ import annotations

import math

import click


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
