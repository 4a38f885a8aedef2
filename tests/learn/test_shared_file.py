"""While formulas are searched the file belongs to everybody: others read, write and learn, and all of it lands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.db.access.locks import FileLockedError, hold, in_turn, is_held, let_go, run_lock
from defectdb.db.models.formulas import start_run
from defectdb.engine.finishing.scored import Scored
from defectdb.errors import ChangedDataError, DatabaseError
from defectdb.expressions.expression import Constant
from defectdb.learn import LearnConfig, Progress, learn_pairs
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.schema.records import RunRecord

QUICK = LearnConfig(generations=0, population=64, exhaustive_size=3, workers=1, max_tokens=7)
PAIR = "Vac_Mo-Vac_S"
OTHER = "Vac_S-W_Mo"


def medians(tasks: Sequence[KernelTask], *_: object) -> Iterator[Kernel]:
    """In place of a search: the median of the rows as the only formula."""
    for task in tasks:
        value = float(np.median(task.y))
        mae = float(np.abs(task.y - value).mean())
        yield Kernel(task, [Scored(Constant(0), (value,), 1, mae**2, mae, mae, mae, 0.0, ())], 0, [], 0.0, 0)


@pytest.fixture(autouse=True)
def _no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectdb.learn.from_pairs.learn_kernels", medians)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "toy.duckdb"
    with open_database(file, create=True) as db:
        toy.fill(db, n=60)
    return file


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(template, tmp_path / "toy.duckdb"))


@pytest.fixture
def shared(path: Path) -> Iterator[Database]:
    with open_database(path, shared=True) as db:
        yield db


def meanwhile(action: Callable[[], object]) -> Progress:
    """Does something once, while the first kernel is searched."""
    done: list[bool] = []

    def kernel(found: object, *_: object) -> None:
        if found is None and not done:
            done.append(True)
            action()

    return Progress(kernel=kernel)


def a_reject(path: Path) -> None:
    with open_database(path) as db, db.transaction():
        row = {"dataset_id": "other", "source_path": "x", "reason": "y", "detail": "z"}
        db.append("rejects", pl.DataFrame([row]))


def test_others_read_and_write_while_formulas_are_searched(shared: Database, path: Path) -> None:
    seen: list[object] = []

    def look() -> None:
        with duckdb.connect(str(path), read_only=True) as plain:
            seen.extend(plain.sql("SELECT status FROM runs").fetchall())
        a_reject(path)

    learned = learn_pairs(shared, QUICK, [PAIR], meanwhile(look))
    assert seen == [("running",)]
    assert shared.frame("SELECT status, reason FROM runs").rows() == [("done", None)]
    assert shared.value("SELECT count(*) FROM rejects WHERE dataset_id = 'other'") == 1
    assert shared.value("SELECT model_id FROM models WHERE status = 'active'") == learned.model_id
    assert not list(path.parent.glob(".*"))


def test_two_learners_at_once_both_land_in_one_model(shared: Database, path: Path) -> None:
    def other_learner() -> None:
        with open_database(path, shared=True) as db:
            learn_pairs(db, QUICK, [OTHER])

    learn_pairs(shared, QUICK, [PAIR], meanwhile(other_learner))
    labels = shared.frame(
        "SELECT label FROM model_terms JOIN models USING (model_id) WHERE status = 'active' AND \"order\" = 2"
    )
    assert {PAIR, OTHER} <= set(labels["label"])
    assert shared.frame("SELECT run_id, status FROM runs ORDER BY ALL").rows() == [(1, "done"), (2, "done")]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE targets SET value = value + 0.1 WHERE target = 'formation_energy'",
        "DELETE FROM targets",
    ],
)
def test_what_was_learned_from_rows_that_changed_is_kept_in_a_file_and_not_published(
    shared: Database, path: Path, change: str
) -> None:
    def change_rows() -> None:
        with open_database(path) as db, db.transaction():
            db.execute(change)

    with pytest.raises(ChangedDataError, match=r"while it searched.*toy\.run-1\.json"):
        learn_pairs(shared, QUICK, [PAIR], meanwhile(change_rows))
    [(status, reason)] = shared.frame("SELECT status, reason FROM runs").rows()
    assert status == "failed"
    assert "while it searched" in reason
    assert shared.value("SELECT count(*) FROM models") == 0
    assert shared.value("SELECT count(*) FROM formulas") == 0
    kept = json.loads((path.parent / "toy.run-1.json").read_text())
    formulas = kept["kernels"][0]["formulas"]
    assert kept["kernels"][0]["label"] == PAIR
    assert sum(formula["chosen"] for formula in formulas) == 1
    assert formulas[-1]["mae_train"] <= formulas[0]["mae_train"]


def test_a_living_run_stays_running_whoever_writes_and_a_killed_one_fails(path: Path) -> None:
    code = """
import sys, time
from defectdb.db import open_database
from defectdb.db.models.formulas import start_run
from defectdb.schema.records import RunRecord
text = dict.fromkeys(("kind", "config", "selection_sql", "selection_hash", "device", "version"), "")
run = RunRecord(n_rows=0, seed=0, **text)
with open_database(sys.argv[1], shared=True) as db:
    with db.transaction():
        start_run(db, run)
    print("searching", flush=True)
    time.sleep(60)
"""
    learner = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert learner.stdout is not None
    assert learner.stdout.readline().strip() == "searching"
    a_reject(path)
    with open_database(path, read_only=True) as db:
        assert db.value("SELECT status FROM runs") == "running"
    os.kill(learner.pid, signal.SIGKILL)
    learner.communicate()
    a_reject(path)
    with open_database(path, read_only=True) as db:
        assert db.frame("SELECT status, reason FROM runs").rows() == [
            ("failed", "its process ended before it was done")
        ]
    assert not list(path.parent.glob(".*"))


def test_a_run_that_is_interrupted_says_so(shared: Database) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_pairs(shared, QUICK, [PAIR], meanwhile(interrupt))
    assert shared.frame("SELECT status, reason FROM runs").rows() == [("failed", "interrupted")]


def test_a_shared_database_reads_between_transactions_and_is_closed_for_good(path: Path) -> None:
    db = open_database(path, shared=True)
    with db.transaction():
        with pytest.raises(DatabaseError, match="inside a transaction"):
            db.release()
        start_run(db, RunRecord(kind="pair", config="{}", selection_sql="", selection_hash="", n_rows=0, seed=0,
                                device="cpu", version=""))  # fmt: skip
    assert is_held(run_lock(path, 1))
    with open_database(path, read_only=True) as reader:
        assert reader.value("SELECT count(*) FROM runs") == db.value("SELECT count(*) FROM runs") == 1
    db.close()
    assert not is_held(run_lock(path, 1))
    with pytest.raises(DatabaseError, match="was closed"):
        db.value("SELECT 1")


def test_an_opener_waits_for_its_turn_and_then_says_why_not(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    attempts: list[bool] = []

    def refused_twice() -> str:
        attempts.append(is_held(file.with_name(".a.duckdb.gate")))
        if len(attempts) < 3:
            raise FileLockedError
        return "open"

    assert in_turn(refused_twice, file, read_only=False, wait=5) == "open"
    assert attempts == [False, True, True]  # a refused writer holds the gate

    def always_refused() -> str:
        raise FileLockedError

    begin = time.monotonic()
    with pytest.raises(FileLockedError):
        in_turn(always_refused, file, read_only=True, wait=0.2)
    assert 0.2 <= time.monotonic() - begin < 2
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_its_holder_removed_is_made_anew(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first = hold(lock)
    assert first is not None
    lock.unlink()
    second = hold(lock)
    assert second is not None
    assert is_held(lock)
    let_go(first, tmp_path / "other")
    assert is_held(lock)
    let_go(second, lock)
    assert not lock.exists()


def test_a_reader_lets_a_waiting_writer_go_first(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    gate = file.with_name(".a.duckdb.gate")
    held = hold(gate)
    assert held is not None
    begin = time.monotonic()
    in_turn(lambda: None, file, read_only=True, wait=0.3)
    assert time.monotonic() - begin > 0.25
    let_go(held, gate)
    begin = time.monotonic()
    in_turn(lambda: None, file, read_only=True, wait=5)
    assert time.monotonic() - begin < 0.2
