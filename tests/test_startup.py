"""The command line starts fast, and every command explains itself with an example."""

import json
import re
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
    assert f"defectdb {name}" in shown.output.partition("Example")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name):
    command = cli.get_command(click.Context(cli), name)
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_examples_in_the_readme_name_commands_that_exist():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    calls = re.findall(r"^ *defectdb (?:--db \S+ )?([a-z]+)", text, flags=re.MULTILINE)
    assert calls
    assert set(calls) <= set(COMMANDS)
