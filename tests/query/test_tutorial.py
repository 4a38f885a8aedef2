"""The tutorial notebook, run cell by cell as Jupyter would."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "tutorial.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell; the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


def test_every_cell_of_the_tutorial_runs(toy_template: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("DEFECTDB_PATH", str(toy_template))
    notebook = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = [run_cell(cell, names) for cell in cells]
    frames = [value for value in shown if isinstance(value, pl.DataFrame)]
    assert len(frames) >= 8
    assert all(frame.height for frame in frames)
    assert "def formula" in capsys.readouterr().out


def test_the_tutorial_is_kept_without_outputs() -> None:
    cells = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
