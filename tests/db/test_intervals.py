"""Intervals cover what they promise, by composition, and widen outside the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import open_database
from defectdb.db.models.formulas import adopt_model, append_formulas, append_model
from defectdb.db.models.intervals import ENOUGH, WIDER, calibrate, half_width, half_widths
from defectdb.schema.records import ModelRecord, TermRecord


def test_the_half_width_is_the_error_of_the_conformal_rank() -> None:
    assert half_width(np.arange(1.0, 10.0)) == 9.0  # ceil(0.9 * 10)
    assert half_width(np.arange(1.0, 100.0)) == 90.0
    assert half_width(np.arange(1.0, ENOUGH)) is None


def test_nine_of_ten_further_errors_of_a_composition_lie_within() -> None:
    rng = np.random.default_rng(0)
    sizes = {"A+B+C": 0.001, "A+A+A": 0.05}
    covered = {name: [] for name in sizes}
    for _ in range(200):
        drawn = {name: np.abs(size * rng.standard_t(3, 101)) for name, size in sizes.items()}
        frame = pl.concat(
            pl.DataFrame({"composition": name, "n_defects": 3, "error": values[:100], "outside": False})
            for name, values in drawn.items()
        )
        widths = half_widths(frame).drop_nulls("composition")
        for name, width in widths.select("composition", "half_width").iter_rows():
            covered[name].append(drawn[name][100] <= width)
    for name in sizes:
        assert 0.83 < np.mean(covered[name]) < 0.96  # 0.9 within three standard deviations of 200 draws


def test_few_errors_fall_back_to_the_number_of_defects_and_to_every_defect() -> None:
    frame = pl.DataFrame(
        {
            "composition": ["A+B"] * 5 + ["A+C"] * 5,
            "n_defects": 2,
            "error": np.arange(10) / 10,
            "outside": False,
        }
    )
    rows = half_widths(frame)
    assert rows["composition"].to_list() == [None, None]
    assert rows["n_defects"].to_list() == [2, None]
    assert rows["half_width"].to_list() == pytest.approx([0.9, 0.45])
    assert rows["half_width_outside"].to_list() == pytest.approx([WIDER * 0.9, WIDER * 0.45])


def test_predictions_have_intervals_that_widen_outside_the_data(tmp_path: Path) -> None:
    with open_database(tmp_path / "toy.duckdb", create=True) as db:
        toy.fill(db, n=120)
        labels = db.frame("SELECT DISTINCT label FROM pairs ORDER BY ALL")["label"].to_list()
        singles = db.frame("SELECT DISTINCT label FROM defects ORDER BY ALL")["label"].to_list()
        middle = db.value("SELECT median(distance) FROM pairs")
        with db.transaction():
            run = toy.run(db)
            records = [toy.formula(run, x, "mul c0 exp neg r", (0.1,), r_max=middle) for x in labels]
            ids = append_formulas(db, records)
            model = ModelRecord(
                run_id=run,
                material_id="MoS2",
                target="formation_energy",
                aggregator="sum",
                trained_on="pairs",
                n_train=1,
            )
            terms = [TermRecord(order=2, label=x, formula_id=i) for x, i in zip(labels, ids, strict=True)]
            terms += [TermRecord(order=1, label=x, value=2.0) for x in singles]
            model_id = append_model(db, model, terms)
            adopt_model(db, model_id, activate=True)
            unseen = db.value("SELECT count(*) FROM structures WHERE n_defects > 2")
            errors = db.frame("SELECT structure_id, 0.01 AS error FROM structures WHERE n_defects = 2")
            assert calibrate(db, model_id, errors) > 0
        rows = db.frame(
            "SELECT n_defects, extrapolated, upper_90 - value AS half, value - lower_90 AS low, target FROM predictions"
        )
        assert rows["half"].to_list() == pytest.approx(rows["low"].to_list())
        two = rows.filter(n_defects=2, target="formation_energy")
        assert two.filter(~pl.col("extrapolated"))["half"].to_list() == pytest.approx(
            [0.01] * two.filter(~pl.col("extrapolated")).height
        )
        assert two.filter("extrapolated")["half"].min() > 0.01 - 1e-9
        site = rows.filter(n_defects=2, target="formation_energy_per_site", extrapolated=False)
        assert site["half"].to_list() == pytest.approx([0.005] * site.height)
        assert unseen > 0
