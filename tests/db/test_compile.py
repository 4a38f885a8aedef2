"""Compiled predictions against the toy's closed form, from defectdb and from a plain DuckDB connection."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.db.models.formulas import (
    activate_model,
    append_formulas,
    append_generations,
    append_model,
    finish_run,
)
from defectdb.errors import QueryError, UnknownNameError
from defectdb.schema.records import ModelRecord, TermRecord

ENERGY = "SELECT structure_id, value FROM predictions WHERE target = 'formation_energy'"


@pytest.fixture
def db(tmp_path: Path):
    with open_database(tmp_path / "toy.duckdb", create=True) as opened:
        toy.fill(opened)
        yield opened


def errors(db: Database, target: str) -> list[float]:
    return db.frame("SELECT error FROM prediction_errors WHERE target = ?", [target])["error"].to_list()


def test_before_any_model_predictions_are_empty(db: Database) -> None:
    assert db.frame("SELECT * FROM predictions").is_empty()
    assert db.frame("SELECT * FROM predictions_as_of(1)").is_empty()


def test_the_toys_own_kernels_predict_every_stored_energy_and_gap(db: Database) -> None:
    toy.publish_energy_model(db)
    toy.publish_gap_model(db)
    for target in ("formation_energy", "formation_energy_per_site", "homo_lumo_gap"):
        found = errors(db, target)
        assert len(found) == 63
        assert max(map(abs, found)) < 1e-12


def test_a_pair_without_a_kernel_gives_null_and_its_label(db: Database) -> None:
    toy.publish_energy_model(db, skip="Vac_Mo-W_Mo")
    frame = db.frame(
        "SELECT value, missing, "
        "structure_id IN (SELECT structure_id FROM pairs WHERE label = 'Vac_Mo-W_Mo') AS has "
        "FROM predictions WHERE target = 'formation_energy'"
    )
    assert frame["has"].any()
    for value, missing, has in frame.rows():
        assert (value is None) == has
        assert missing == (["Vac_Mo-W_Mo"] if has else [])


def test_distances_outside_the_training_range_are_flagged(db: Database) -> None:
    toy.publish_energy_model(db, r_min=4.0, r_max=9.0)
    frame = db.frame(
        "SELECT any_value(p.extrapolated) AS flag, min(q.distance) AS low, max(q.distance) AS high "
        "FROM predictions AS p JOIN pairs AS q USING (structure_id) GROUP BY structure_id"
    )
    assert frame["flag"].any()
    assert not frame["flag"].all()
    for flag, low, high in frame.rows():
        assert flag == (low < 4 or high > 9)


def test_a_kernel_that_is_not_finite_gives_null_and_no_missing_label(db: Database) -> None:
    model = _one_kernel_model(db, "log neg r")
    frame = db.frame("SELECT value, missing FROM predictions_as_of(?) WHERE n_defects > 1", [model])
    assert frame.height > 0
    assert frame["value"].null_count() == frame.height
    assert frame["missing"].list.len().max() == 0


def _one_kernel_model(db: Database, tokens: str, **other: object) -> int:
    """Zero everywhere but in one kernel for all pairs: what the kernel itself gives."""
    with db.transaction():
        run_id = toy.run(db)
        ids = append_formulas(db, [toy.formula(run_id, label, tokens, **other) for label in toy.LABELS])
        terms = [TermRecord(order=1, label=label, value=0.0) for label in toy.ENERGIES]
        terms += [
            TermRecord(order=2, label=label, formula_id=key)
            for label, key in zip(toy.LABELS, ids, strict=True)
        ]
        record = ModelRecord(
            run_id=run_id, material_id="MoS2", target="formation_energy", aggregator="sum", trained_on="pairs",
            n_train=1,
        )  # fmt: skip
        model = append_model(db, record, terms)
        activate_model(db, model)
    return model


def test_a_lattice_sum_adds_the_kernel_over_every_image_within_the_cutoff(db: Database) -> None:
    _one_kernel_model(db, "exp neg r", images="sum")
    found = dict(db.frame(ENERGY).rows())
    for number, members in enumerate(toy.configurations(60)):
        if len(members) != 2:
            continue
        dx, dy, dz = toy.vector(*members)
        side, height = toy.CELLS * toy.A, toy.CELLS * toy.A * math.sqrt(3) / 2
        lengths = [
            math.hypot(dx + side * (m - n / 2), dy + height * n, dz)
            for m in range(-4, 5)
            for n in range(-4, 5)
        ]
        expected = sum(math.exp(-length) for length in lengths if length <= 20)
        assert found[f"s{number:04}"] == pytest.approx(expected, rel=1e-9)


def test_three_body_terms_are_added_once_per_triple(db: Database) -> None:
    toy.publish_energy_model(db)
    before = dict(db.frame(ENERGY).rows())
    label = "Vac_Mo-Vac_S-W_Mo"
    with db.transaction():
        run_id = toy.run(db)
        tokens = "add exp neg add r12 mul 2 r13 add mul 0.5 r23 mul 3 dz12"
        [key] = append_formulas(db, [toy.formula(run_id, label, tokens)])
        old = db.frame(
            'SELECT "order", label, formula_id, value FROM model_terms WHERE model_id = 1'
        ).to_dicts()
        terms = [TermRecord.model_validate(row) for row in old]
        record = ModelRecord(
            run_id=run_id,
            material_id="MoS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="all",
            n_train=1,
        )
        activate_model(
            db, append_model(db, record, [*terms, TermRecord(order=3, label=label, formula_id=key)])
        )
    after = db.frame(ENERGY).rows()
    triples = {row[0]: row for row in db.frame("SELECT * FROM triples WHERE label = ?", [label]).rows()}
    assert triples
    for key, value in after:
        extra = 0.0
        if key in triples:
            _, _, r12, r13, r23, dz12, *_ = triples[key]
            extra = math.exp(-(r12 + 2 * r13)) + 0.5 * r23 + 3 * dz12
        assert value - before[key] == pytest.approx(extra, abs=1e-12)


def test_a_plain_duckdb_client_reads_the_same_numbers_from_a_renamed_file(
    db: Database, tmp_path: Path
) -> None:
    toy.publish_energy_model(db)
    expected = db.frame("SELECT structure_id, target, value FROM predictions ORDER BY ALL").rows()
    db.close()
    other = tmp_path / "renamed by a colleague.db"
    Path(db.path).rename(other)
    with duckdb.connect(str(other), read_only=True) as plain:
        query = "SELECT structure_id, target, value FROM predictions ORDER BY ALL"
        found = plain.execute(query).fetchall()
        [(near, other_side)] = plain.execute(
            "SELECT v_Vac_S__Vac_S(3.19, 0), v_Vac_S__Vac_S(3.19, 3.12)"
        ).fetchall()
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    values = [value for *_, value in expected]
    assert [value for *_, value in found] == pytest.approx(values, rel=1e-14)  # sums have no fixed order
    assert near == pytest.approx(toy.energy_kernel("Vac_S-Vac_S", 3.19, 0), rel=1e-14)
    assert other_side == pytest.approx(-near, rel=1e-14)
    with duckdb.connect() as plain:
        plain.execute(f"ATTACH '{other}' AS theirs (READ_ONLY)")
        attached = plain.execute(
            "SELECT theirs.v_MoS2__Vac_Mo__Vac_S(4), count(*) FROM theirs.predictions"
        ).fetchall()
    assert attached[0][1] == len(expected)


def test_a_new_model_retires_the_one_before_and_its_macros_follow(db: Database) -> None:
    toy.publish_energy_model(db)
    first = db.value("SELECT v_Vac_Mo__Vac_S(3)")
    _one_kernel_model(db, "exp neg r")
    assert db.value("SELECT v_Vac_Mo__Vac_S(3)") == pytest.approx(math.exp(-3))
    assert db.value("SELECT f_1(3, 0)") != first
    statuses = db.frame("SELECT model_id, status FROM models ORDER BY ALL").rows()
    assert statuses == [(1, "retired"), (2, "active")]
    old = db.frame("SELECT max(abs(p.value - t.value)) FROM predictions_as_of(1) AS p JOIN targets AS t "
                   "USING (structure_id, target)").item()  # fmt: skip
    assert old < 1e-12


def test_latest_is_the_highest_version_and_active_the_activated_one(db: Database) -> None:
    first = toy.publish_energy_model(db)
    second = _one_kernel_model(db, "exp neg r")
    with db.transaction():
        activate_model(db, first)
    assert db.value("SELECT DISTINCT model_id FROM predictions") == first
    assert db.value("SELECT DISTINCT model_id FROM predictions_latest") == second


def test_macros_and_view_comments_explain_themselves(db: Database) -> None:
    toy.publish_energy_model(db)
    comment = db.value("SELECT comment FROM duckdb_functions() WHERE function_name = 'f_1'")
    assert comment.startswith("defectdb formula 1: Vac_Mo-Vac_Mo, formation_energy of MoS2: ")
    assert db.value("SELECT comment FROM duckdb_views() WHERE view_name = 'predictions'")


def test_macros_of_the_user_survive_a_compilation(db: Database) -> None:
    with db.transaction():
        db.execute("CREATE MACRO mine(x) AS x + 1")
    toy.publish_energy_model(db)
    _one_kernel_model(db, "exp neg r")
    assert db.value("SELECT mine(1)") == 2


def test_a_failed_activation_leaves_the_old_model_compiled(db: Database) -> None:
    toy.publish_energy_model(db)

    def half_way() -> None:
        with db.transaction():
            db.execute("CREATE OR REPLACE VIEW predictions AS SELECT 1 AS x")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        half_way()
    assert max(map(abs, errors(db, "formation_energy"))) < 1e-12


OTHER_DUCKDB = os.environ.get("DEFECTDB_OTHER_PYTHON", "")


@pytest.mark.skipif(not OTHER_DUCKDB, reason="$DEFECTDB_OTHER_PYTHON names no Python with another DuckDB")
def test_duckdb_1_5_reads_the_same_numbers(db: Database) -> None:
    toy.publish_energy_model(db)
    total = db.value("SELECT sum(value) FROM predictions")
    path = db.path
    db.close()
    code = (
        "import duckdb, sys\n"
        "con = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print(con.sql('SELECT sum(value) FROM predictions').fetchall()[0][0])"
    )
    done = subprocess.run([OTHER_DUCKDB, "-c", code, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(total, rel=1e-12)
    assert sys.version_info >= (3, 11)


def test_two_materials_with_one_label_keep_their_kernels_apart(db: Database) -> None:
    toy.publish_energy_model(db)
    assert db.value("SELECT v_Vac_S__W_Mo(3.0)") == db.value("SELECT v_MoS2__Vac_S__W_Mo(3.0)")
    with db.transaction():
        run_id = toy.run(db)
        [key] = append_formulas(db, [toy.formula(run_id, "Vac_S-W_Mo", "inv r", material_id="a-WS2")])
        record = ModelRecord(
            run_id=run_id,
            material_id="a-WS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="x",
            n_train=1,
        )
        activate_model(
            db, append_model(db, record, [TermRecord(order=2, label="Vac_S-W_Mo", formula_id=key)])
        )
    assert db.value("SELECT v_a_WS2__Vac_S__W_Mo(4.0)") == 0.25
    assert db.value("SELECT v_MoS2__Vac_S__W_Mo(3.0)") == pytest.approx(
        toy.energy_kernel("Vac_S-W_Mo", 3.0, 0)
    )
    with pytest.raises(QueryError, match=r"(?i)v_Vac_S__W_Mo"):
        db.value("SELECT v_Vac_S__W_Mo(3.0)")
    assert max(map(abs, errors(db, "formation_energy"))) < 1e-12


def test_appending_checks_what_it_is_given(db: Database) -> None:
    with pytest.raises(ValueError, match="unknown variable"):
        toy.formula(1, "Vac_S-W_Mo", "mul r x")
    with pytest.raises(ValueError, match="1 constants in the formula, 0 given"):
        toy.formula(1, "Vac_S-W_Mo", "mul r c0")
    with pytest.raises(ValueError, match="two or three defects"):
        toy.formula(1, "Vac_S", "r")
    with pytest.raises(ValueError, match=r"window .* is empty"):
        toy.formula(1, "Vac_S-W_Mo", "r", dz_min=2.0, dz_max=1.0)
    with pytest.raises(ValueError, match="either a formula or a value"):
        TermRecord(order=2, label="Vac_S-W_Mo")
    with pytest.raises(ValueError, match="is a value, not a formula"):
        TermRecord(order=1, label="Vac_S", formula_id=3)
    with pytest.raises(UnknownNameError, match="unknown model '7'"), db.transaction():
        activate_model(db, 7)


def test_versions_count_up_per_material_label_and_target(db: Database) -> None:
    with db.transaction():
        run_id = toy.run(db)
        labels = ["Vac_S-W_Mo", "Vac_S-W_Mo", "Vac_Mo-Vac_S"]
        first = append_formulas(db, [toy.formula(run_id, label, "r") for label in labels])
        second = append_formulas(db, [toy.formula(run_id, "Vac_S-W_Mo", "r")])
    versions = dict(db.frame("SELECT formula_id, version FROM formulas").iter_rows())
    assert [versions[key] for key in [*first, *second]] == [1, 2, 1, 3]
    assert append_formulas(db, []) == []


def test_a_run_is_recorded_from_start_to_end(db: Database) -> None:
    with db.transaction():
        run_id = toy.run(db)
        log = {"run_id": [run_id], "task": ["t"], "generation": [0], "seconds": [0.5], "n_candidates": [9],
               "n_unique": [8], "n_new": [8], "n_in_domain": [7]}  # fmt: skip
        append_generations(db, pl.DataFrame(log))
        finish_run(db, run_id, "done")
    assert db.frame("SELECT status, finished_at >= started_at AS later FROM runs").row(0) == ("done", True)
    assert db.value("SELECT n_in_domain FROM generations") == 7
