"""Pages of the site that are made from the code while it is built: commands, tables and columns, the changelog."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # the command help lies beside this file

from command_help import CommandHelp, every_command  # noqa: E402

from defectdb.schema.dictionary import TABLES  # noqa: E402
from defectdb.schema.dictionary_entries import Table  # noqa: E402

COMMANDS = "reference/commands"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the commands to the navigation, where it says ``reference/commands``, and pages of the folder
    that it does not name at the end of Reference."""
    named = set(_paths(config.nav))
    config.nav = [_with_commands(entry) for entry in config.nav or []]
    [reference] = [entry["Reference"] for entry in config.nav if "Reference" in entry]
    reference += sorted({path.name for path in Path(config.docs_dir).glob("*.md")} - named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made here to those in the folder."""
    pages = _command_pages() | {
        "reference/tables.md": _tables_page(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def _paths(entry: Any) -> Iterator[str]:
    """Every path in a part of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from _paths(inner)


def _with_commands(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {title: [_with_commands(e) for e in inner] if isinstance(inner, list) else
                (_command_navigation() if inner == COMMANDS else inner)
                for title, inner in entry.items()}  # fmt: skip
    return entry


def _command_navigation() -> list[Any]:
    tops = dict.fromkeys(command.top for command in every_command() if command.top)
    return [f"{COMMANDS}/index.md", *({top: f"{COMMANDS}/{top}.md"} for top in tops)]


def _command_pages() -> dict[str, str]:
    """One page for defectdb and one for each command, with its subcommands; path to Markdown."""
    commands = list(every_command())
    pages: dict[str, str] = {}
    for command in commands:
        path = f"{COMMANDS}/{command.top or 'index'}.md"
        level = "#" if path not in pages else "##"
        pages[path] = pages.get(path, "") + _help_section(command, level)
    tops = [command for command in commands if len(command.words.split()) == 2]
    rows = [f"| [`{command.words}`]({command.top}.md) | {_cell(command.summary)} |" for command in tops]
    pages[f"{COMMANDS}/index.md"] += (
        "\n## Every command\n\n| command | what it does |\n|---|---|\n" + "\n".join(rows)
    )
    return pages


def _help_section(command: CommandHelp, level: str) -> str:
    title = command.words if command.top else "Command line"
    return f"{level} {title}\n\nWhat `{command.words} --help` prints:\n\n```text\n{command.text}\n```\n\n"


def _tables_page() -> str:
    parts = [
        "# Tables and views\n\nEvery table and view of the database file with its columns. `defectdb schema` prints "
        "the same, and the file itself carries it as comments. [Questions in SQL](../sql.md) shows them at work.\n"
    ]
    for title, views in (("Tables", False), ("Views", True)):
        listed = [table for table in TABLES if table.view is views]
        parts.append(f"\n## {title}\n")
        parts += [_table_section(table) for table in listed]
    return "\n".join(parts)


def _table_section(table: Table) -> str:
    rows = [f"| `{field.name}` | {_cell(field.unit)} | {_cell(field.meaning)} |" for field in table.fields]
    return "\n".join(
        [
            f"### {table.name}\n",
            f"{_cell(table.meaning)}\n",
            "| column | unit | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    """Text as it stands, in a Markdown table."""
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", text)
