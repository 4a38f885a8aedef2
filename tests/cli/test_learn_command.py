"""`defectdb learn`: what it says while it works, on a terminal and elsewhere, and what it leaves for machines."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from support import toy_database as toy

from defectdb.cli import Settings, run
from defectdb.cli.display.live import LearnDisplay
from defectdb.db import Database, open_database
from defectdb.engine.finishing.scored import Scored
from defectdb.engine.search.outcome import Generation
from defectdb.expressions.expression import Constant
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.kernel_task import Kernel, PairTask

SHORT = ["--generations", "1", "--population", "64", "--max-tokens", "9"]
NO = np.zeros(0)
ALONE = PairTask(label="Vac_Mo-Vac_S", x=NO, y=NO, weight=NO, config=LearnConfig(), device="cpu")
SHORTEST = ["--generations", "0", "--population", "64", "--max-tokens", "6"]
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


def test_lines_of_several_searches_say_which_they_are(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["learn", "--pair", "Vac_Mo-Vac_S", "--pair", "Vac_S-W_Mo", *SHORTEST]
    for workers in ("1", "2"):
        assert run(["--db", str(toy_path), *asked, "--workers", workers]) == 0
        lines = capsys.readouterr().err.splitlines()
        for label in ("Vac_Mo-Vac_S", "Vac_S-W_Mo"):
            assert [line for line in lines if line.startswith(f"{label}: generation   0")], workers
    assert run(["--db", str(toy_path), "learn", "--pair", "Vac_S-W_Mo", *SHORTEST, "--islands", "2"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert {line[:13] for line in lines if "generation   0" in line} == {"Vac_S-W_Mo #1", "Vac_S-W_Mo #2"}


def test_the_generations_of_islands_are_told_apart(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["learn", "--pair", "Vac_S-W_Mo", "--islands", "2", "--workers", "1", "--json"]
    assert run(["--db", str(toy_path), "-q", *asked, *SHORT]) == 0
    [kernel] = json.loads(capsys.readouterr().out)["kernels"]
    told = [(g["island"], g["generation"]) for g in kernel["generations"]]
    assert told == sorted(set(told))
    assert {island for island, _ in told} == {0, 1}


def test_a_front_says_what_it_was_learned_from_and_what_its_errors_are_errors_of(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(toy_path), "-q", "learn", "--pair", "Vac_S-W_Mo", *SHORT]) == 0
    first, second, *table = capsys.readouterr().out.splitlines()
    with open_database(toy_path, read_only=True) as db:
        [[n, low, high]] = db.frame(
            "SELECT count(*), min(distance), max(distance) FROM pair_energies WHERE label = 'Vac_S-W_Mo'"
        ).rows()
    assert first == f"Vac_S-W_Mo: formation_energy, {n} rows, r {low:.2f} to {high:.2f} angstrom"
    assert "meV per pair" in second
    assert "twice those per site" in second
    header = next(line.split() for line in table if "tokens" in line)
    columns = ["tokens", "RMSE", "MAE", "MAE_cv", "interior", "BIC", "DL", "formula"]
    assert [name for name in header if name != "law"] == columns  # a law is named where there is one
    rows = [line.replace("*", " ", 1).split() for line in table if "─" not in line and line.strip()]
    errors = [float(row[1]) for row in rows[1:] if row[0].isdigit()]
    assert len(errors) > 1
    assert errors == sorted(errors, reverse=True)  # what the front is a front of


def test_one_label_prints_the_front_of_every_kernel_and_several_their_chosen_formulas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db, n=400)  # enough for both layers
    assert run(["--db", str(path), "-q", "learn", "--pair", "Vac_S-Vac_S", *SHORTEST, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "Vac_S-Vac_S dz<1.56: formation_energy" in out
    assert "Vac_S-Vac_S dz>=1.56: formation_energy" in out
    assert out.count("tokens") == out.count("*  ") == 2
    asked = ["learn", "--pair", "Vac_S-Vac_S", "--pair", "Vac_Mo-Vac_S", *SHORTEST, "--workers", "1"]
    assert run(["--db", str(path), "-q", *asked]) == 0
    out = capsys.readouterr().out
    [header] = [line.split() for line in out.splitlines() if "tokens" in line]
    columns = ["kernel", "id", "tokens", "RMSE", "MAE", "MAE_cv", "interior", "formula"]
    assert [name for name in header if name != "law"] == columns
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["--db", str(path), "-q", *asked]) == 0
    [narrow] = [line.split() for line in capsys.readouterr().out.splitlines() if "MAE_cv" in line]
    assert [name for name in narrow if name != "law"] == [
        "kernel",
        "id",
        "tokens",
        "MAE",
        "MAE_cv",
        "formula",
    ]
    assert out.count("Vac_S-Vac_S") == 2


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--pair", "Vac_Mo-Vac_S", "--time-limit", "nan"], 2, "nan is no number of seconds"),
        (["--pair", "Vac_Mo-Vac_S", "--time-limit", "inf"], 2, "inf is no number of seconds"),
        (["--pair", "Vac_Mo-Vac_S", "--seed", "99999999999999999999"], 2, "does not fit into 64 bits"),
        (["--pair", "Vac_Mo-Vac_S", "--allow", "foo"], 2, "unknown operator 'foo'"),
        (["--pair", "Vac_Mo-Vac_S", "--forbid", "r"], 2, "unknown operator 'r'"),
        (["--pair", "Vac_Mo-Vac_S", "--require", "damped"], 2, "add --allow damped"),
        (["--pair", "Vac_Mo-Vac_S", "--require", "cos", "--forbid", "cos"], 2, "both required and forbidden"),
        (["--model", "--from", "all", "--require", "pow"], 2, "add --allow pow"),
        (["--pair", "Vac_Mo-Vac_S", "--from", "all"], 2, "write --model --from all"),
        (["--all-pairs", "--from", "all"], 2, "write --model --from all"),
        (["--pair", "Vac_Mo-Vac_S", "--nested"], 2, "write --model --from all --nested"),
        (["--model", "--nested"], 2, "write --model --from all --nested"),
        (["--pair", "Vac_Mo-Vac_S", "--where", "true) or (true"], 2, "'true) or (true' is none"),
        (["--pair", "Vac_Mo-Vac_S", "--where", "distance < 9"], 3, "widen --where"),
        (["--pair", "W_Mo-W_Mo"], 3, "W_Mo-W_Mo has 1 distance in the database"),
        (["--all-pairs", "--where", "distance < 9"], 3, "widen --where"),
    ],
)
def test_what_cannot_be_learned_is_said_before_anything_is_written(
    toy_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, said: str
) -> None:
    with open_database(toy_path, read_only=True) as db:
        before = db.frame("SELECT * FROM runs"), db.frame("SELECT * FROM models"), formulas_of(db)
    assert run(["--db", str(toy_path), "learn", *options, *SHORT]) == code
    assert said in capsys.readouterr().err
    with open_database(toy_path, read_only=True) as db:
        after = db.frame("SELECT * FROM runs"), db.frame("SELECT * FROM models"), formulas_of(db)
    assert all(x.equals(y) for x, y in zip(before, after, strict=True))


def formulas_of(db: Database) -> pl.DataFrame:
    return db.frame("SELECT formula_id, status, mae_cv FROM formulas ORDER BY formula_id")


def test_labels_of_too_few_distances_get_constants_and_a_line_each(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--db", str(toy_path), "learn", "--all-pairs", *SHORTEST, "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert "W_Mo-W_Mo has 1 distance, 4 are needed for a formula: it gets the constant" in said.err
    assert "Vac_Mo-Vac_S has" not in said.err
    [line] = [line for line in said.out.splitlines() if "W_Mo-W_Mo" in line]
    assert len(line.split()) == 6  # name, id, one token, RMSE, MAE, value: no error where it was left out
    assert "nan" not in said.out
    with open_database(toy_path, read_only=True) as db:
        stored = db.frame(
            "SELECT mae_cv, bic FROM formulas WHERE status = 'active' AND pair_label = 'W_Mo-W_Mo' AND target = ?",
            ["formation_energy"],
        )
    assert stored.rows() == [(None, None)]

    assert run(["--db", str(toy_path), "formulas", "--model-front", "--csv"]) == 0
    exact = pl.read_csv(io.StringIO(capsys.readouterr().out))
    assert run(["--db", str(toy_path), "formulas", "--model-front"]) == 0
    said = capsys.readouterr()
    assert f"some of {exact.height}, --csv lists all" in said.err
    heading, _, *rows = said.out.splitlines()
    assert heading.split() == ["tokens", "error", "[meV]"]
    shown = [tuple(float(cell) for cell in row.split()[-2:]) for row in rows]
    in_mev = dict(zip(exact["tokens"], (1000 * exact["error"]).to_list(), strict=True))
    assert all(error == pytest.approx(in_mev[tokens], rel=1e-3) for tokens, error in shown)
    [used] = [row for row in rows if row.startswith("*")]
    assert float(used.split()[1]) == exact.filter("active")["tokens"].item()
    assert {shown[0][0], shown[-1][0]} == {exact["tokens"].min(), exact["tokens"].max()}


def test_json_holds_the_statistics_that_the_database_holds(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["learn", "--pair", "Vac_Mo-Vac_S", "--pair", "Vac_S-W_Mo", "--workers", "2", "--json"]
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
    for kernel in learned["kernels"]:
        last = kernel["generations"][-1]
        assert last["reached"][-1]["mse"] == pytest.approx(last["best_mse"])
        sizes = [step["complexity"] for step in last["reached"]]
        errors = [step["mse"] for step in last["reached"]]
        assert sizes == sorted(set(sizes))
        assert errors == sorted(errors, reverse=True)
        assert all(f["rmse"] == pytest.approx(f["mse"] ** 0.5) for f in kernel["front"])


def test_candidates_are_stored_and_used_only_when_they_are_activated(
    toy_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def active() -> list[tuple[int, ...]]:
        with open_database(toy_path, read_only=True) as db:
            return db.frame(
                "SELECT model_id, formula_id FROM models JOIN model_terms USING (model_id) "
                "WHERE models.status = 'active' AND formula_id IS NOT NULL ORDER BY ALL"
            ).rows()

    before = active()
    asked = ["learn", "--pair", "Vac_Mo-Vac_S", "--no-activate", *SHORT]
    assert run(["--db", str(toy_path), *asked]) == 0
    said = capsys.readouterr().err
    assert "stored, not active" in said
    formula_id = said.split("chosen: ")[1].strip()
    assert active() == before
    with open_database(toy_path, read_only=True) as db:
        model_id, status = db.frame("SELECT model_id, status FROM models ORDER BY 1 DESC LIMIT 1").row(0)
        [[kept]] = db.frame(
            "SELECT DISTINCT status FROM formulas WHERE run_id = (SELECT max(run_id) FROM runs)"
        ).rows()
    assert status == kept == "candidate"
    predict = ["predict", "--target", "formation_energy", "--model", str(model_id)]
    assert run(["--db", str(toy_path), "-q", *predict]) == 0
    assert run(["--db", str(toy_path), "formulas", "activate", formula_id]) == 0
    assert int(formula_id) in {used for _, used in active()}


def test_without_an_active_model_the_candidate_itself_is_put_to_use(tmp_path: Path) -> None:
    path = tmp_path / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db, n=60)
    assert run(["--db", str(path), "-q", "learn", "--pair", "Vac_S-W_Mo", "--no-activate", *SHORT]) == 0
    with open_database(path, read_only=True) as db:
        [[model_id, formula_id]] = db.frame(
            'SELECT model_id, formula_id FROM model_terms WHERE "order" = 2'
        ).rows()
        assert db.value("SELECT count(*) FROM models WHERE status = 'active'") == 0
    assert run(["--db", str(path), "-q", "formulas", "activate", str(formula_id)]) == 0
    with open_database(path, read_only=True) as db:
        assert db.value("SELECT model_id FROM models WHERE status = 'active'") == model_id


def test_the_live_table_shows_shares_rates_errors_by_length_and_time() -> None:
    display = display_of()
    hooks = display.progress()
    hooks.kernel(None, 0, 1)
    assert "small formulas and sums" in shown(display)
    assert hooks.generation is not None
    for number in range(3):
        hooks.generation(ALONE, generation(number))
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
        hooks.generation(ALONE, generation(number))
    rows = [line.split()[0] for line in shown(display).splitlines() if line[:12].strip().isdigit()]
    assert rows[-1] == "39"
    assert len(rows) < 15
    hooks.generation(ALONE, generation(0))
    assert [line.split()[0] for line in shown(display).splitlines() if line[:12].strip().isdigit()] == ["0"]


def test_searches_in_other_processes_are_rows_below_a_bar_over_the_kernels() -> None:
    display = display_of()
    display.progress().kernel(None, 0, 5)
    assert "small formulas and sums of them first" in shown(display)
    for label, island in (("Vac_Mo-Vac_S", 0), ("Vac_S-Vac_S", 1)):
        task = replace(ALONE, label=label, islands=2, island=island)
        display._worker_generation(task, generation(4))
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
    hooks.generation(ALONE, generation(0))
    display.begin = time.monotonic() - 100
    assert "finishing the front" in shown(display)
    assert "0:00 left" in shown(display)
