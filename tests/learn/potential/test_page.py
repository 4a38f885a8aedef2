"""Every command of docs/potentials.md, run in order on a small file, and its Python example."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.builders import ROOT
from support.copper_frames import copper_frames

from defectdb.cli import run

PAGE = (ROOT / "docs" / "potentials.md").read_text()
COMMANDS = re.findall(r"^    defectdb (.+)$", PAGE, re.MULTILINE)
PYTHON = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
QUICK = ["--playouts", "20", "--time-limit", "30"]


def test_the_pages_commands_and_its_example_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copper_frames(tmp_path / "copper.extxyz.gz", count=16, seed=0)
    copper_frames(tmp_path / "cu_pace.extxyz.gz", count=8, seed=1)
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        words = shlex.split(command)
        assert run([*words, *(QUICK if words[:2] == ["potential", "learn"] else [])]) == 0, command
    assert (tmp_path / "Cu.eam.alloy").read_text().splitlines()[3] == "1 Cu"
    assert PYTHON is not None
    capsys.readouterr()
    exec(compile(PYTHON.group(1), "docs/potentials.md", "exec"), {})
    assert float(capsys.readouterr().out.split()[0]) < 0
