"""Formulas that differ in the order of operands alone are one formula."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.programs.canonical import canonical_keys

GRAMMAR = Grammar(variables=("r", "s"), max_length=17)
COMMUTATIVE = ("add", "mul")


def keys(*texts: str, max_terms: int = 1) -> list[int]:
    rows = torch.tensor([GRAMMAR.encode(text.split()) for text in texts])
    return canonical_keys(rows, GRAMMAR, max_terms).tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mul r exp s", "mul exp s r"),
        ("cos add mul c r s", "cos add s mul r c"),
        ("div add r s mul r s", "div add s r mul s r"),
    ],
)
def test_operands_that_may_be_exchanged_are(one: str, other: str) -> None:
    first, second = keys(one, other)
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"), [("div r s", "div s r"), ("exp sub r s", "exp sub s r"), ("r", "s")]
)
def test_others_are_told_apart(one: str, other: str) -> None:
    first, second = keys(one, other)
    assert first != second


def test_a_difference_of_summands_with_free_coefficients_is_their_sum() -> None:
    assert len(set(keys("sub r exp s", "add r exp s", "sub exp s r", max_terms=3))) == 1
    assert len(set(keys("sub r exp s", "add r exp s", "sub exp s r"))) == 3


def ordered(names: list[str]) -> tuple[object, list[str]]:
    """The tree with commutative operands sorted, read from the front; and what is left of the names."""
    head, rest = names[0], names[1:]
    arity = GRAMMAR.arity[GRAMMAR.index[head]]
    below = []
    for _ in range(arity):
        part, rest = ordered(rest)
        below.append(part)
    return (head, *(sorted(below, key=repr) if head in COMMUTATIVE else below)), rest


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_keys_are_equal_just_where_sorted_trees_are(seed: int) -> None:
    small = Grammar(variables=("r", "s"), operators=("add", "sub", "mul", "exp"), numbers=(), max_length=9)
    rows = random_formulas(small, 60, torch.Generator().manual_seed(seed), leaf_bias=0.6)
    found = canonical_keys(rows, small, 1).tolist()
    names = [
        ["c" if n[0] == "c" and n[1:].isdigit() else n for n in small.decode(row)] for row in rows.tolist()
    ]
    trees = [ordered(n)[0] for n in names]
    for (key, tree), (other_key, other) in itertools.combinations(zip(found, trees, strict=True), 2):
        assert (key == other_key) == (tree == other)


def groupings(summands: list[str], joint: str) -> list[str]:
    """All ways to add summands up in this order, each pair joined by ``joint``."""
    if len(summands) == 1:
        return summands
    return [
        f"{joint} {left} {right}"
        for at in range(1, len(summands))
        for left in groupings(summands[:at], joint)
        for right in groupings(summands[at:], joint)
    ]


@pytest.mark.parametrize("summands", [("r", "inv r", "exp r"), ("r", "s", "cos s", "mul c exp r")])
def test_summands_count_in_any_order_and_grouping(summands: tuple[str, ...]) -> None:
    whole = [
        text
        for order in itertools.permutations(summands)
        for joint in ("add", "sub")
        for text in groupings(list(order), joint)
    ]
    assert len(set(keys(*whole, max_terms=len(summands)))) == 1
    fewer = keys(*groupings(list(summands[:-1]), "add"), max_terms=len(summands))
    assert not set(fewer) & set(keys(*whole, max_terms=len(summands)))


def test_sums_without_coefficients_of_their_own_keep_their_grouping() -> None:
    assert len(set(keys("exp add r add s c", "exp add add r s c", max_terms=3))) == 2
    joined = keys("add add r s add inv r inv s", "add r add s add inv r inv s", max_terms=2)
    assert len(set(joined)) == 2  # two coefficients: (r + s), (1/r + 1/s) is another formula
