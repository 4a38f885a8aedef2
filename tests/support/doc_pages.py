"""A page of docs/: its commands in order, what it says they print, and the files it shows."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from support.builders import ROOT


@dataclass(frozen=True)
class Command:
    """A command without ``defectdb``, and the table that the page shows right after it, '' for none."""

    text: str
    shown: str

    def words(self) -> list[str]:
        """The words that a shell would pass on: patterns are replaced by the files they fit."""
        words = shlex.split(self.text)
        return [found for word in words for found in (_files(word) if "*" in word else [word])]


def _files(pattern: str) -> list[str]:
    return sorted(map(str, Path().glob(pattern)))


@dataclass(frozen=True)
class Page:
    """Commands in the page's order, TOML files by name, Python blocks."""

    commands: list[Command]
    files: dict[str, str]
    python: list[str]


def page(name: str) -> Page:
    """The page ``docs/NAME``."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    commands = re.findall(
        r"^    defectdb ([^\n]+)$(?:\n\n```text\n(.*?)```)?", text, re.MULTILINE | re.DOTALL
    )
    files = re.findall(r"`([\w-]+\.toml)`[^`]*\n\n```toml\n(.*?)```", text, re.DOTALL)
    python = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return Page([Command(*found) for found in commands], dict(files), python)


def write_files(found: Page, folder: Path) -> None:
    """The page's TOML files."""
    for name, text in found.files.items():
        (folder / name).write_text(text, encoding="utf-8")


def squeezed(table: str) -> list[str]:
    """The lines of a table without the spaces at their ends."""
    return [line.rstrip() for line in table.strip().splitlines()]


def json_keys(command: str) -> list[str]:
    """The keys that docs/scripts.md gives a command's JSON, without what stands in parentheses or needs an option."""
    text = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
    [cell] = [line.split("|")[2] for line in text.splitlines() if line.startswith(f"| {command} |")]
    return re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cell.partition(", with `--")[0]))
