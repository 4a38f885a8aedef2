"""Say in JSON which file a command wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defectdb.cli.display.terminal import emit_json


def file_facts(path: Path, **about: Any) -> dict[str, Any]:
    """A written file for JSON: its name, what it is ``about``, and its size in bytes."""
    return {"file": str(path), **about, "bytes": path.stat().st_size}


def emit_table_file(path: Path, style: str, rows: int) -> None:
    """Print the JSON of a file of rows: ``file``, ``format``, ``rows`` and ``bytes``."""
    emit_json(file_facts(path, format=style, rows=rows))
