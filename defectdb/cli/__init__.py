"""The command line: every command parses, makes one library call, prints, and returns an exit code.

Commands are loaded when they are called: `defectdb --help` imports neither duckdb nor torch.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from dataclasses import dataclass
from typing import Any

import click

from defectdb.cli.interrupts import stoppable
from defectdb.errors import DefectDBError, ExitCode, missing_parts_named
from defectdb.version import __version__

DEFAULT_DATABASE = "defects.duckdb"

# command -> (module, one-line help). The help stands here so that --help loads no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "ingest": ("ingest", "Load DFT defect structures into the database."),
    "datasets": ("ingest", "List the loaded datasets with licence and citation."),
    "rejects": ("ingest", "List the rows that could not be loaded, and why."),
    "notes": ("ingest", "List what is odd about structures that were loaded all the same."),
    "remove": ("ingest", "Remove a dataset and its rows."),
    "status": ("database", "Count what the database holds."),
    "schema": ("database", "Print the data dictionary."),
    "pairs": ("database", "List the pair labels with counts and distance ranges."),
    "check": ("database", "Verify the database's references and stored numbers."),
    "merge": ("cluster.stores", "Join databases into one."),
    "publish": ("cluster.stores", "Write a read-only copy for a group, a web server or an archive."),
    "migrate": ("database", "Bring an older database to this version's schema."),
    "learn": ("learn", "Learn formulas for pairs, the whole material model, or a network."),
    "compare": ("judging.compare", "Compare a pair's formula with known laws and look-up tables."),
    "potential": ("potential", "Learn, judge and export interatomic potentials of one element."),
    "formulas": ("formulas", "List, show and activate learned formulas."),
    "predict": ("query", "Predict a target for stored or new structures."),
    "evaluate": ("judging.evaluate", "Compare predictions with the stored targets."),
    "residuals": ("networks.residuals", "List where a network is more accurate than the formulas."),
    "sql": ("query", "Run a SQL query (read-only unless --write)."),
    "select": ("screen", "Pick stored structures by simple filters."),
    "enumerate": ("screen", "List inequivalent placements of defects, with predictions."),
    "suggest": ("screen", "Suggest which structures to compute next."),
    "export": ("export", "Write a table or query as LaTeX, CSV, Markdown, HTML or Parquet."),
    "plot": ("export", "Draw kernels, fronts and parity plots."),
    "site": ("site", "Write the explorer: pages that read the database in the browser."),
    "serve": ("serve", "Answer OPTIMADE queries about the stored structures."),
    "completion": ("completion", "Print a shell's completion script."),
    "demo": ("demo", "Run the whole path on a computed tight-binding dataset."),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options before the command say."""

    database: str
    quiet: bool
    progress: bool


class _ReaderLeft(Exception):  # noqa: N818  (no error: `defectdb status | head`)
    """The reader of standard output closed it; raised in place of what click would turn into exit code 1."""

    def __init__(self, cause: BrokenPipeError) -> None:
        super().__init__()
        self.cause = cause


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    # ruff: noqa: ARG002  (the signatures are click's)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as cause:
            raise _ReaderLeft(cause) from cause

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"defectdb.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from defectdb.errors import UnknownNameError

            raise UnknownNameError("command", name, list(COMMANDS))
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--db",
    "database",
    envvar="DEFECTDB_PATH",
    default=DEFAULT_DATABASE,
    show_default=True,
    metavar="PATH",
    help="Database file; also $DEFECTDB_PATH.",
)
@click.option("-q", "--quiet", is_flag=True, help="No narration on stderr; errors still show.")
@click.option(
    "--progress/--no-progress", default=None, help="Progress bars on stderr (default: on a terminal)."
)
@click.version_option(__version__, prog_name="defectdb")
@click.pass_context
def cli(ctx: click.Context, database: str, quiet: bool, progress: bool | None) -> None:
    """Point defects in 2D crystals: one DuckDB file, readable formulas, predictions in SQL.

    \b
    Examples:
      defectdb ingest 2d-materials-point-defects-all.zip
      defectdb learn --pair Vac_Mo-Vac_S
      defectdb evaluate
    """
    shown = sys.stderr.isatty() if progress is None else progress
    ctx.obj = Settings(database=database, quiet=quiet, progress=shown and not quiet)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code. Errors become one message on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than a table
    try:
        with stoppable(), missing_parts_named():
            cli.main(args=arguments, prog_name="defectdb", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    except _ReaderLeft as left:
        return _output_ended(left.cause)
    except (click.ClickException, DefectDBError, OSError) as error:
        return _failed(error)
    return ExitCode.DONE


def _failed(error: click.ClickException | DefectDBError | OSError) -> int:
    """Say what went wrong on stderr; the exit code."""
    if isinstance(error, OSError):
        return _output_ended(error)
    if isinstance(error, click.ClickException):
        error.show()
        return ExitCode.BAD_USAGE if isinstance(error, click.UsageError) else ExitCode.FAILED
    if os.environ.get("DEFECTDB_DEBUG"):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _output_ended(error: OSError) -> ExitCode:
    """Exit code where standard output is full or, which is no failure, closed by its reader (`| head`)."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (nothing more is written there)
    if isinstance(error, BrokenPipeError):
        return ExitCode.DONE
    print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
    return ExitCode.FAILED
