"""`compare` and the retraining `evaluate`, as a shell would call them, and the pages that explain them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.cli.judging.compare import compare_command
from defectdb.cli.judging.evaluate import evaluate_command
from defectdb.db import open_database

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
EXAMPLES = re.findall(r"^    (defectdb .*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy database with its own kernels in use, never written to."""
    path = tmp_path_factory.mktemp("commands") / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db, n=160)
        toy.publish_energy_model(db)
    return path


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_of_the_page_runs(
    line: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    if words[0] == "evaluate":
        words += ["--generations", "0", "--time-limit", "0.01", "--workers", "1"]
    assert run(["--quiet", "--db", str(path), *words]) == 0
    assert capsys.readouterr().out
    drawn = [word for word in words if word.endswith(".png")]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in drawn)


def test_the_page_explains_every_option_of_both_commands() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for command in (compare_command, evaluate_command):
        for option in (
            name for parameter in command.params for name in parameter.opts if name.startswith("--")
        ):
            assert f"`{option}" in text, option


def test_the_verdict_is_narrated_and_the_data_are_json(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(path), "compare", "W_Mo-Vac_Mo", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert {"law", "formula", "mae_cv_interior", "aicc", "value_at_infinity"} <= set(rows[0])
    assert "in cross-validation" in err
    assert "wins" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "--extrapolate", "r>9"], "write r<9"),
        (["evaluate", "--extrapolate", "r<9", "--by", "descriptor"], "choose one of"),
        (["evaluate", "--few-data", "ten"], "write --few-data 10,20,50,100"),
        (["evaluate", "-o", "x.png"], "--few-data"),
        (["compare", "Vac_S-Se_S"], "unknown pair label"),
        (["compare", "Vac_Mo-Vac_S", "--target", "homo_lumo_gap"], "no active formula"),
        (["compare", "Vac_Mo-Vac_S", "-o", "x.gif"], "unknown figure format"),
    ],
)
def test_requests_that_make_no_sense_are_refused_with_what_would(
    words: list[str], said: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(path), *words]) == 2
    assert said in capsys.readouterr().err
