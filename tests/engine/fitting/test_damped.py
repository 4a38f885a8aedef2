"""The damped oscillation exp(-x) cos(y) as one operator: searched, counted, shortened, stored and predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support import toy_database as toy

from defectdb.db import open_database
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.grammar.decoding import grammar_masks, random_formulas
from defectdb.engine.grammar.grammar import DEFAULT_OPERATORS, PAD, Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.dimensional import has_units
from defectdb.engine.search.search import Search
from defectdb.engine.seeds.small_skeletons import skeletons
from defectdb.errors import UnknownNameError, UsageError
from defectdb.expressions.algebra import shorter_forms
from defectdb.expressions.expression import from_prefix, to_prefix, walk
from defectdb.learn import LearnConfig, SymbolicRegressor, learn_pairs

GRAMMAR = Grammar(operators=(*DEFAULT_OPERATORS, "damped"))


def sound(text: str, grammar: Grammar = GRAMMAR) -> bool:
    return bool(grammar_masks(torch.tensor([grammar.encode(text.split())]), grammar)[1])


def test_it_counts_as_an_exponential_and_as_a_cosine() -> None:
    assert sound("damped mul c r mul c r")
    for inside in ("cos r", "sin r", "exp r", "tanh r", "damped r r"):
        assert not sound(f"damped {inside} r")
        assert not sound(f"damped r {inside}")
    assert not sound("cos damped r r")
    assert not sound("log damped r r")
    assert sound("square damped r square r")


def test_samples_with_it_are_nested_no_deeper_than_allowed() -> None:
    grammar = Grammar(operators=("add", "mul", "damped", "cos", "exp"))
    rows = random_formulas(grammar, 400, torch.Generator().manual_seed(0), leaf_bias=0.3)
    assert (rows == grammar.index["damped"]).any()
    for row in rows.tolist():
        for node in walk(from_prefix(grammar.decode(row))):
            names = [name for arg in getattr(node, "args", ()) for name in to_prefix(arg)]
            if getattr(node, "operator", "") == "damped":
                assert not {"cos", "exp", "damped"} & set(names)
            if getattr(node, "operator", "") in ("cos", "exp"):
                assert "damped" not in names
    assert (rows != PAD).sum(1).max() <= grammar.max_length


def test_small_skeletons_hold_it_with_both_its_constants() -> None:
    grammar = Grammar(operators=("add", "mul", "damped", "cos"), numbers=())
    small = skeletons(grammar, 7)
    assert ("damped", "mul", "c", "r", "mul", "c", "r") in small
    assert all(sound(" ".join(names), grammar) for names in small)
    assert not [names for names in skeletons(Grammar(), 5) if "damped" in names]


def test_both_operands_are_pure_numbers() -> None:
    grammar = Grammar(
        variables=("r", "a"), operators=("mul", "div", "damped"), units=((1.0,), (1.0,)), numbers=()
    )
    rows = ["damped div r a div r a", "damped r div r a", "damped div r a r", "damped mul c r mul c r"]
    tokens = torch.tensor([grammar.encode(row.split()) for row in rows])
    assert has_units(tokens, grammar).tolist() == [True, False, False, True]


def test_it_is_simplified_by_rule_and_by_algebra() -> None:
    even, _ = simplify(from_prefix(["damped", "r", "neg", "r"]), ())
    assert to_prefix(even) == ["damped", "r", "r"]
    plain = from_prefix(["mul", "c0", "mul", "exp", "neg", "r", "cos", "mul", "c1", "r"])
    found = shorter_forms(plain, (2.0, 3.0), GRAMMAR.operators)[0][0]
    assert " ".join(to_prefix(found)) == "mul c0 damped r mul c1 r"
    kept = from_prefix(["mul", "c0", "damped", "r", "r"])
    assert shorter_forms(kept, (2.0,), DEFAULT_OPERATORS) == []  # without it the formula would be longer


def test_a_regressor_finds_a_damped_oscillation_by_its_name() -> None:
    r = np.linspace(0.5, 8.0, 30)
    y = 1.7 * np.exp(-0.45 * r) * np.cos(2.3 * r)
    model = SymbolicRegressor(operators=("add", "mul", "damped"), variables=("r",), generations=0)
    model.fit(r, y)
    assert "damped" in to_prefix(model.best_.expression)
    assert model.best_.complexity == 9
    assert np.allclose(model.predict(r), y, atol=1e-9)


def test_its_formulas_are_stored_and_predicted_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "toy.duckdb"
    config = LearnConfig(
        generations=0, exhaustive_size=5, workers=1, max_tokens=15, allowed=("damped",), required=("damped",)
    )
    with open_database(path, create=True) as db:
        toy.fill(db, n=120)
        learned = learn_pairs(db, config, ["Vac_Mo-Vac_S"])
        stored = db.frame(
            "SELECT infix, \"sql\" FROM formulas WHERE status = 'active' AND prefix LIKE '%damped%'"
        )
        predicted = db.frame("SELECT value FROM predictions WHERE target = 'formation_energy'")["value"]
    assert all("damped" in to_prefix(s.expression) for s in learned.kernels[0].front)
    assert stored.height == 1
    assert "exp(-" in stored["infix"][0]
    assert np.isfinite(predicted.drop_nulls().to_numpy()).all()
    assert predicted.drop_nulls().len() > 0


def test_an_operator_outside_the_commonest_can_be_required() -> None:
    """The exhaustive search of the commonest operators alone holds none of it."""
    y = torch.linspace(1.0, 6.0, 12, dtype=torch.float64).sqrt()
    grammar = LearnConfig(required=("sqrt",)).grammar()
    config = LearnConfig(generations=0, exhaustive_size=4).search("cpu")
    front = Search(Problem.of(y.square(), y), grammar, config).run().front
    assert all("sqrt" in to_prefix(s.expression) for s in front)
    assert front[0].mse < 1e-20


def test_an_operator_that_there_is_not_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown operator 'dampd'; did you mean 'damped'"):
        LearnConfig(allowed=("dampd",)).grammar()
    with pytest.raises(UsageError, match="add --allow damped to --require damped"):
        LearnConfig(required=("damped",)).grammar()
    assert "damped" in LearnConfig(allowed=("damped",)).grammar().tokens
