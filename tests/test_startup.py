"""The command line starts fast, and every command explains itself with an example."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from defectdb.cli import COMMANDS, cli

HEAVY = ("torch", "duckdb", "polars", "pymatgen", "sympy", "numpy", "scipy", "matplotlib", "pyarrow", "gemmi")

PROBE = """
import json, sys
from defectdb.cli import run
code = run(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def modules_after(*arguments):
    """Top-level modules that a fresh interpreter has loaded after one command line."""
    finished = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    result = json.loads(finished.stdout.splitlines()[-1])
    assert result["code"] == 0, finished.stderr
    return {name.partition(".")[0] for name in result["modules"]}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_no_heavy_library(arguments):
    assert not modules_after(*arguments) & set(HEAVY)


def test_help_lists_every_command():
    shown = CliRunner().invoke(cli, ["--help"])
    assert all(name in shown.output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    examples = shown.output.partition("Example")[2]
    assert re.search(rf"^ *defectdb (--db \S+ )?{name}\b", examples, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name):
    command = cli.get_command(click.Context(cli), name)
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def parse(line):
    """Parse one example as click would, without running it; the command's name."""
    name, *arguments = shlex.split(re.sub(r"^defectdb --db \S+ ", "defectdb ", line).partition(" #")[0])[1:]
    assert name in COMMANDS, line
    command = cli.get_command(click.Context(cli), name)
    command.make_parser(click.Context(command)).parse_args(arguments)
    return name


def test_every_example_in_the_readme_is_a_command_line_that_parses():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (defectdb .*)$", text, flags=re.MULTILINE)
    assert {parse(line) for line in lines} >= {"ingest", "learn", "evaluate", "predict", "export"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_the_help_parses(name):
    command = cli.get_command(click.Context(cli), name)
    lines = [line.strip() for line in command.help.splitlines() if line.strip().startswith("defectdb ")]
    assert {parse(line) for line in lines} >= {name}
