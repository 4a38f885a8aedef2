"""Shell completion as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from defectdb.cli import run


def complete(database: Path, words: str, number: int) -> list[str]:
    """What bash would be offered for the word of that number."""
    environment = {**os.environ, "_DEFECTDB_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number),
                   "DEFECTDB_PATH": str(database)}  # fmt: skip
    code = "from defectdb.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_targets_and_labels_are_offered(toy_template: Path, tmp_path: Path) -> None:
    assert complete(toy_template, "defectdb for", 1) == ["formulas"]
    assert complete(toy_template, "defectdb predict --target homo", 3) == ["homo_lumo_gap", "homo"]
    assert complete(toy_template, "defectdb plot kernel Vac_Mo", 3) == [
        "Vac_Mo-Vac_Mo",
        "Vac_Mo-Vac_S",
        "Vac_Mo-W_Mo",
    ]
    assert complete(tmp_path / "none.duckdb", "defectdb formulas V", 2) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_DEFECTDB_COMPLETE" in capsys.readouterr().out


def test_an_unknown_shell_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "csh"]) == 2
    assert "known: bash, zsh, fish" in capsys.readouterr().err.lower()
