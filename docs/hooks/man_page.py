"""Write the manual page from the commands' help: ``python docs/hooks/man_page.py build/man/defectdb.1``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from command_help import CommandHelp, every_command

from defectdb.errors import ExitCode
from defectdb.version import __version__

EXITS = {
    ExitCode.DONE: "Done.",
    ExitCode.FAILED: "Failed.",
    ExitCode.BAD_USAGE: "A command that cannot be meant: an unknown name, or options that exclude each other.",
    ExitCode.BAD_DATA: "Input that cannot be used.",
    ExitCode.DATABASE_UNUSABLE: "A database that is locked, damaged, missing or too new.",
}
VARIABLES = {
    "DEFECTDB_PATH": "The database file, where --db does not name one.",
    "DEFECTDB_WAIT": "Seconds to wait for another process that has the file open (default 30).",
    "DEFECTDB_CACHE": "Folder of downloads and of the pretrained network (default: the user's cache folder).",
    "DEFECTDB_DEBUG": "Show where in the code an error was raised.",
}


def man_page() -> str:
    """The page in groff's man macros."""
    first, *commands = every_command()
    lines = [
        f'.TH DEFECTDB 1 "" "defectdb {__version__}" "User commands"',
        ".SH NAME",
        f"defectdb \\- {_text(_summary(first))}",
        ".SH SYNOPSIS",
        ".B defectdb",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR]...",
        ".SH DESCRIPTION",
        *_paragraphs(first.command.help or ""),
        ".SH OPTIONS",
        *_options(first),
        ".SH COMMANDS",
    ]
    for command in commands:
        lines += [f".SS {_text(command.words)}", *_usage(command), *_paragraphs(command.command.help or "")]
        lines += _options(command)
    lines += [".SH EXIT STATUS", *_list({str(int(code)): text for code, text in EXITS.items()})]
    lines += [".SH ENVIRONMENT", *_list(VARIABLES)]
    lines += [".SH FILES", *_list({"defects.duckdb": "The database, in the folder that one is in."})]
    return "\n".join(lines) + "\n"


def _summary(command: CommandHelp) -> str:
    return command.summary.rstrip(".")


def _usage(command: CommandHelp) -> Iterator[str]:
    pieces = " ".join(command.command.collect_usage_pieces(command.context))
    yield from (".PP", f"\\fB{_text(command.words)}\\fR {_text(pieces)}")


def _options(command: CommandHelp) -> Iterator[str]:
    for parameter in command.command.params:
        record = parameter.get_help_record(command.context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from (".TP", f"\\fB{_text(record[0])}\\fR", _text(record[1]))


def _list(entries: dict[str, str]) -> Iterator[str]:
    for name, text in entries.items():
        yield from (".TP", f"\\fB{_text(name)}\\fR", _text(text))


def _paragraphs(text: str) -> Iterator[str]:
    """click's help text: paragraphs, and those after a line ``\\b`` line by line."""
    for paragraph in text.strip().split("\n\n"):
        verbatim = paragraph.lstrip().startswith("\b")
        lines = [line for line in paragraph.splitlines() if line.strip() != "\b"]
        yield ".PP"
        if verbatim:
            yield from (".nf", *(_text(line.rstrip()) for line in lines), ".fi")
        else:
            yield _text(" ".join(line.strip() for line in lines))


def _text(text: str) -> str:
    """Text as it stands: no backslash, hyphen or first character is taken for a request."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + safe if safe[:1] in {".", "'"} else safe


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(man_page(), encoding="utf-8")
