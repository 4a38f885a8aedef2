"""A frame as a table: the columns that fit beside each other, long ones in a pager where a terminal shows them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from defectdb.errors import UnknownNameError

if TYPE_CHECKING:
    import polars as pl

Command = TypeVar("Command", bound=Callable[..., Any])

_WIDE, _COLUMNS = "defectdb.wide", "defectdb.columns"
_PIPE_WIDTH = 200  # characters of a line where no terminal says how many fit
_SHORTEST = 16  # characters to which a text may be cut so that more columns fit
_GAP = 2  # characters between two columns


def table_options(command: Command) -> Command:
    """The options --wide and --columns of a command that prints a table."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
            context.meta[name] = value

        return callback

    wide = click.option(
        "--wide", is_flag=True, expose_value=False, callback=keep(_WIDE),
        help="Every column of the table in full, whatever the terminal's width.",
    )  # fmt: skip
    columns = click.option(
        "--columns", metavar="A,B,...", expose_value=False, callback=keep(_COLUMNS),
        help="Only these columns of the table, in this order.",
    )  # fmt: skip
    return wide(columns(command))


def print_table(frame: pl.DataFrame, floats: str, lighter: Sequence[str] = ()) -> None:
    """Print a frame on stdout, numbers right-aligned. Columns stand in the order of their weight: where not all fit,
    the ``lighter`` ones are left out in turn, then texts are cut, then the last columns left out, which stderr says.

    Raises UnknownNameError for a column of --columns that the table does not have.
    """
    frame = _chosen(frame)
    lightest = [name for name in lighter if name in frame.columns]
    cells = [[_text(value, floats) for value in frame[name].to_list()] for name in frame.columns]
    natural = [
        max(len(name), *map(len, column), 0) for name, column in zip(frame.columns, cells, strict=True)
    ]
    numeric = [kind.is_numeric() for kind in frame.dtypes]
    shown = list(range(frame.width))
    if _option(_WIDE):
        widths = natural
    else:
        shown = _without(lightest, frame.columns, natural, _line_width())
        widths = fitted_widths([natural[i] for i in shown], [numeric[i] for i in shown], _line_width())
        shown = shown[: len(widths)]
    kinds = [numeric[i] for i in shown]
    lines = [_line([frame.columns[i] for i in shown], widths, kinds)]
    lines.append("  ".join("─" * width for width in widths))
    lines += [_line(row, widths, kinds) for row in zip(*(cells[i] for i in shown), strict=True)]
    _show(lines)
    if left := [name for i, name in enumerate(frame.columns) if i not in shown]:
        _say(f"no room for {', '.join(left)}; {_what_shows_all()} shows every column")
    if frame.is_empty() and frame.columns:
        _say("no rows")


def _without(lightest: Sequence[str], names: Sequence[str], natural: Sequence[int], room: int) -> list[int]:
    """Numbers of the columns, the lightest left out one after the other until all fit into ``room`` characters."""
    shown, waiting = list(range(len(names))), list(lightest)
    while waiting and sum(natural[i] for i in shown) + _GAP * (len(shown) - 1) > room:
        shown.remove(names.index(waiting.pop(0)))
    return shown


def fitted_widths(natural: Sequence[int], numeric: Sequence[bool], room: int) -> list[int]:
    """Widths of the columns that fit into ``room`` characters: numbers whole, texts cut where that lets more fit.

    As many columns as can be with texts of ``_SHORTEST`` characters; what is left over goes to the texts from the
    left. The first column is always there.
    """
    least = [
        width if number else min(width, _SHORTEST) for width, number in zip(natural, numeric, strict=True)
    ]
    count = len(least)
    while count > 1 and sum(least[:count]) + _GAP * (count - 1) > room:
        count -= 1
    widths = least[:count]
    spare = room - sum(widths) - _GAP * (count - 1)
    for i in range(count):
        more = min(max(spare, 0), natural[i] - widths[i])
        widths[i] += more
        spare -= more
    return widths


def _chosen(frame: pl.DataFrame) -> pl.DataFrame:
    wanted = _option(_COLUMNS)
    if not wanted:
        return frame
    names = [name.strip() for name in str(wanted).split(",") if name.strip()]
    for name in names:
        if name not in frame.columns:
            raise UnknownNameError("column", name, frame.columns)
    return frame.select(list(dict.fromkeys(names)))


def _text(value: Any, floats: str) -> str:
    text = "" if value is None else floats.format(value) if isinstance(value, float) else str(value)
    return " ".join(text.split()) if "\n" in text else text


def _line(texts: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = (
        (cut.rjust if number else cut.ljust)(width)
        for text, width, number in zip(texts, widths, numeric, strict=False)
        for cut in [text if len(text) <= width else text[: width - 1] + "…"]
    )
    return "  ".join(cells).rstrip()


def _line_width() -> int:
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return _PIPE_WIDTH


def _show(lines: Sequence[str]) -> None:
    """Print the lines, on a terminal that they do not fit through a pager."""
    if sys.stdout.isatty() and sys.stdin.isatty() and len(lines) >= shutil.get_terminal_size().lines:
        os.environ.setdefault("LESS", "-FRSX")  # lines are not folded, and the table stays on the screen
        click.echo_via_pager("\n".join(lines) + "\n")
    else:
        click.echo("\n".join(lines))


def _option(name: str) -> Any:
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(name)


def _what_shows_all() -> str:
    """How the user sees all columns: by --wide, where the command has it."""
    context = click.get_current_context(silent=True)
    has_wide = context is not None and any(option.name == "wide" for option in context.command.params)
    return "--wide" if has_wide else "a wider terminal (or COLUMNS=200)"


def _say(text: str) -> None:
    """A line on stderr, silent under --quiet."""
    context = click.get_current_context(silent=True)
    if not getattr(None if context is None else context.obj, "quiet", False):
        click.echo(text, err=True)
