"""Laws stand on the front with one left-out error, and win over formulas that are no better than noise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support import toy_database as toy

from defectdb.db import open_database
from defectdb.engine.finishing.scored import Scored
from defectdb.expressions.expression import from_prefix
from defectdb.expressions.families import law_of
from defectdb.learn.config import LearnConfig
from defectdb.learn.from_pairs import learn_pairs
from defectdb.learn.judging.compare import compare
from defectdb.learn.pairs.kernel_task import PairTask
from defectdb.learn.pairs.left_out import left_out
from defectdb.learn.pairs.measured import measured
from defectdb.learn.pairs.named_laws import front_with_laws

R = np.array([2.4, 3.2, 4.0, 5.1, 5.5, 6.4, 7.1, 8.2, 9.3, 10.4, 11.3, 12.7])


def task(y: np.ndarray) -> PairTask:
    return PairTask(label="A_X-B_X", x=R[None], y=y, weight=np.ones_like(y), config=LearnConfig())


def scored(text: str, constants: tuple[float, ...], rows: PairTask) -> Scored:
    tree = from_prefix(text.split())
    unknown = math.nan
    blank = Scored(tree, constants, len(text.split()), unknown, unknown, unknown, unknown, unknown, ())
    return measured(blank, tree, constants, rows)


def test_a_law_takes_the_place_of_an_anonymous_formula_that_noise_alone_makes_better() -> None:
    noise = 0.002 * np.random.default_rng(3).normal(size=len(R))
    rows = task(0.01 + 1.1 * np.exp(-0.5 * R) + noise)
    anonymous = scored("add c0 mul c1 tanh mul c2 exp neg mul c3 r", (0.01, 1.1, 1.0, 0.5), rows)
    front = front_with_laws([anonymous], rows)
    names = [law_of(s.expression, s.constants) for s in front]
    assert "exponential" in names
    assert anonymous.expression not in [s.expression for s in front]
    assert [s.complexity for s in front] == sorted(s.complexity for s in front)


def test_an_anonymous_formula_that_is_right_stays() -> None:
    rows = task(0.3 * np.tanh(0.8 * (R - 6.0)))
    right = scored("mul c0 tanh mul c1 sub r c2", (0.3, 0.8, 6.0), rows)
    assert right.mae < 1e-12
    assert right.expression in [s.expression for s in front_with_laws([right], rows)]


def test_a_refit_that_ran_away_from_its_first_start_is_saved_by_the_others() -> None:
    """A frequency far off, as constants of all rows can be, must not make the left-out error of a true law."""
    rows = task(np.exp(-0.2 * R) * np.cos(1.1 * R + 0.4))
    tree = from_prefix(["mul", "c0", "mul", "exp", "mul", "c1", "r", "cos", "add", "mul", "c2", "r", "c3"])
    [errors] = left_out(rows, [(tree, (1.0, -0.2, 1.1, 0.4))])
    assert errors[1:-1].max() < 1e-6


def test_front_table_and_comparison_give_the_same_left_out_error(tmp_path: Path) -> None:
    quick = LearnConfig(generations=0, population=64, exhaustive_size=3, workers=1)
    with open_database(tmp_path / "toy.duckdb", create=True) as db:
        toy.fill(db, n=80)
        learned = learn_pairs(db, quick, ["Vac_Mo-Vac_S"])
        [kernel] = learned.kernels
        [found] = compare(db, "Vac_Mo-Vac_S")
        row = db.frame("SELECT mae_cv, mae_cv_interior, law FROM formulas WHERE status = 'active'").row(0)
    ours = found.discovered.errors
    assert row[:2] == pytest.approx((kernel.best.mae_cv, kernel.best.mae_cv_interior), rel=1e-12)
    assert (ours.cv, ours.interior) == pytest.approx(row[:2], rel=1e-6, abs=1e-15)
    assert row[2] == law_of(kernel.best.expression, kernel.best.constants) == "exponential"
    same = next(f for f in found.fits if f.law == "exponential")
    assert same.errors.interior == pytest.approx(row[1], rel=1e-3, abs=1e-12)
