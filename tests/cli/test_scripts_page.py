"""What docs/scripts.md promises to programs is what the commands do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from support.builders import ROOT
from support.doc_pages import json_keys

from defectdb.cli import cli, run
from defectdb.errors import ExitCode

TEXT = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
QUICK = ["--generations", "0", "--population", "64", "--max-tokens", "6", "--workers", "1"]


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


def commands_below(group: click.Group, context: click.Context, before: str = "") -> dict[str, click.Command]:
    """Every command and sub-command that does something, by its words."""
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{before} {name}".strip()
        if isinstance(command, click.Group):
            found |= commands_below(command, click.Context(command, parent=context, info_name=name), words)
        else:
            found[words] = command
    return found


def test_every_command_has_json_and_is_on_the_page() -> None:
    assert isinstance(cli, click.Group)
    commands = commands_below(cli, click.Context(cli))
    without = {
        words for words, command in commands.items() if not any("--json" in p.opts for p in command.params)
    }
    assert without == {"completion"}
    page = TEXT.partition("## JSON")[2]
    assert {words for words in commands if f"`{words}`" not in page} == set()


def test_objects_have_the_keys_of_the_page(
    toy_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = ["--db", str(toy_path)]
    assert list(printed(capsys, *db, "status", "--json")) == json_keys("`status`")
    learned = printed(capsys, *db, "learn", "--pair", "Vac_S-W_Mo", *QUICK, "--json")
    assert list(learned) == json_keys("`learn`")
    [kernel] = learned["kernels"]
    assert list(kernel) == json_keys("`learn`, each of `kernels`")
    assert list(kernel["front"][0]) == json_keys("`learn`, each formula of a kernel's `front`")
    assert list(printed(capsys, *db, "publish", str(tmp_path / "copy"), "--json")) == json_keys("`publish`")
    assert list(printed(capsys, *db, "formulas", "activate", "2", "--json")) == json_keys(
        "`formulas activate`"
    )
    assert list(printed(capsys, *db, "migrate", "--json")) == json_keys("`migrate`")
    joined = printed(capsys, "merge", str(toy_path), "-o", str(tmp_path / "all.duckdb"), "--json")
    assert list(joined) == json_keys("`merge`")
    [dataset] = printed(capsys, *db, "datasets", "--json")
    removed = printed(capsys, *db, "remove", dataset["dataset_id"], "--json")
    assert list(removed) == json_keys("`remove`")
    assert removed["structures"] == 63


def test_formulas_show_prints_the_row_and_its_notations(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = ["--db", str(toy_path)]
    shown = printed(capsys, *db, "formulas", "show", "2", "--json")
    columns = {row["column"] for row in printed(capsys, *db, "schema", "formulas", "--json")}
    assert columns <= set(shown)
    assert {"rounded", "python", "c"} <= set(shown) - columns


WITH_FILES = {
    "predict": ["predict", "--target", "homo_lumo_gap", "-o", "p.csv"],
    "export": ["export", "pairs", "-o", "pairs.parquet"],
    "enumerate": ["enumerate", "--supercell", "8,8,1", "--defects", "Vac_S,W_Mo", "-o", "e.csv"],
    "enumerate of all placements": ["enumerate", "--supercell", "8,8,1", "--defects", "Vac_S,W_Mo", "--target",
                                    "homo_lumo_gap", "--every", "-o", "e.parquet"],
    "suggest": ["suggest", "--supercell", "8,8,1", "--budget", "2", "-o", "s.csv"],
}  # fmt: skip


@pytest.mark.parametrize("words", WITH_FILES.values(), ids=WITH_FILES)
def test_a_file_of_rows_is_named_with_its_size(
    words: list[str], toy_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / words[-1]
    said = printed(capsys, "--db", str(toy_path), *words[:-1], str(path), "--json")
    assert list(said) == json_keys("`predict`, `enumerate`, `suggest`, `export`, all with `-o`")
    rows = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    assert said == {
        "file": str(path), "format": path.suffix[1:], "rows": rows.height, "bytes": path.stat().st_size
    }  # fmt: skip


def test_what_was_drawn_and_exported_for_a_paper_is_said(
    toy_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, figure = ["--db", str(toy_path)], tmp_path / "k.svg"
    drawn = printed(capsys, *db, "plot", "kernel", "Vac_S-W_Mo", "-o", str(figure), "--json")
    assert list(drawn) == json_keys("`plot`")
    assert (drawn["target"], drawn["bytes"]) == ("formation_energy", figure.stat().st_size)
    paper = printed(capsys, *db, "export", "paper", str(tmp_path / "paper"), "--json")
    assert list(paper) == json_keys("`export paper`")
    assert {file["file"] for file in paper["files"]} == {
        str(path) for path in (tmp_path / "paper").rglob("*") if path.is_file()
    }


def test_json_of_an_export_to_stdout_is_refused(toy_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--db", str(toy_path), "export", "pairs", "--json"]) == ExitCode.BAD_USAGE
    assert "name it with -o FILE" in capsys.readouterr().err


def test_a_report_of_ingest_has_the_keys_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from defectdb.demo.archive import write_archive

    write_archive(tmp_path / "demo.zip", cell=4, triples=5)
    [report] = printed(
        capsys, "--db", str(tmp_path / "a.duckdb"), "ingest", str(tmp_path / "demo.zip"), "--json"
    )
    assert list(report) == json_keys("`ingest`")


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
