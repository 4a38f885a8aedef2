"""The site: built without a warning, complete, and made of nothing that is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import ROOT

from defectdb.cli import COMMANDS
from defectdb.schema.dictionary import TABLES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning ends the build."""
    pytest.importorskip("material", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("docs") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        words, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=300, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_command_has_a_page_with_its_help(site: Path) -> None:
    for name in COMMANDS:
        text = (site / "reference" / "commands" / f"{name}.html").read_text(encoding="utf-8")
        assert f"Usage: defectdb {name}" in text
    assert "defectdb formulas activate" in (site / "reference/commands/formulas.html").read_text(
        encoding="utf-8"
    )


def test_every_table_and_column_is_on_the_page_of_tables(site: Path) -> None:
    text = (site / "reference" / "tables.html").read_text(encoding="utf-8")
    for table in TABLES:
        assert f'id="{table.name}"' in text
        assert all(f"<code>{field.name}</code>" in text for field in table.fields)


def test_the_python_page_has_what_is_public(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("connect", "api.Connection.predict", "api.Formula", "SymbolicRegressor.fit"):
        assert f'id="defectdb.{name}"' in text


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in sorted(pages) if not (site / page).is_file()] == []


LOADING = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\s(?:src|data)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?![^>]*rel=[\"']?(?:canonical|next|prev))[^>]*?\shref=[\"']?((?:https?:)?//[^\"'\s>]+)",
    re.IGNORECASE,
)


def test_no_page_or_style_sheet_loads_anything_from_elsewhere(site: Path) -> None:
    found = [
        (path.relative_to(site), match.group(0))
        for path in site.rglob("*.html")
        for match in LOADING.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8"))
    # the theme's script would fetch a library for diagrams where a page has one
    assert not [
        path for path in site.rglob("*.html") if 'class="mermaid"' in path.read_text(encoding="utf-8")
    ]


def test_the_readme_leads_to_every_page_and_to_nothing_that_is_absent() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text)}
    assert [link for link in sorted(linked) if not (ROOT / link).exists()] == []
    ours = (path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    own_lists = ("docs/decisions/", "docs/tutorials/index.md")  # pages that a linked page lists
    assert [page for page in ours if page not in linked and not page.startswith(own_lists)] == []
