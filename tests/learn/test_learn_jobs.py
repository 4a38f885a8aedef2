"""Learning from a database: selection, kernels with known answers, what is written, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.errors import LabelError, SelectionError, UnknownNameError, UsageError
from defectdb.expressions.expression import from_ast, from_prefix
from defectdb.learn import LearnConfig, Progress, learn_pairs
from defectdb.learn.config import resolve_device
from defectdb.learn.job import find_label, settle
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import PairTask
from defectdb.learn.pairs.skeleton import skeleton_names
from defectdb.learn.select import dz_windows, select_pairs

QUICK = LearnConfig(generations=0, population=128, exhaustive_size=5, workers=1, max_tokens=15)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy database whose every energy kernel has been learned."""
    path = tmp_path_factory.mktemp("learn") / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db, n=200)
        learn_pairs(db, QUICK)
    return path


def test_kernels_of_a_known_model_predict_structures_they_never_saw(learned: Path) -> None:
    with open_database(learned, read_only=True) as db:
        errors = db.frame(
            "SELECT n_defects, avg(abs(error)) AS mae FROM prediction_errors "
            "WHERE target = 'formation_energy' GROUP BY ALL ORDER BY ALL"
        )
        law = db.frame(
            "SELECT mae_train FROM formulas WHERE status = 'active' AND pair_label = 'Vac_Mo-Vac_S'"
        )
    assert errors["n_defects"].to_list() == [1, 2, 3]
    assert law["mae_train"].max() < 1e-9  # found exactly
    assert errors["mae"].max() < 0.01  # the toy's energies have not vanished where the host offset is taken


def test_a_run_leaves_its_configuration_selection_and_log(learned: Path) -> None:
    with open_database(learned, read_only=True) as db:
        run = db.frame("SELECT * FROM runs").to_dicts()[0]
        again = db.frame(run["selection_sql"])
        generations = db.frame("SELECT DISTINCT task FROM generations")
    assert run["status"] == "done"
    assert run["finished_at"] >= run["started_at"]
    assert json.loads(run["config"])["seed"] == 0
    assert again.height == run["n_rows"] > 0
    assert "Vac_Mo-Vac_S" in generations["task"].to_list()


def test_the_front_is_stored_and_one_formula_of_each_kernel_is_active(learned: Path) -> None:
    with open_database(learned, read_only=True) as db:
        formulas = db.frame("SELECT * FROM formulas ORDER BY formula_id")
        terms = db.frame('SELECT * FROM model_terms WHERE "order" = 2')
    active = formulas.filter(pl.col("status") == "active")
    assert set(active["formula_id"]) == set(terms["formula_id"])
    assert set(active["pair_label"]) == set(toy.LABELS)
    assert formulas.height > active.height
    for label, part in formulas.group_by("pair_label", "dz_min"):
        ordered = part.sort("complexity")
        assert ordered["mae_train"][-1] <= ordered["mae_train"][0] + 1e-12, label
    assert all(from_ast(text) for text in formulas["ast"])


def test_layers_get_kernels_of_their_own(learned: Path) -> None:
    with open_database(learned, read_only=True) as db:
        windows = db.frame(
            "SELECT dz_min, dz_max FROM formulas WHERE status = 'active' AND pair_label = 'Vac_S-Vac_S' ORDER BY 1"
        )
    assert windows.height == 2
    assert windows["dz_max"][0] == windows["dz_min"][1] == pytest.approx(1.56)


def test_few_rows_in_the_whole_database_are_a_constant_and_a_note(empty_database: Database) -> None:
    toy.fill(empty_database, n=60)
    notes: list[str] = []
    result = learn_pairs(empty_database, QUICK, progress=Progress(note=notes.append))
    few = [kernel.task for kernel in result.kernels if len(np.unique(kernel.task.r.round(6))) < 4]
    assert few
    assert [note.split(" has ")[0] for note in notes] == [task.name for task in few]
    stored = empty_database.frame(
        "SELECT mae_cv FROM formulas WHERE list_contains($labels, pair_label)",
        {"labels": [t.label for t in few]},
    )
    assert stored["mae_cv"].null_count() == stored.height > 0
    with pytest.raises(SelectionError, match="in the database, and a formula needs 4 different ones"):
        learn_pairs(empty_database, QUICK, [few[0].label])


def test_the_same_seed_gives_the_same_front(empty_database: Database) -> None:
    toy.fill(empty_database, n=120)
    fronts = []
    config = QUICK.model_copy(update={"generations": 1})
    for _ in range(2):
        kernel = learn_pairs(empty_database, config, ["Vac_Mo-Vac_S"]).kernels[0]
        fronts.append([(s.expression, s.constants) for s in kernel.front])
    assert fronts[0] == fronts[1]


def test_a_label_learned_alone_keeps_the_other_kernels(learned: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())
    with open_database(copy) as db:
        before = db.value("SELECT count(*) FROM model_terms WHERE model_id = 1")
        result = learn_pairs(db, QUICK, ["Vac_S-Vac_Mo"])
        after = db.frame(
            'SELECT label, formula_id FROM model_terms WHERE model_id = ? AND "order" = 2', [result.model_id]
        )
        assert db.value("SELECT count(*) FROM model_terms WHERE model_id = ?", [result.model_id]) == before
        assert db.value("SELECT status FROM models WHERE model_id = 1") == "retired"
    assert after.filter(pl.col("label") == "Vac_Mo-Vac_S")["formula_id"].to_list() == result.formula_ids


def test_where_narrows_the_rows_and_is_kept_with_the_run(empty_database: Database) -> None:
    toy.fill(empty_database, n=120)
    config = QUICK.model_copy(update={"where": "distance < 9"})
    selection = select_pairs(empty_database, settle(empty_database, config, ["Vac_Mo-Vac_S"]))
    assert selection.frame["r"].max() < 9
    assert "distance < 9" in selection.sql


def test_levels_learn_the_pairs_own_values(empty_database: Database) -> None:
    toy.fill(empty_database, n=120)
    config = QUICK.model_copy(update={"target": "homo_lumo_gap"})
    learn_pairs(empty_database, config, ["Vac_Mo-Vac_S"])
    worst = empty_database.value(
        "SELECT max(abs(error)) FROM prediction_errors WHERE target = 'homo_lumo_gap' AND n_defects = 2"
    )
    assert worst < 1e-9  # 0.4 - 0.5 / r


def test_a_lattice_sum_recovers_the_kernel_behind_it(empty_database: Database) -> None:
    """Every pair's energy is the sum of 0.3 exp(-r) over its periodic images within the cutoff."""
    db = empty_database
    toy.fill(db, n=120)
    with db.transaction():
        db.execute(
            "UPDATE targets SET value = (SELECT sum(e.value) FROM defects d JOIN "
            "(VALUES ('Vac_Mo', 7.0), ('Vac_S', 2.7), ('W_Mo', 0.2)) e(label, value) USING (label) "
            "WHERE d.structure_id = targets.structure_id) + coalesce((SELECT sum(0.3 * exp(-x.distance)) "
            "FROM distances x WHERE x.structure_id = targets.structure_id), 0) WHERE target = 'formation_energy'"
        )
    config = QUICK.model_copy(update={"images": "sum", "max_tokens": 8, "generations": 0})
    learn_pairs(db, config, ["Vac_Mo-Vac_S"])
    worst = db.value(
        "SELECT max(abs(error)) FROM prediction_errors WHERE target = 'formation_energy' AND n_defects = 2"
    )
    assert worst < 2e-3


def test_windows_part_layers_and_nothing_else() -> None:
    assert dz_windows(np.array([0.0, 0.01, 3.13])) == [(0.0, pytest.approx(1.57)), (pytest.approx(1.57), 1e9)]
    assert dz_windows(np.array([1.56, 1.57])) == [(0.0, 1e9)]


def test_labels_are_found_in_either_order_and_unknown_ones_name_the_known(empty_database: Database) -> None:
    toy.fill(empty_database, n=40)
    assert find_label(empty_database, "MoS2", "v_S - v_Mo") == "Vac_Mo-Vac_S"
    with pytest.raises(UnknownNameError, match="Vac_Mo-Vac_S"):
        find_label(empty_database, "MoS2", "Vac_Mo-Se_S")
    with pytest.raises(LabelError, match="not a defect label"):
        find_label(empty_database, "MoS2", "Mo-S")


def test_requests_that_cannot_be_met_say_so_and_write_nothing(empty_database: Database) -> None:
    db = empty_database
    with pytest.raises(SelectionError, match="no 2-defect structures"):
        learn_pairs(db, QUICK)
    toy.fill(db, n=40)
    for change, error, match in (
        ({"target": "band_gap"}, UnknownNameError, "unknown target"),
        ({"material": "WS2"}, UnknownNameError, "unknown material"),
        ({"where": "distance < 0"}, SelectionError, "where distance < 0"),
        ({"where": "1 = 1; DROP TABLE pairs"}, UsageError, "one SQL predicate"),
        ({"target": "homo"}, SelectionError, "no 2-defect structure"),
        ({"protocol": "all"}, UsageError, "--model --from all"),
        ({"nested": True}, UsageError, "--model --from all --nested"),
        ({"required": ("pow",)}, UsageError, "add --allow pow"),
    ):
        with pytest.raises(error, match=match):
            learn_pairs(db, QUICK.model_copy(update=change))
    assert db.value("SELECT count(*) FROM runs") == 0


def test_a_learned_kernel_is_never_replaced_by_a_constant_of_a_few_distances(
    learned: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())
    with open_database(copy) as db:
        before = db.frame("SELECT formula_id, status FROM formulas ORDER BY 1")
        nearest = db.value("SELECT min(distance) FROM pair_energies WHERE label = 'Vac_Mo-Vac_S'")
        for labels in (["Vac_Mo-Vac_S"], None):
            for images in ("nearest", "sum"):
                change = {"where": f"distance < {nearest + 0.01}", "images": images}
                with pytest.raises(SelectionError, match=r"has 1 distance where .* needs 4 different ones"):
                    learn_pairs(db, QUICK.model_copy(update=change), labels)
        assert db.frame("SELECT formula_id, status FROM formulas ORDER BY 1").equals(before)
        assert db.value("SELECT count(*) FROM runs") == 1


def test_a_kernel_that_cannot_vanish_leaves_the_model_as_it_was(learned: Path, tmp_path: Path) -> None:
    """A pair's gap ends at a defect's own gap, not at zero."""
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())
    gaps = QUICK.model_copy(update={"target": "homo_lumo_gap", "max_tokens": 7})
    with open_database(copy) as db:
        before = learn_pairs(db, gaps, ["Vac_S-W_Mo"]).model_id
        with pytest.raises(SelectionError, match=r"of these vanishes? at the cutoff of 30 angstrom"):
            learn_pairs(db, gaps.model_copy(update={"decay": True}), ["Vac_S-W_Mo"])
        active = db.value("SELECT model_id FROM models WHERE status = 'active' AND target = 'homo_lumo_gap'")
    assert active == before


def test_a_run_that_dies_is_marked_failed_and_changes_no_model(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("defectdb.learn.from_pairs.publish", interrupted)
    with open_database(copy) as db:
        with pytest.raises(KeyboardInterrupt):
            learn_pairs(db, QUICK, ["Vac_Mo-Vac_S"])
        assert db.value("SELECT status FROM runs ORDER BY run_id DESC LIMIT 1") == "failed"
        assert db.value("SELECT model_id FROM models WHERE status = 'active'") == 1


def test_a_display_hears_of_every_generation_in_worker_processes(learned: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())
    heard: list[tuple[str, int]] = []
    progress = Progress(
        worker_generation=lambda task, generation: heard.append((task.name, generation.generation))
    )
    config = QUICK.model_copy(update={"workers": 2, "generations": 1})
    with open_database(copy) as db:
        result = learn_pairs(db, config, ["Vac_Mo-Vac_S", "Vac_S-W_Mo"], progress)
    told = [(k.task.name, g.generation) for k in result.kernels for g in k.generations]
    assert len(told) > 1
    assert sorted(heard) == sorted(told)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="try auto, cpu, cuda"):
        resolve_device("tpu")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_workers_end_with_the_process_that_was_killed(learned: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())
    command = [sys.executable, "-m", "defectdb", "--db", str(copy), "learn", "--all-pairs", "--workers", "2"]
    parent = subprocess.Popen(
        [*command, "--generations", "500", "--time-limit", "120"], stderr=subprocess.DEVNULL
    )
    workers: list[int] = []
    deadline = time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        workers = [pid for pid in _children(parent.pid) if _children_of_spawn(pid)]
    parent.kill()
    parent.wait()
    assert len(workers) >= 2
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline + 30:
        time.sleep(0.2)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    with open_database(copy) as db:  # the file opens and its model is the one before
        assert db.value("SELECT model_id FROM models WHERE status = 'active'") == 1


def _children(pid: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _children_of_spawn(pid: int) -> bool:
    return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_formula_with_as_many_constants_as_points_is_never_chosen() -> None:
    """Leave-one-out of an interpolating formula would find the omitted point again from the start of the refit."""
    r = np.array([2.5, 3.1, 4.4, 5.2, 6.3, 7.7])
    y = np.array([0.31, -0.12, 0.25, -0.07, 0.11, 0.02])
    config = LearnConfig(generations=1, population=256, exhaustive_size=5)
    kernel = learn_kernel(
        PairTask(label="A_X-B_X", x=r[None], y=y, weight=np.ones(6), config=config, device="cpu")
    )
    assert len(kernel.front[kernel.chosen].constants) < len(r) - 1
    assert all(np.isinf(s.mae_cv) for s in kernel.front if len(s.constants) >= len(r) - 1)


@pytest.mark.parametrize(
    ("formula", "bare"),
    [
        ("add c0 div c1 exp r", "inv exp r"),
        ("add add c0 mul c1 cos mul c2 r neg mul 3 square r", "add cos mul c0 r square r"),
        ("sub mul cos r c0 div tanh r 2", "add cos r tanh r"),
        ("c0", ""),
    ],
)
def test_skeletons_drop_what_every_fit_finds_anew(formula: str, bare: str) -> None:
    assert " ".join(skeleton_names(from_prefix(formula.split()))) == bare


def test_a_warm_search_keeps_what_an_earlier_one_found(empty_database: Database) -> None:
    toy.fill(empty_database, n=120)
    thorough = QUICK.model_copy(update={"exhaustive_size": 6})
    before = learn_pairs(empty_database, thorough, ["Vac_Mo-Vac_S"]).kernels[0]
    poor = QUICK.model_copy(update={"exhaustive_size": 1, "warm": True})
    after = learn_pairs(empty_database, poor, ["Vac_Mo-Vac_S"]).kernels[0]
    assert min(s.mae for s in after.front) <= 1.01 * min(s.mae for s in before.front) + 1e-12


def test_a_kernel_learned_from_pairs_in_a_model_of_all_structures_is_no_model_of_pairs(
    learned: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(learned.read_bytes())
    with open_database(copy) as db:
        with db.transaction():
            db.execute("UPDATE models SET trained_on = 'all'")
        mixed = learn_pairs(db, QUICK, ["Vac_Mo-Vac_S"]).model_id
        pure = learn_pairs(db, QUICK).model_id
        protocols = dict(db.frame("SELECT model_id, trained_on FROM models").iter_rows())
    assert protocols[mixed] == "pairs and all"
    assert protocols[pure] == "pairs"
