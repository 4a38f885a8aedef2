"""Models of structures with many defects and none with one or two, from the database and back into it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from support import toy_database as toy

from defectdb.db import Database
from defectdb.errors import SelectionError, UsageError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.learn import LearnConfig, Progress
from defectdb.learn.dense.composition import electron_counts, energy_library
from defectdb.learn.dense.kernels import power_series, table_task
from defectdb.learn.dense.split import split_structures
from defectdb.learn.dense.structures import PairClasses, load_dense
from defectdb.learn.dense_model import load_part, new_dense_model
from defectdb.learn.from_structures import learn_model
from defectdb.learn.job import settle
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import Kernel, KernelTask
from defectdb.learn.publish import NewModel, open_run, publish
from defectdb.schema.records import ANY_NUMBER

QUICK = LearnConfig(protocol="all", generations=0, population=64, exhaustive_size=3, max_tokens=9, workers=1)
ERRORS = "SELECT avg(abs(error)) FROM prediction_errors WHERE target = $target AND n_defects BETWEEN $low AND $high"


def error(db: Database, target: str, low: int = 1, high: int = 99) -> float:
    """Mean absolute error of the stored predictions, eV."""
    return float(db.value(ERRORS, {"target": target, "low": low, "high": high}))


def test_a_set_without_small_structures_gives_back_its_energies(empty_database: Database) -> None:
    toy.fill(empty_database, found=toy.crowded(90, 3, 9))
    learned = learn_model(empty_database, QUICK)
    model = empty_database.frame("SELECT * FROM models").row(0, named=True)
    assert error(empty_database, "formation_energy") == pytest.approx(model["mae_train"], abs=1e-6)
    assert model["mae_cv"] < 0.12
    terms = dict(empty_database.frame('SELECT label, value FROM model_terms WHERE "order" = 1').iter_rows())
    assert terms == pytest.approx(toy.ENERGIES, abs=0.3)
    assert learned.formula_ids


def test_interactions_that_other_defects_screen_are_found_to_be_screened(empty_database: Database) -> None:
    found = toy.crowded(100, 6, 40)
    toy.fill(empty_database, found=found)
    with empty_database.transaction():
        for k, members in enumerate(found):
            alone = sum(toy.ENERGIES[d.label] for d in members) + (len(members) - 1) * toy.OFFSET
            left = math.exp(-8 * len(members) / 192)
            empty_database.execute(
                "UPDATE targets SET value = ? WHERE structure_id = ? AND target = 'formation_energy'",
                [alone + left * 6 * (toy.energy(members) - alone), f"s{k:04}"],
            )
    learn_model(empty_database, QUICK)
    model = empty_database.frame("SELECT * FROM models").row(0, named=True)
    # the fit takes distances within 0.02 angstrom as one, so that its own error differs in the fifth digit
    assert error(empty_database, "formation_energy") == pytest.approx(model["mae_train"], abs=1e-4)
    text = empty_database.value("SELECT infix FROM formulas WHERE pair_label = 'composition'")
    assert re.search(r"exp\(.*n/sites.*\).*interaction", text), text


def test_few_and_many_defects_get_a_model_each_that_predicts_its_own(empty_database: Database) -> None:
    toy.fill(empty_database, n=30)
    toy.fill(empty_database, prefix="d", found=toy.crowded(60, 4, 9, seed=1))
    _second_host(empty_database)
    job = settle(empty_database, QUICK, source="pairs")
    split = split_structures(empty_database, job)
    assert (split.sparse, split.dense) == ((1, 3), (4, ANY_NUMBER[1]))
    data = load_part(empty_database, job, split)
    run_id = open_run(empty_database, "model", job, data.selection)
    few = NewModel(terms=[], aggregator="sum", trained_on="all", n_train=1, n_defects=(1, 3))
    many = replace(new_dense_model(job, data, _searched, _searched), n_defects=(4, ANY_NUMBER[1]))
    for _ in range(2):
        publish(empty_database, run_id, job, [few, many])
    active = empty_database.frame(
        "SELECT model_id, n_defects_min FROM models WHERE status = 'active' ORDER BY ALL"
    )
    assert active.rows() == [(3, 1), (4, 4)]
    assert error(empty_database, "formation_energy", 4) == pytest.approx(many.mae_train, abs=1e-6)
    used = "SELECT DISTINCT model_id, n_defects > 3 FROM predictions WHERE target = 'formation_energy' ORDER BY ALL"
    assert empty_database.frame(used).rows() == [(3, False), (4, True)]


def _searched(tasks: Sequence[KernelTask]) -> list[Kernel]:
    return [learn_kernel(replace(task, config=QUICK)) for task in tasks]


def _second_host(db: Database) -> None:
    """The dense structures lie in a supercell of their own, which has no structure with one defect."""
    with db.transaction():
        db.execute("INSERT INTO hosts BY NAME SELECT * REPLACE ('dense' AS host_id) FROM hosts")
        db.execute("UPDATE structures SET host_id = 'dense' WHERE starts_with(structure_id, 'd')")


def test_nested_errors_are_those_of_models_that_never_saw_the_fold(empty_database: Database) -> None:
    toy.fill(empty_database, found=toy.crowded(45, 3, 7))
    learn_model(empty_database, QUICK.model_copy(update={"nested": True, "exhaustive_size": 2}))
    model = empty_database.frame("SELECT mae_train, mae_cv FROM models").row(0)
    assert model[0] < model[1]


def test_kinds_that_never_occur_apart_are_named(empty_database: Database) -> None:
    found = []
    for k, members in enumerate(toy.crowded(60, 6, 9)):
        sulfur = [p for p in members if p.label == "Vac_S"][:3]
        found.append((*sulfur, toy.Placed("Vac_Mo", k % 8, 0, 0), toy.Placed("W_Mo", k % 8, 3, 0)))
    toy.fill(empty_database, found=found)
    with pytest.raises(SelectionError, match="Vac_Mo and W_Mo occur only in fixed proportion"):
        learn_model(empty_database, QUICK)
    assert empty_database.value("SELECT count(*) FROM runs") == 0


def test_fewer_structures_than_terms_are_refused(empty_database: Database) -> None:
    toy.fill(empty_database, found=toy.crowded(8, 3, 9))
    with pytest.raises(SelectionError, match="8 structures have formation_energy, and 3 kinds of defects"):
        learn_model(empty_database, QUICK)
    assert empty_database.value("SELECT count(*) FROM runs") == 0


def test_a_target_missing_in_half_of_the_rows_is_said(empty_database: Database) -> None:
    toy.fill(empty_database, found=toy.crowded(100, 3, 9))
    with empty_database.transaction():
        empty_database.execute(
            "DELETE FROM targets WHERE target = 'formation_energy' AND structure_id < 's0050'"
        )
    said: list[str] = []
    learn_model(empty_database, QUICK, Progress(note=said.append))
    assert said[0] == "formation_energy is missing in 50 of 100 structures: learned from the others"
    assert re.fullmatch(r"free tables in place of the formulas: \d+\.\d meV per site where left out", said[1])
    assert empty_database.value("SELECT n_train FROM models") == 50


def test_lattice_sums_of_dense_structures_are_refused(empty_database: Database) -> None:
    toy.fill(empty_database, found=toy.crowded(60, 3, 9))
    with pytest.raises(UsageError, match="--images nearest"):
        learn_model(empty_database, QUICK.model_copy(update={"images": "sum"}))


def test_classes_and_triangles_are_counted_as_by_hand(empty_database: Database) -> None:
    found = toy.crowded(30, 3, 9)
    toy.fill(empty_database, found=found)
    data = load_dense(empty_database, settle(empty_database, QUICK, source="pairs"), *ANY_NUMBER)
    assert data.numbers.sum(1).tolist() == [len(members) for members in found]
    near = [
        sum(
            np.hypot(*toy.vector(a, b)[:2]) ** 2 + toy.vector(a, b)[2] ** 2 < 6.5**2
            for i, a in enumerate(members)
            for b in members[:i]
        )
        for members in found
    ]
    counted = sum(block.within(6.5).counts.sum(1) for block in data.pairs)
    assert np.asarray(counted).tolist() == near
    assert {t.label for t in data.triangles} <= {
        "Vac_Mo-Vac_Mo-Vac_Mo", "Vac_Mo-Vac_Mo-Vac_S", "Vac_Mo-Vac_S-Vac_S", "Vac_S-Vac_S-Vac_S",
    }  # fmt: skip


def test_electrons_of_donors_and_acceptors_are_weighed_in_whole_numbers() -> None:
    assert (1, -1, -3, 3) in electron_counts(["C_B", "C_N", "Vac_B", "Vac_N"])
    assert all(vector[0] == vector[3] == 0 for vector in electron_counts(["Se_S", "Vac_Mo", "Vac_S", "W_Mo"]))
    assert (1, -2) in electron_counts(["N_P", "Vac_P"])


def test_mean_field_energies_grow_with_the_cell() -> None:
    library = energy_library(["Vac_Ga", "Vac_Se"])
    small = {"n_vac_ga": np.array([3.0]), "n_vac_se": np.array([5.0]), "sites": np.array([144.0])}
    np.testing.assert_allclose(
        library.values({k: 4 * v for k, v in small.items()}), 4 * library.values(small)
    )


def test_a_series_near_a_noisy_table_does_not_swing_between_its_points() -> None:
    r = np.linspace(3.0, 6.0, 9)
    noisy = np.random.default_rng(0).normal(0, 0.1, 9)
    block = PairClasses("Vac_P-Vac_P", 0.0, 1e9, r, np.ones((50, 9)))
    task = table_task(block, noisy, 1e8 * np.eye(9), 8.0)
    assert task is not None
    series = power_series(task, block)
    near, far = (
        evaluate_numpy(series.expression, {"r": r + move}, series.constants) for move in (-0.02, 0.02)
    )
    assert np.abs(far - near).max() < 0.25 * np.ptp(noisy)
    smooth = table_task(block, 2 / r - 5 / r**2, 1e8 * np.eye(9), 8.0)
    assert smooth is not None
    assert power_series(smooth, block).values() == pytest.approx(2 / r - 5 / r**2, abs=1e-9)
