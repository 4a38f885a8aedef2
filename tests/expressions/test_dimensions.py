"""Units of constants, against hand calculation; soundness, against the filter on token sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.programs.dimensional import has_units
from defectdb.expressions.dimensions import constant_units, kernel_unit, unit_text
from defectdb.expressions.expression import from_prefix
from defectdb.expressions.operators import OPERATORS

LENGTH = {"r": (1.0, 0.0), "a": (0.0, 0.0)}
ENERGY = (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("mul c0 r", [(-1, 1)]),
        ("add c0 mul c1 exp neg mul c2 r", [(0, 1), (0, 1), (-1, 0)]),
        ("div c0 cube square r", [(6, 1)]),
        ("mul c0 cos add mul c1 r c2", [(0, 1), (-1, 0), (0, 0)]),
        ("mul c0 square sub r c1", [(-2, 1), (1, 0)]),
        ("mul c0 exp neg square div sub r c1 c2", [(0, 1), (1, 0), (1, 0)]),
        ("mul c0 exp mul mul c1 c2 r", [(0, 1), None, None]),
        ("mul c0 sqrt add c1 pow r 2", [(-1, 1), (2, 0)]),
        ("mul c0 damped mul c1 r mul a c2", [(0, 1), (-1, 0), (0, 0)]),
        ("mul c0 pow div r c1 c2", [(0, 1), (1, 0), (0, 0)]),
    ],
)
def test_units_of_constants_are_those_worked_out_by_hand(text, units):
    assert constant_units(from_prefix(text.split()), LENGTH, ENERGY) == units


@pytest.mark.parametrize(
    "text",
    ["cos r", "mul c0 cos r", "add r 1", "exp r", "mul c0 exp mul 2 r", "add mul c0 r mul 2 square r", "r"],
)
def test_a_formula_that_no_units_make_sound_has_none(text):
    assert constant_units(from_prefix(text.split()), LENGTH, ENERGY) is None


def test_without_a_unit_of_its_own_the_formula_takes_what_comes_out():
    assert constant_units(from_prefix(["mul", "r", "a"]), LENGTH) == []
    assert constant_units(from_prefix(["mul", "c0", "r"]), LENGTH) == [None]
    assert constant_units(from_prefix(["c0"]), LENGTH, ENERGY) == [(0, 1)]


def test_distances_of_kernels_are_lengths_and_angles_are_pure():
    units = {name: kernel_unit(name) for name in ("r", "dz", "r12", "dz23", "theta")}
    assert units == {"r": (1, 0), "dz": (1, 0), "r12": (1, 0), "dz23": (1, 0), "theta": (0, 0)}


def test_units_are_written_for_people():
    assert [unit_text(u) for u in ((0, 0), (0, 1), (-1, 1), (1, 0), (0.5, 0), None)] == [
        "1", "eV", "eV angstrom^-1", "angstrom", "angstrom^0.5", "any",
    ]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 0.5, 0.7]))
def test_solved_equations_and_the_filter_agree_on_what_is_sound(seed, leaf_bias):
    operators = tuple(
        name for name in OPERATORS if name != "pow"
    )  # powers of numbers are the filter's exception
    grammar = Grammar(variables=("r", "a"), operators=operators, units=((1.0,), (0.0,)), max_length=9)
    free = Grammar(variables=("r", "a"), operators=operators, max_length=9)
    rows = random_formulas(free, 60, torch.Generator().manual_seed(seed), leaf_bias=leaf_bias)
    trees = [from_prefix(grammar.decode(row)) for row in rows.tolist()]
    solved = [constant_units(tree, {"r": (1.0,), "a": (0.0,)}) is not None for tree in trees]
    assert solved == has_units(rows, grammar).tolist()
