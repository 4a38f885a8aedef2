"""The manual page: every command and option, in words that groff takes without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import ROOT

from defectdb.cli import COMMANDS


@pytest.fixture(scope="module")
def man_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written as `make man` does."""
    path = tmp_path_factory.mktemp("man") / "defectdb.1"
    subprocess.run([sys.executable, "docs/hooks/man_page.py", str(path)], cwd=ROOT, check=True, timeout=200)
    return path


def test_every_command_and_variable_is_on_the_page(man_page: Path) -> None:
    text = man_page.read_text(encoding="utf-8").replace("\\-", "-")
    assert [name for name in COMMANDS if f".SS defectdb {name}\n" not in text] == []
    assert ".SS defectdb potential learn\n" in text
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "defectdb").rglob("*.py"))
    for name in set(re.findall(r'"(DEFECTDB_[A-Z]+)"', code)):
        assert f"\\fB{name}\\fR" in text


def test_groff_sets_the_page_without_a_warning(man_page: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    set_page = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c", str(man_page)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set_page.stderr == ""
    plain = re.sub(".\b", "", set_page.stdout)
    assert "--all-pairs" in plain
    assert "  defectdb learn --pair Vac_Mo-Vac_S\n" in plain
