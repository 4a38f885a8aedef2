"""Frames to stdout (table, CSV or JSON) and narration to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import polars as pl
    from rich.progress import Progress

    from defectdb.cli import Settings


def say(settings: Settings, text: str) -> None:
    """One line of narration on stderr, silent under --quiet."""
    if not settings.quiet:
        click.echo(text, err=True)


def progress_bar(settings: Settings) -> Progress:
    """A progress display on stderr with count, rate and time left; hidden where progress is off."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not settings.progress,
        transient=True,
    )


def emit(
    frame: pl.DataFrame, style: str = "table", *, floats: str = "{:.6g}", lighter: Sequence[str] = ()
) -> None:
    """Print a frame on stdout as ``table``, ``csv`` or ``json`` (a list of objects). Numbers are right-aligned.

    ``lighter``: columns that a table does without first where it has no room for all.
    """
    if style == "json":
        emit_json(frame.to_dicts())
    elif style == "csv":
        from defectdb.query.export import render

        sys.stdout.write(render(frame, "csv"))
    else:
        from defectdb.cli.display.tables import print_table

        print_table(frame, floats, lighter)


def emit_json(data: Any) -> None:
    """Print JSON on stdout; NaN and infinity become null, dates ISO text."""
    click.echo(json.dumps(_plain(data), indent=2, ensure_ascii=False))


def _plain(data: Any) -> Any:
    """The data in JSON's types."""
    match data:
        case dict():
            return {str(key): _plain(value) for key, value in data.items()}
        case list() | tuple():
            return [_plain(value) for value in data]
        case float():
            return data if math.isfinite(data) else None
        case None | bool() | int() | str():
            return data
    return _other(data)


def _other(data: Any) -> Any:
    """Values that JSON has no type for: decimals as numbers, bytes as hexadecimal digits, the rest as text."""
    import datetime
    from decimal import Decimal

    match data:
        case datetime.datetime() | datetime.date() | datetime.time():
            return data.isoformat()
        case bytes():
            return data.hex()
        case Decimal():
            return int(data) if data == data.to_integral_value() else float(data)
    return str(data)
