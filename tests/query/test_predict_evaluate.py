"""Predictions and error measures of the toy's models, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.db.models.formulas import activate_model, append_formulas, append_model
from defectdb.db.scratch import scratch
from defectdb.errors import UnknownNameError, UsageError
from defectdb.query.evaluate import coverage_sentences, evaluate, missing_terms, unpredicted
from defectdb.query.missing_terms import no_term_for
from defectdb.query.predict import narrate_gaps, narrate_unpredicted, predict
from defectdb.schema.records import ModelRecord, TermRecord


def test_predictions_are_the_toys_energies_in_order_of_structure(db: Database) -> None:
    frame = predict(db, "formation_energy")
    expected = [toy.energy(members) for members in toy.configurations(60)]
    assert frame["structure_id"].to_list() == sorted(frame["structure_id"])
    assert frame["value"].to_list() == pytest.approx(expected, abs=1e-12)
    assert narrate_gaps(frame) is None


def test_energy_per_site_is_the_energy_over_the_number_of_defects(db: Database) -> None:
    per_site, total = predict(db, "formation_energy_per_site"), predict(db, "formation_energy")
    assert (per_site["value"] * per_site["n_defects"] - total["value"]).abs().max() < 1e-12


def test_an_unknown_target_or_model_is_named_with_those_that_exist(db: Database) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'homo_lumo_gap'"):
        predict(db, "homo_lumo_gaps")
    with pytest.raises(UnknownNameError, match="unknown model '99'; known: 1, 2"):
        predict(db, "formation_energy", 99)
    with pytest.raises(UsageError, match="model 2 predicts homo_lumo_gap, not formation_energy"):
        predict(db, "formation_energy", 2)
    with pytest.raises(UsageError, match="no model predicts lumo yet"):
        predict(db, "lumo")


def test_structures_without_a_kernel_are_narrated_with_the_label_at_fault(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.duckdb", create=True) as db:
        toy.fill(db)
        toy.publish_energy_model(db, skip="Vac_S-W_Mo")
        sentence = narrate_gaps(predict(db, "formation_energy"))
        missing = missing_terms(db)
        said = coverage_sentences(evaluate(db), unpredicted(db), missing)
        assert missing_terms(db, target="homo_lumo_gap") == []
    told = (
        "no term for Vac_S-W_Mo; `defectdb learn --all-pairs` finds those of pairs that a structure of two defects "
        "holds, `defectdb learn --model --from all` all of them"
    )
    assert sentence == f"29 of 63 structures have no prediction: {told}"
    assert missing == ["Vac_S-W_Mo"]
    assert said[-1] == f"there is {told}"


def test_charged_structures_are_said_to_have_no_prediction(toy_path: Path) -> None:
    with open_database(toy_path) as db:
        assert narrate_unpredicted(db, predict(db, "formation_energy")) == []
        with db.transaction():
            db.execute("UPDATE structures SET charge = -1 WHERE n_defects = 2")
        n = db.value("SELECT count(*) FROM structures WHERE n_defects = 2")
        frame = predict(db, "formation_energy")
        sentences = narrate_unpredicted(db, frame)
        material = db.value("SELECT material_id FROM materials")
    assert sentences == [
        f"{n} structures of {material} carry a charge, and models are learned from neutral defects: no prediction"
    ]


def test_a_scratch_copy_predicts_structures_loaded_into_it(db: Database) -> None:
    expected = predict(db, "formation_energy")
    with scratch(db) as copy:
        assert predict(copy, "formation_energy").is_empty()
        toy.fill(copy)
        found = predict(copy, "formation_energy")
    assert found.equals(expected)


def _shift(db: Database, shift: float) -> None:
    """An energy model that is ``shift`` eV too high for every structure of two or more defects."""
    with db.transaction():
        run_id = toy.run(db)
        old = db.frame(
            'SELECT t."order", t.label, t.formula_id, t.value FROM model_terms AS t '
            "JOIN models USING (model_id) WHERE status = 'active' AND target = 'formation_energy'"
        ).to_dicts()
        terms = [TermRecord.model_validate(row) for row in old if row["order"] > 0]
        terms.append(TermRecord(order=0, label="offset", value=toy.OFFSET + shift))
        record = ModelRecord(
            run_id=run_id,
            material_id="MoS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="x",
            n_train=1,
        )
        activate_model(db, append_model(db, record, terms))


def test_error_measures_of_a_shifted_model_are_the_shift(toy_path: Path) -> None:
    with open_database(toy_path) as db:
        _shift(db, 0.006)
        frame = evaluate(db, "n_defects", "formation_energy_per_site")
    rows = {row["group"]: row for row in frame.to_dicts()}
    assert rows["1"]["mae"] == 0
    for n in (2, 3):
        wanted = 0.006 * (n - 1) / n
        for measure in ("mae", "rmse", "max_error", "bias"):
            assert math.isclose(rows[str(n)][measure], wanted, rel_tol=1e-9)
        assert rows[str(n)]["n"] == 30


def test_without_a_grouping_all_structures_and_their_numbers_of_defects_are_shown(db: Database) -> None:
    frame = evaluate(db)
    assert frame["by"].unique(maintain_order=True).to_list() == ["all", "n_defects"]
    for by in ("all", "n_defects"):
        assert frame.filter(by=by, target="formation_energy")["n"].sum() == 63


def test_an_unknown_grouping_is_refused(db: Database) -> None:
    with pytest.raises(UnknownNameError, match="unknown grouping 'descriptors'; did you mean 'descriptor'"):
        evaluate(db, "descriptors")


def test_evaluating_before_learning_says_what_to_do(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.duckdb", create=True) as db:
        toy.fill(db)
        with pytest.raises(UsageError, match="defectdb learn"):
            evaluate(db)


def test_activating_a_formula_makes_a_new_model_version_that_uses_it(toy_path: Path) -> None:
    from defectdb.db.models.formulas import activate_formula

    with open_database(toy_path) as db:
        with db.transaction():
            run_id = toy.run(db)
            [key] = append_formulas(db, [toy.formula(run_id, "Vac_Mo-Vac_S", "inv r")])
            model = activate_formula(db, key)
        assert db.value("SELECT v_Vac_Mo__Vac_S(4.0)") == 0.25
        assert db.value("SELECT version FROM models WHERE model_id = ?", [model]) == 2
        statuses = db.frame("SELECT formula_id, status FROM formulas WHERE pair_label = 'Vac_Mo-Vac_S' "
                            "AND target = 'formation_energy' ORDER BY ALL").rows()  # fmt: skip
        assert statuses == [(2, "retired"), (key, "active")]
        with db.transaction():
            assert activate_formula(db, key) == model
            back = activate_formula(db, 2)
        assert db.value("SELECT count(*) FROM models WHERE status = 'active'") == 2
        errors = db.frame("SELECT error FROM prediction_errors WHERE model_id = ?", [back])["error"]
        assert errors.abs().max() < 1e-12


def test_a_formula_whose_window_cuts_a_kernel_in_two_is_refused(toy_path: Path) -> None:
    from defectdb.db.models.formulas import activate_formula

    with open_database(toy_path) as db:
        with db.transaction():
            run_id = toy.run(db)
            record = toy.formula(run_id, "Vac_S-Vac_S", "inv r", dz_min=1.0, dz_max=2.0)
            [key] = append_formulas(db, [record])
        with pytest.raises(UsageError, match="activate formulas with the same windows"), db.transaction():
            activate_formula(db, key)


def test_a_formula_for_all_dz_takes_the_place_of_all_windows(toy_path: Path) -> None:
    from defectdb.db.models.formulas import activate_formula

    with open_database(toy_path) as db, db.transaction():
        run_id = toy.run(db)
        [key] = append_formulas(db, [toy.formula(run_id, "Vac_S-Vac_S", "inv r")])
        model = activate_formula(db, key)
        parts = db.frame(
            "SELECT formula_id FROM model_terms WHERE model_id = ? AND label = 'Vac_S-Vac_S'",
            [model],
        )
        assert parts["formula_id"].to_list() == [key]


def test_a_model_with_two_kernels_for_one_window_is_refused(toy_path: Path) -> None:
    with open_database(toy_path) as db:
        record = ModelRecord(
            run_id=1,
            material_id="MoS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="x",
            n_train=1,
        )
        terms = [
            TermRecord(order=2, label="Vac_S-Vac_S", formula_id=4),
            TermRecord(order=2, label="Vac_S-Vac_S", value=0),
        ]
        with pytest.raises(UsageError, match="two terms of order 2 for 'Vac_S-Vac_S'"), db.transaction():
            append_model(db, record, terms)
        stranger = [TermRecord(order=2, label="Vac_S-W_Mo", formula_id=4)]
        with (
            pytest.raises(UsageError, match="formula 4 is of MoS2 formation_energy Vac_S-Vac_S"),
            db.transaction(),
        ):
            append_model(db, record, stranger)


def test_terms_that_are_missing_are_named_with_what_gives_them() -> None:
    assert no_term_for(["Si_B", "C_B-Vac_N"]) == (
        "no term for Si_B, C_B-Vac_N; that of a defect comes from a run of it alone, "
        "`defectdb learn --all-pairs` finds those of pairs that a structure of two defects holds, "
        "`defectdb learn --model --from all` all of them"
    )
    many = no_term_for([f"{element}_B" for element in ("C", "Si", "Ge", "Sn", "Pb", "Al", "Ga", "In")])
    assert many.startswith("no term for C_B, Si_B, Ge_B, Sn_B, Pb_B, Al_B and 2 more; that of a defect")
