"""Gaps of dense structures learned end to end: laws that are known, SQL against Python, bad input in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import dense_database as dense
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.errors import SelectionError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_prefix
from defectdb.learn import LearnConfig, Progress, learn_model
from defectdb.learn.composition.dense_model import formula_kernel
from defectdb.learn.composition.learn_gap import both_selections, with_dense
from defectdb.learn.composition.structures import inseparable, load_dense
from defectdb.learn.job import Job, settle
from defectdb.learn.material.structures import load_structures
from defectdb.learn.publish import LearnedTerm, NewModel, open_run, publish
from defectdb.query.evaluate import evaluate
from defectdb.schema.labels import COMPOSITION, count_variable

GAP = LearnConfig(
    target="homo_lumo_gap", protocol="all", material="MoS2",
    generations=0, population=64, exhaustive_size=3, workers=1, max_tokens=11,
)  # fmt: skip
PREDICTED = "SELECT structure_id, value, extrapolated FROM predictions WHERE target = 'homo_lumo_gap'"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "dense.duckdb", create=True) as opened:
        yield opened


def counts(members: tuple[toy.Placed, ...]) -> dict[str, np.ndarray]:
    values = {"n": len(members), "sites": 192}
    values |= {count_variable(label): dense.number_of(members, label) for label in toy.ENERGIES}
    return {name: np.array([float(value)]) for name, value in values.items()}


def test_a_law_of_counting_is_found_from_structures_none_of_which_is_small(db: Database) -> None:
    members = dense.fill_dense(db, dense.counting_law, alone=True)
    learned = learn_model(db, GAP)
    [kernel] = learned.kernels
    assert kernel.task.label == COMPOSITION
    assert kernel.best.complexity < 30
    assert kernel.best.mae < 1e-3
    found = {key: value for key, value, _ in db.frame(PREDICTED).iter_rows()}
    for key, (placed, _) in members.items():
        value = evaluate_numpy(kernel.best.expression, counts(placed), kernel.best.constants)
        assert found[key] == pytest.approx(float(value[0]), abs=1e-12), "SQL is Python"


def test_the_model_says_how_it_fares_on_structures_that_it_did_not_see(db: Database) -> None:
    rng = np.random.default_rng(3)
    dense.fill_dense(db, lambda m: dense.counting_law(m) + float(rng.laplace(scale=0.05)), alone=True)
    learn_model(db, GAP)
    [row] = db.frame("SELECT mae_train, mae_cv, interval_90, n_train, aggregator FROM models").to_dicts()
    assert 0.04 < row["mae_train"] < row["mae_cv"] < 0.065
    assert 0.09 < row["interval_90"] < 0.14, "of Laplace noise of that scale 0.115"
    assert (row["n_train"], row["aggregator"]) == (200, "sum")
    [whole] = evaluate(db, by="material").filter(target="homo_lumo_gap").to_dicts()
    assert whole["mae"] == pytest.approx(row["mae_train"], abs=1e-9)


def test_close_pairs_that_move_the_gap_are_found_and_count_per_defect(db: Database) -> None:
    def law(members: tuple[toy.Placed, ...]) -> float:
        near = 0.0
        for i, a in enumerate(members):
            for b in members[i + 1 :]:
                r = float(np.linalg.norm(toy.vector(a, b)))
                if a.label == b.label == "Vac_S" and r < 7:
                    near += 8 * np.exp(-r / 2)
        return dense.counting_law(members) - near / len(members)

    dense.fill_dense(db, law, 300, alone=True)
    learned = learn_model(db, GAP)
    labels = [kernel.task.label for kernel in learned.kernels]
    assert labels[-1] == COMPOSITION
    assert "Vac_S-Vac_S" in labels
    [row] = db.frame(
        "SELECT avg(abs(p.value - t.value)) AS mae FROM predictions AS p JOIN target_values AS t "
        "USING (structure_id, target) WHERE target = 'homo_lumo_gap'"
    ).to_dicts()
    [model] = db.frame("SELECT mae_train FROM models").to_dicts()
    assert row["mae"] == pytest.approx(model["mae_train"], abs=1e-9), "SQL is Python"
    assert row["mae"] < 0.01


def low_model(job: Job) -> NewModel:
    """The toy's own pair gaps as kernels; the deciding defect's pairs move it."""
    r = np.linspace(2.0, 15.0, 9)
    kernels = []
    for label in toy.LABELS:
        low = min(toy.GAPS[part] for part in label.split("-"))
        tree = from_prefix(f"sub {low} div 0.5 r".split())
        kernels.append(formula_kernel(job, label, {"r": r}, low - 0.5 / r, tree, ()))
    terms = [LearnedTerm(kernel) for kernel in kernels]
    return NewModel(terms=terms, aggregator="shift_min", trained_on="all", n_train=1)


def test_one_model_serves_both_densities(db: Database) -> None:
    """High density by a law in the smallest value of all terms, while low density stays as it was."""
    members = dense.fill_dense(db, lambda m: 0.3 + 0.5 * dense.smallest_of_all(m), alone=False)
    job = settle(db, GAP, source="pairs")
    low, data = load_structures(db, job), load_dense(db, job, print)
    assert data is not None
    run_id = open_run(db, "model", job, both_selections(low.selection, data.selection))
    publish(db, run_id, job, [low_model(job)])
    before = {key: value for key, value, _ in db.frame(PREDICTED).iter_rows() if key.startswith("s")}
    both, law = with_dense(db, job, low_model(job), low.selection.frame, np.zeros(len(low.y)), data)
    publish(db, run_id, job, [both])
    found = {key: (value, outside) for key, value, outside in db.frame(PREDICTED).iter_rows()}
    assert {key: found[key][0] for key in before} == before
    assert not any(outside for _, outside in found.values())
    keys = data.selection.frame["structure_id"]
    for key, y, miss in zip(keys, data.y, law.residual, strict=True):
        assert found[key][0] == pytest.approx(y - miss, abs=1e-9), "SQL is Python"
        assert found[key][0] == pytest.approx(members[key][1], abs=2e-3)


def test_concentrations_that_overlap_are_refused(db: Database) -> None:
    dense.fill_dense(db, dense.counting_law, alone=False)
    with db.transaction():
        db.execute("UPDATE hosts SET n_sites = 1000 WHERE host_id = ?", [dense.DENSE_HOST])
    job = settle(db, GAP, source="pairs")
    low, data = load_structures(db, job), load_dense(db, job, print)
    assert data is not None
    with pytest.raises(SelectionError, match=r"reach 0\.0156 .* without begin at 0\.0040"):
        with_dense(db, job, low_model(job), low.selection.frame, np.zeros(len(low.y)), data)


@pytest.mark.parametrize(
    ("kept", "message"), [(30, "30 of 200 structures of MoS2 .* needs 40 at least")], ids=["few"]
)
def test_too_few_structures_are_refused_before_anything_is_written(
    db: Database, kept: int, message: str
) -> None:
    members = dense.fill_dense(db, dense.counting_law, alone=True)
    with db.transaction():
        for key in list(members)[kept:]:
            dense.set_gap(db, key, None)
    with pytest.raises(SelectionError, match=message):
        learn_model(db, GAP)
    assert db.value("SELECT count(*) FROM runs") == 0


def test_a_target_that_half_of_the_structures_lack_is_learned_from_the_others_and_said(db: Database) -> None:
    members = dense.fill_dense(db, dense.counting_law, alone=True)
    with db.transaction():
        for key in list(members)[100:]:
            dense.set_gap(db, key, None)
    notes: list[str] = []
    learn_model(db, GAP, Progress(note=notes.append))
    assert notes[0].startswith("100 of 200 structures of MoS2")
    assert db.value("SELECT n_train FROM models") == 100


def test_kinds_that_never_occur_apart_are_named() -> None:
    numbers = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 1.0], [0.0, 0.0, 3.0]])
    assert inseparable(("A", "B", "C"), numbers) == [("A", "B")]
