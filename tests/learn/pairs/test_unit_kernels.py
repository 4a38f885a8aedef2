"""Kernels learned under units: what is refused, what is found, and the units that are told."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.expressions.dimensions import ENERGY, constant_units
from defectdb.learn.config import SUMMANDS, LearnConfig
from defectdb.learn.pairs.kernel_search import learn_kernel
from defectdb.learn.pairs.kernel_task import PairTask
from defectdb.learn.pairs.tasks import problem_of

R = np.linspace(2.0, 11.0, 16)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def task(y: np.ndarray, config: LearnConfig) -> PairTask:
    return PairTask(label="A_X-B_X", x=R[None], y=y, weight=np.ones(len(y)), config=config, device="cpu")


def test_distances_carry_angstrom_and_other_variables_are_pure() -> None:
    config = LearnConfig(units=True)
    assert config.grammar().units == ((1.0,),)
    assert config.grammar(("r12", "dz13", "theta")).units == ((1.0,), (1.0,), (0.0,))
    assert LearnConfig().grammar() == LearnConfig().grammar(("r",))
    assert LearnConfig().grammar().units == ()


def test_as_many_summands_have_units_of_their_own_as_a_fit_gives_coefficients() -> None:
    assert LearnConfig(units=True).grammar().summands == SUMMANDS
    assert problem_of(task(R, LearnConfig())).max_terms == SUMMANDS


def test_every_formula_of_the_front_has_constants_with_units() -> None:
    y = 2 * np.exp(-R / 2.3) * np.cos(1.7 * R) + 0.6 / R**3
    config = LearnConfig(units=True, generations=2, population=256, exhaustive_size=5, max_tokens=19)
    kernel = learn_kernel(task(y, config))
    assert len(kernel.front) > 2
    for scored in kernel.front:
        assert constant_units(scored.expression, {"r": (1.0,)}) is not None


def test_a_sum_of_powers_is_found_with_the_units_of_its_coefficients() -> None:
    config = LearnConfig(units=True, generations=0, exhaustive_size=6, max_tokens=15)
    kernel = learn_kernel(task(0.73 / R - 0.311 / R**2, config))
    best = min(kernel.front, key=lambda s: s.mse)
    assert best.mse < 1e-18
    units = constant_units(best.expression, {"r": (1.0, 0.0)}, ENERGY)
    assert units is not None
    assert None not in units
