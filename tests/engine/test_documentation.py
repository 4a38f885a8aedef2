"""What docs/learn.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from defectdb.cli.learn import learn_command

TEXT = (Path(__file__).parents[2] / "docs" / "learn.md").read_text()


def test_the_worked_example_runs_and_finds_the_law(capsys: pytest.CaptureFixture[str]):
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code is not None
    exec(compile(code.group(1), "docs/learn.md", "exec"), {})
    formula, exact = capsys.readouterr().out.splitlines()
    assert "exp" in formula
    assert "cos" in formula
    assert exact == "True"


def test_every_option_of_the_command_is_explained():
    for parameter in learn_command.params:
        for name in parameter.opts:
            if name.startswith("--"):
                assert f"`{name}" in TEXT


def test_every_parameter_of_the_regressor_is_explained():
    from defectdb.engine import SymbolicRegressor

    for name in SymbolicRegressor().get_params():
        assert f"`{name}`" in TEXT
