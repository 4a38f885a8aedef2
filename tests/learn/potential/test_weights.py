"""How much datasets and kinds of configurations count in the fit of a potential."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.copper_frames import WINDOW, copper_frames

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.errors import UnknownNameError
from defectdb.ingest import load
from defectdb.learn.potential.fitting.baselines import baselines
from defectdb.learn.potential.fitting.fit import fit
from defectdb.learn.potential.fitting.weights import Scales, factors, weights
from defectdb.learn.potential.learn import PotentialConfig, prepare
from defectdb.learn.potential.physics.frames import Frames


def two_sources() -> Frames:
    m = 4
    return Frames(
        [f"f-{i}" for i in range(m)], np.tile(4.0 * np.eye(3), (m, 1, 1)), np.zeros((m, 3)), np.arange(m + 1),
        -3.5 + 0.1 * np.arange(m), np.zeros((m, 3)), np.zeros((m, 6)), np.array([0, 0, 1, 1]), ("a", "b"),
        (True, True), ["eos", "shake", "shake", "shake"], ["train"] * m,
    )  # fmt: skip


def test_factors_of_a_dataset_and_of_a_kind_multiply() -> None:
    found = factors(two_sources(), [("a", 2.0), ("config_type:shake", 5.0)])
    assert found.tolist() == [2.0, 10.0, 5.0, 5.0]


def test_a_factor_multiplies_squared_residuals_of_energies_and_forces_alike() -> None:
    frames = two_sources()
    plain, heavy = (weights(frames, Scales(), f) for f in (None, factors(frames, [("b", 4.0)])))
    assert np.allclose((plain.energy / heavy.energy) ** 2, [1, 1, 4, 4])
    assert np.allclose((plain.force / heavy.force) ** 2, [1, 1, 4, 4])


def test_a_name_that_no_training_configuration_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown dataset .* 'c'; known: a, b"):
        factors(two_sources(), [("c", 2.0)])
    with pytest.raises(UnknownNameError, match=r"unknown config_type .* 'shaken'; did you mean 'shake'"):
        factors(two_sources(), [("config_type:shaken", 2.0)])


def test_a_dataset_that_counts_more_is_fitted_better(tmp_path: Path) -> None:
    copper_frames(tmp_path / "one.extxyz", count=10, seed=0)
    copper_frames(tmp_path / "two.extxyz", count=10, seed=1)
    form = next(f.potential for f in baselines(WINDOW) if f.name == "Sutton-Chen, refitted")
    errors = []
    with open_database(":memory:") as db:
        load(db, [tmp_path / "one.extxyz", tmp_path / "two.extxyz"], energy_zero="atoms")
        config = PotentialConfig("Cu", cutoff=WINDOW.cutoff)
        plain = prepare(db, config)
        own = plain.train.source == plain.train.sources.index("two")
        for factor in (1.0, 1000.0):
            ready = prepare(db, replace(config, weights=(("two", factor),)))
            residuals = plain.loss.residuals(fit(form, ready.loss).potential)
            assert residuals is not None
            errors.append(float(np.square(residuals[: len(own)][own]).mean()))
    assert errors[1] < errors[0]


def test_weights_are_stored_with_the_run_and_unknown_ones_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copper_frames(tmp_path / "cu.extxyz", count=16, seed=0)
    assert run(["ingest", "cu.extxyz", "--energy-zero", "atoms"]) == 0
    learn = ["potential", "learn", "--material", "Cu", "--cutoff", "5", "--playouts", "5"]
    capsys.readouterr()
    for wrong, sentence in (
        ("none=2", "unknown dataset among the configurations to learn from 'none'"),
        ("cu=0", "'cu=0' is no weight: write e.g. cu_poet=2"),
        ("cu", "'cu' is no weight"),
    ):
        assert run([*learn, "--weight", wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert run([*learn, "--weight", "config_type:shaken=3"]) == 0
    with open_database("defects.duckdb", read_only=True) as db:
        config = json.loads(db.value("SELECT config FROM runs WHERE kind = 'potential'"))
    assert config["weights"] == [["config_type:shaken", 3.0]]
    assert run(["potential", "evaluate"]) == 0
