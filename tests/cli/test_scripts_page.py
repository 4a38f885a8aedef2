"""What docs/scripts.md promises to programs is what the commands do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.builders import ROOT

from defectdb.cli import run
from defectdb.errors import ExitCode

TEXT = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
QUICK = ["--generations", "0", "--population", "64", "--max-tokens", "6", "--workers", "1"]


def keys_of(command: str) -> list[str]:
    """The keys that the page gives a command, without what stands in parentheses."""
    [cell] = [line.split("|")[2] for line in TEXT.splitlines() if line.startswith(f"| {command} |")]
    outside = re.sub(r"\(.*?\)", "", cell.partition(", with `--units`")[0])
    return re.findall(r"`(\w+)`", outside)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["-q", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_variable_that_the_code_reads_is_explained() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "defectdb").rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get|\.setdefault)?[\[(]"([A-Z_]+)"', code))
    named = set(
        re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", TEXT.partition("## Environment")[2].partition("## JSON")[0])
    )
    assert read | set(re.findall(r'"(DEFECTDB_[A-Z]+)"', code)) <= named


def test_every_exit_code_is_explained() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode} | {130}


def test_objects_have_the_keys_of_the_page(
    toy_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = ["--db", str(toy_path)]
    assert list(printed(capsys, *db, "status", "--json")) == keys_of("`status`")
    learned = printed(capsys, *db, "learn", "--pair", "Vac_S-W_Mo", *QUICK, "--json")
    assert list(learned) == keys_of("`learn`")
    [kernel] = learned["kernels"]
    assert list(kernel) == keys_of("`learn`, each of `kernels`")
    assert list(kernel["front"][0]) == keys_of("`learn`, each formula of a kernel's `front`")
    assert list(printed(capsys, *db, "publish", str(tmp_path / "copy"), "--json")) == keys_of("`publish`")
    joined = printed(capsys, "merge", str(toy_path), "-o", str(tmp_path / "all.duckdb"), "--json")
    assert list(joined) == keys_of("`merge`")


def test_a_report_of_ingest_has_the_keys_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from defectdb.demo.archive import write_archive

    write_archive(tmp_path / "demo.zip", cell=4, triples=5)
    [report] = printed(
        capsys, "--db", str(tmp_path / "a.duckdb"), "ingest", str(tmp_path / "demo.zip"), "--json"
    )
    assert list(report) == keys_of("`ingest`")


@pytest.mark.parametrize(
    "words", [["evaluate", "--by", "n_defects"], ["select", "n_defects=2"], ["formulas"], ["datasets"],
              ["notes"], ["rejects"], ["check"]], ids=lambda words: words[0],
)  # fmt: skip
def test_tables_are_lists_of_rows(
    words: list[str], toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed(capsys, "--db", str(toy_path), *words, "--json")
    assert isinstance(rows, list)
    assert all(list(row) == list(rows[0]) for row in rows)
