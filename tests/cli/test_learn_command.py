"""`defectdb learn`: what it says while it works, on a terminal and elsewhere, and what it leaves for machines."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from defectdb.cli import Settings, run
from defectdb.cli.live import LearnDisplay
from defectdb.db import open_database
from defectdb.learn.config import LearnConfig
from defectdb.learn.kernels import Kernel, KernelTask
from defectdb.learn.segvae.front import Scored
from defectdb.learn.segvae.settings import Generation
from defectdb.schema.expression import Constant

SHORT = ["--generations", "1", "--population", "64", "--max-tokens", "9"]
REACHED = ((3, 4e-4), (7, 1e-4), (11, 9e-6))


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def generation(number: int) -> Generation:
    return Generation(number, 2.0, 4000, 3200, 3000, 1500, 9e-6, 7.25 if number else 0.0, 10.0, REACHED)


def shown(display: LearnDisplay) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(display.render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def display_of() -> LearnDisplay:
    return LearnDisplay(Settings("x", quiet=False, progress=True), time_limit=60.0, generations=12)


def test_elsewhere_than_on_a_terminal_every_generation_is_a_line(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(toy_path), "learn", "--pair", "Vac_Mo-Vac_S", *SHORT]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line[:14] for line in lines if line.startswith("generation")][:2] == [
        "generation   0",
        "generation   1",
    ]
    assert not any("━" in line or "\x1b" in line for line in lines)


def test_json_holds_the_statistics_that_the_database_holds(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["learn", "--pair", "Vac_Mo-Vac_S", "--pair", "Vac_S-Vac_S", "--workers", "2", "--json"]
    assert run(["--db", str(toy_path), "-q", *asked, *SHORT]) == 0
    learned = json.loads(capsys.readouterr().out)
    with open_database(toy_path, read_only=True) as db:
        stored = db.frame(
            "SELECT generation, n_candidates, n_unique, n_new, n_in_domain, best_mse FROM generations "
            "WHERE run_id = ? ORDER BY task, generation",
            [learned["run_id"]],
        )
    assert len(learned["kernels"]) > 1  # in processes of their own
    names = ("generation", "n_candidates", "n_unique", "n_new", "n_in_domain", "best_mse")
    printed = [tuple(g[name] for name in names) for k in learned["kernels"] for g in k["generations"]]
    assert sorted(printed) == sorted(stored.rows())
    searched = [kernel for kernel in learned["kernels"] if kernel["generations"]]
    assert searched  # a kernel of few distances is a constant, and needs no search
    for kernel in searched:
        last = kernel["generations"][-1]
        assert last["reached"][-1]["mse"] == pytest.approx(last["best_mse"])
        sizes = [step["complexity"] for step in last["reached"]]
        errors = [step["mse"] for step in last["reached"]]
        assert sizes == sorted(set(sizes))
        assert errors == sorted(errors, reverse=True)


def test_the_live_table_shows_shares_rates_errors_by_length_and_time() -> None:
    display = display_of()
    hooks = display.progress()
    hooks.kernel(None, 0, 1)
    assert "small formulas and sums" in shown(display)
    assert hooks.generation is not None
    for number in range(3):
        hooks.generation(generation(number))
    text = shown(display)
    row = next(line for line in text.splitlines() if line.split()[:1] == ["2"])
    assert row.split() == ["2", "4,000", "2,000", "80%", "75%", "50%", "7.2", "3"]
    assert "3: 20" in text
    assert "7: 10" in text
    assert "11: 3" in text
    assert "generation 3 of 12" in text
    assert "left at the most" in text


def test_many_generations_keep_the_latest_and_a_new_island_starts_anew() -> None:
    display = display_of()
    hooks = display.progress()
    hooks.kernel(None, 0, 1)
    assert hooks.generation is not None
    for number in range(40):
        hooks.generation(generation(number))
    rows = [line.split()[0] for line in shown(display).splitlines() if line[:12].strip().isdigit()]
    assert rows[-1] == "39"
    assert len(rows) < 15
    hooks.generation(generation(0))
    assert [line.split()[0] for line in shown(display).splitlines() if line[:12].strip().isdigit()] == ["0"]


def test_searches_in_other_processes_are_rows_below_a_bar_over_the_kernels() -> None:
    display = display_of()
    display.progress().kernel(None, 0, 5)
    assert "small formulas and sums of them first" in shown(display)
    config = LearnConfig(islands=2)
    for label, island in (("Vac_Mo-Vac_S", 0), ("Vac_S-Vac_S", 1)):
        task = KernelTask(label, 0.0, 1e9, None, None, None, None, 30.0, config, "cpu", island=island)  # type: ignore[arg-type]
        display._beside(task, generation(4))
    text = shown(display)
    assert "0/5" in text
    assert "Vac_Mo-Vac_S #1" in text
    assert "Vac_S-Vac_S #2" in text
    assert "0:5" in text  # of the minute that each has
    best = Scored(Constant(0), (0.0,), 1, 0.0, 0.0, 0.0, 0.0, 0.0, ())
    display.progress().kernel(Kernel(task, [best], 0, [], 1.0, 0), 1, 5)
    text = shown(display)
    assert "1/5" in text
    assert "Vac_S-Vac_S" not in text
    assert "Vac_Mo-Vac_S #1" in text


def test_time_that_is_over_is_not_negative() -> None:
    display = display_of()
    hooks = display.progress()
    hooks.kernel(None, 0, 1)
    assert hooks.generation is not None
    hooks.generation(generation(0))
    display.begin = time.monotonic() - 100
    assert "finishing the front" in shown(display)
    assert "0:00 left" in shown(display)
