"""Composition formulas and cutoffs in compiled predictions, against plain Python over the same toy structures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.db.models.formulas import activate_model, append_formulas, append_model
from defectdb.expressions.expression import from_prefix
from defectdb.schema.labels import COMPOSITION, count_variable, join_labels
from defectdb.schema.records import FormulaRecord, ModelRecord, TermRecord

ENERGY = "SELECT structure_id, value, extrapolated FROM predictions WHERE target = 'formation_energy'"
CUTOFF = 6.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "toy.duckdb", create=True) as opened:
        toy.fill(opened)
        yield opened


def record(run_id: int, tokens: str, label: str = COMPOSITION, **other: object) -> FormulaRecord:
    return FormulaRecord(
        run_id=run_id, material_id="MoS2", pair_label=label, target="formation_energy",
        expression=from_prefix(tokens.split()), n_train=1, mae_train=0.0,
        **{"r_min": 1.0, "r_max": 2.0} | other,
    )  # fmt: skip


def publish(db: Database, *compositions: str, kernel: str = "exp neg r", cutoff: float | None = None) -> None:
    """One kernel for all pairs and one-defect terms of zero, with these composition formulas."""
    with db.transaction():
        run_id = toy.run(db)
        pairs = append_formulas(
            db,
            [record(run_id, kernel, label, r_min=0.0, r_max=CUTOFF, cutoff=cutoff) for label in toy.LABELS],
        )
        formulas = append_formulas(db, [record(run_id, tokens) for tokens in compositions])
        terms = [TermRecord(order=1, label=label, value=0.0) for label in toy.ENERGIES]
        terms += [TermRecord(order=2, label=x, formula_id=i) for x, i in zip(toy.LABELS, pairs, strict=True)]
        terms += [TermRecord(order=0, label=COMPOSITION, formula_id=i) for i in formulas]
        model = ModelRecord(
            run_id=run_id,
            material_id="MoS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="all",
            n_train=1,
        )
        activate_model(db, append_model(db, model, terms))


def pair_sum(members: tuple[toy.Placed, ...], cutoff: float = math.inf) -> float:
    distances = [math.hypot(*toy.vector(a, b)) for i, a in enumerate(members) for b in members[i + 1 :]]
    return sum(math.exp(-r) for r in distances if r < cutoff)


def test_composition_formulas_add_what_the_numbers_of_defects_are_worth(db: Database) -> None:
    publish(db, "abs sub n_vac_mo mul 2 n_vac_s", "div mul n n sites", "mul v n_w_mo")
    found = {name: (value, outside) for name, value, outside in db.frame(ENERGY).iter_rows()}
    n_sites = db.value("SELECT n_sites FROM hosts")
    for number, members in enumerate(toy.configurations(60)):
        labels = [m.label for m in members]
        mo, s, w = (labels.count(label) for label in ("Vac_Mo", "Vac_S", "W_Mo"))
        base = pair_sum(members)
        expected = base + abs(mo - 2 * s) + len(labels) ** 2 / n_sites + base * w
        value, outside = found[f"s{number:04}"]
        assert value == pytest.approx(expected, abs=1e-12)
        assert outside or not len(labels) > 2, "the formulas were learned on one and two defects"


def test_a_composition_without_a_finite_value_leaves_the_prediction_without_one(db: Database) -> None:
    publish(db, "log n_vac_mo")
    for (structure,) in db.frame("SELECT structure_id FROM structures WHERE n_defects > 0").iter_rows():
        [labels] = db.frame("SELECT defect_labels FROM structures WHERE structure_id = ?", [structure]).row(0)
        [value] = db.frame("SELECT value FROM predictions WHERE structure_id = ? LIMIT 1", [structure]).row(0)
        assert (value is None) == ("Vac_Mo" not in labels.split("+"))


def test_a_pair_is_worth_nothing_from_the_cutoff_on_and_does_not_extrapolate_there(db: Database) -> None:
    publish(db, cutoff=CUTOFF)
    found = {name: (value, outside) for name, value, outside in db.frame(ENERGY).iter_rows()}
    for number, members in enumerate(toy.configurations(60)):
        value, outside = found[f"s{number:04}"]
        assert value == pytest.approx(pair_sum(members, CUTOFF), abs=1e-12)
        assert not outside
    assert db.value("SELECT v_Vac_Mo__Vac_S(6.0)") == 0
    assert db.value("SELECT v_Vac_Mo__Vac_S(5.9)") == pytest.approx(math.exp(-5.9), abs=1e-15)


def test_a_triangle_is_worth_nothing_where_two_of_its_edges_reach_the_cutoff(db: Database) -> None:
    reach = 9.0
    label = next(iter(db.frame("SELECT DISTINCT label FROM triples ORDER BY label")["label"]))
    with db.transaction():
        run_id = toy.run(db)
        [key] = append_formulas(db, [record(run_id, "1", label, r_min=0.0, r_max=99.0, cutoff=reach)])
        model = ModelRecord(
            run_id=run_id,
            material_id="MoS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="all",
            n_train=1,
        )
        terms = [TermRecord(order=1, label=x, value=0.0) for x in toy.ENERGIES]
        terms += [TermRecord(order=2, label=x, value=0.0) for x in toy.LABELS]
        activate_model(
            db, append_model(db, model, [*terms, TermRecord(order=3, label=label, formula_id=key)])
        )
    found = dict(db.frame(ENERGY).select("structure_id", "value").iter_rows())
    seen = set()
    for number, members in enumerate(toy.configurations(60)):
        if len(members) == 3 and join_labels(m.label for m in members) == label:
            a, b, c = members
            edges = sorted(math.hypot(*toy.vector(*pair)) for pair in ((a, b), (a, c), (b, c)))
            assert found[f"s{number:04}"] == (1.0 if edges[1] < reach else 0.0)
            seen.add(edges[1] < reach)
    assert seen == {True, False}


def test_a_composition_knows_its_own_variables_alone() -> None:
    assert count_variable("Vac_Mo") == "n_vac_mo"
    with pytest.raises(ValueError, match="unknown variable"):
        record(1, "exp r")


def test_a_composition_knows_the_smallest_and_the_largest_of_all_terms(db: Database) -> None:
    publish(db, "sub least v", "mul 100 most")
    found = dict(db.frame(ENERGY).select("structure_id", "value").iter_rows())
    for number, members in enumerate(toy.configurations(60)):
        values = [0.0 for _ in members]
        values += [
            math.exp(-math.hypot(*toy.vector(a, b))) for i, a in enumerate(members) for b in members[i + 1 :]
        ]
        assert found[f"s{number:04}"] == pytest.approx(min(values) + 100 * max(values), abs=1e-12)


def test_a_composition_knows_what_pairs_and_triangles_add_up_to(db: Database) -> None:
    publish(db, "sub mul 3 interaction n")
    found = dict(db.frame(ENERGY).select("structure_id", "value").iter_rows())
    for number, members in enumerate(toy.configurations(60)):
        pairs = sum(
            math.exp(-math.hypot(*toy.vector(a, b))) for i, a in enumerate(members) for b in members[i + 1 :]
        )
        assert found[f"s{number:04}"] == pytest.approx(4 * pairs - len(members), abs=1e-12)
