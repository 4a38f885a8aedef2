"""The help of every command, for the site's command pages and for the man page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from defectdb.cli import cli

WIDTH = 80  # columns of the help as it is written out


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """One command: the words one types, its first sentence, its whole help text, and the click command."""

    words: str
    summary: str
    text: str
    command: click.Command
    context: click.Context

    @property
    def top(self) -> str:
        """The command's own name without its subcommand: ``learn``; empty for defectdb itself."""
        return self.words.partition(" ")[2].partition(" ")[0]


def every_command() -> Iterator[CommandHelp]:
    """defectdb itself, then every command in the order of ``defectdb --help``, each before its subcommands."""
    yield from _walk(cli, "defectdb", None)


def _walk(command: click.Command, name: str, parent: click.Context | None) -> Iterator[CommandHelp]:
    settings = command.context_settings | {"max_content_width": WIDTH, "terminal_width": WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    summary = command.get_short_help_str(limit=300)
    yield CommandHelp(context.command_path, summary, command.get_help(context), command, context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                yield from _walk(found, inner, context)
