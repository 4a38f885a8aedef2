"""What the masks of a grammar with units let through: compared with all formulas, judged by fractions and recursion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defectdb.engine.grammar.decoding import Decoder, grammar_masks, random_formulas
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.programs.dimensional import has_units
from defectdb.errors import UsageError
from defectdb.expressions.dimensions import scaled_units
from defectdb.expressions.operators import OPERATORS

POWERS = {
    "neg": Fraction(1), "abs": Fraction(1), "inv": Fraction(-1), "square": Fraction(2), "cube": Fraction(3),
    "sqrt": Fraction(1, 2),
}  # fmt: skip
Unit = tuple[Fraction, ...]


def every_formula(grammar: Grammar, length: int) -> Iterator[tuple[str, ...]]:
    """All prefix sequences of exactly this length, whatever they mean."""
    if length == 1:
        yield from ((t,) for t, arity in zip(grammar.tokens, grammar.arity, strict=True) if t and not arity)
    for name in grammar.tokens[1:]:
        if name in OPERATORS and OPERATORS[name].arity == 1 and length > 1:
            yield from ((name, *rest) for rest in every_formula(grammar, length - 1))
        if name in OPERATORS and OPERATORS[name].arity == 2:
            for first in range(1, length - 1):
                for a in every_formula(grammar, first):
                    yield from ((name, *a, *b) for b in every_formula(grammar, length - 1 - first))


class Judge:
    """Reads one formula recursively; ``sound`` tells whether its units fit."""

    def __init__(self, grammar: Grammar, names: tuple[str, ...]) -> None:
        units = zip(grammar.variables, grammar.units, strict=True)
        self.units = {v: tuple(Fraction(x).limit_denominator(100) for x in unit) for v, unit in units}
        self.pure = (Fraction(0),) * len(grammar.units[0])
        self.names, self.sound = iter(names), True
        self.read()

    def demand(self, fine: bool) -> None:
        self.sound = self.sound and fine

    def read(self) -> tuple[Unit, bool]:
        """Unit of one operand and whether it holds a free factor."""
        name = next(self.names)
        if name not in OPERATORS:
            return self.units.get(name, self.pure), name == "c"
        operands = [self.read() for _ in range(OPERATORS[name].arity)]
        (a, free_a), (b, free_b) = operands[0], operands[-1]
        if name in POWERS:
            return tuple(POWERS[name] * x for x in a), free_a
        if name in ("mul", "div"):
            sign = 1 if name == "mul" else -1
            return tuple(x + sign * y for x, y in zip(a, b, strict=True)), free_a or free_b
        if name in ("add", "sub"):
            self.demand(free_a or free_b or a == b)
            return (b if free_a else a), free_a and free_b
        self.demand(all(free or unit == self.pure for unit, free in operands))
        return self.pure, False


def reachable(grammar: Grammar) -> set[tuple[str, ...]]:
    """All complete sequences that follow the masks; no mask may be empty on the way."""
    found, begun = set(), torch.zeros(1, 0, dtype=torch.long)
    for _ in range(grammar.max_length):
        decoder = Decoder(grammar, len(begun))
        for column in begun.T:
            decoder.push(column)
        allowed = decoder.allowed()
        assert allowed.any(1).all()
        row, token = allowed.nonzero(as_tuple=True)
        whole = torch.cat([begun[row], token.unsqueeze(1)], dim=1)
        ended = decoder.slots.count[row] + decoder.kinds.arity[token] == 1
        found |= {tuple(grammar.tokens[t] for t in line) for line in whole[ended].tolist()}
        begun = whole[~ended]
    assert not len(begun)
    return found


def sound_formulas(grammar: Grammar) -> set[tuple[str, ...]]:
    """Every formula within the limits whose units fit."""
    plain, found = replace(grammar, units=()), set()
    for length in range(1, grammar.max_length + 1):
        names = list(every_formula(grammar, length))
        rows = torch.tensor([grammar.encode(n) for n in names]).view(-1, grammar.max_length)
        fine = grammar_masks(rows, plain)[1].tolist() if names else []
        found |= {n for n, obeys in zip(names, fine, strict=True) if obeys and Judge(grammar, n).sound}
    return found


LENGTH = Grammar(variables=("r",), units=((1.0,),), numbers=(1,), max_length=6)
PLANE = Grammar(variables=("x", "t"), units=((1.0, 0.0), (0.0, 1.0)), numbers=(), max_length=6)
ANGLE = Grammar(variables=("x", "a"), units=((1.0,), (0.0,)), numbers=(), max_length=6)


@pytest.mark.parametrize(
    "grammar",
    [
        replace(LENGTH, operators=("add", "mul", "exp"), max_length=7),
        replace(LENGTH, operators=("sub", "div", "inv", "cos"), max_length=6),
        replace(LENGTH, operators=("add", "mul", "exp"), max_depth=2),
        replace(LENGTH, operators=("sub", "mul", "square", "cube", "log")),
        replace(PLANE, operators=("add", "mul", "tanh")),
        replace(PLANE, operators=("sub", "div", "sqrt", "exp")),
        replace(ANGLE, operators=("add", "div", "pow")),
        replace(ANGLE, operators=("mul", "damped", "neg")),
        replace(LENGTH, operators=("mul", "square", "sqrt", "exp"), units=((0.5,),)),
    ],
    ids=lambda g: f"{'-'.join(g.variables)} {' '.join(g.operators)}",
)
def test_the_masks_let_through_every_sound_formula_and_no_other(grammar):
    assert reachable(grammar) == sound_formulas(grammar)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize(
    "grammar",
    [
        replace(LENGTH, operators=("add", "inv", "mul", "exp"), max_length=7),
        replace(PLANE, operators=("add", "mul", "div"), max_length=7),
        replace(ANGLE, operators=("sub", "mul", "inv", "cos"), max_length=7),
    ],
    ids=lambda g: f"{'-'.join(g.variables)} {' '.join(g.operators)}",
)
def test_without_spare_constants_only_formulas_near_the_longest_are_missed(grammar, constants):
    grammar = replace(grammar, constants=constants, max_constants=1)
    found, sound = reachable(grammar), sound_formulas(grammar)
    assert found <= sound
    assert all(len(names) > grammar.max_length - 3 for names in sound - found)
    assert len(found) > 0.85 * len(sound)


def test_an_exponent_between_the_steps_of_the_table_is_met_by_a_constant_alone():
    grammar = replace(LENGTH, operators=("sub", "sqrt"), max_length=7)
    missed = sound_formulas(grammar) - reachable(grammar)
    assert missed == {("sub", "sqrt", "sqrt", "r", "sqrt", "sqrt", "r")}
    assert ("sub", "sqrt", "sqrt", "r", "c") in reachable(grammar)


UNITS = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1 / 3, 2.0])
GRAMMARS = st.builds(
    lambda units, **rest: Grammar(variables=("x", "y", "z")[: len(units)], units=tuple(units), **rest),
    units=st.integers(1, 2).flatmap(lambda n: st.lists(st.tuples(*[UNITS] * n), min_size=1, max_size=3)),
    operators=st.sampled_from(
        [
            ("add", "mul", "cos"),
            ("add", "sub", "mul", "div", "neg", "inv", "square", "cube", "sqrt", "exp", "log", "cos", "tanh"),
            ("add", "mul", "sin", "log", "sqrt", "cube", "pow", "abs", "damped"),
            ("exp", "log", "neg"),
            ("sub", "inv"),
        ]
    ),
    numbers=st.sampled_from([(), (1,), (1, 2, 3)]),
    constants=st.booleans(),
    max_length=st.integers(1, 24),
    max_depth=st.integers(1, 9),
    max_nesting=st.integers(0, 2),
    max_constants=st.integers(0, 4),
    summands=st.integers(1, 5),
)


@settings(max_examples=25, deadline=None)
@given(GRAMMARS, st.integers(0, 2**31), st.sampled_from([0.1, 0.5, 0.9]))
def test_every_sample_is_sound_and_complete(grammar, seed, leaf_bias):
    rows = random_formulas(grammar, 64, torch.Generator().manual_seed(seed), leaf_bias=leaf_bias)
    assert has_units(rows, grammar).all()
    assert grammar_masks(rows, grammar)[1].all()
    assert grammar_masks(rows, replace(grammar, units=()))[1].all()
    if grammar.summands == 1:
        lines = [tuple(grammar.tokens[t] for t in row if t != PAD) for row in rows.tolist()]
        assert all(Judge(grammar, names).sound for names in lines)


@settings(max_examples=20, deadline=None)
@given(GRAMMARS, st.integers(0, 2**31))
def test_units_that_are_all_pure_change_nothing(grammar, seed):
    pure = replace(grammar, units=tuple((0.0,) for _ in grammar.variables))
    plain = replace(grammar, units=())
    samples = [random_formulas(g, 64, torch.Generator().manual_seed(seed)) for g in (pure, plain)]
    assert torch.equal(*samples)
    masks = [grammar_masks(samples[0], g)[0] for g in (pure, plain)]
    assert torch.equal(*masks)


def test_a_grammar_without_units_carries_no_units():
    assert Decoder(Grammar(), 8).units is None


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("cos r", False),
        ("cos mul c r", True),
        ("exp neg mul c r", True),
        ("exp neg div r c", True),
        ("exp add c r", False),
        ("exp mul c add c r", True),
        ("add r 1", False),
        ("add r c", True),
        ("add square r mul r r", True),
        ("add inv r inv square r", False),
        ("damped div r c mul c r", True),
        ("damped div r c r", False),
        ("pow div r c c", True),
    ],
)
def test_the_masks_and_the_filter_agree_on_formulas_of_one_length(text, fine):
    grammar = Grammar(operators=tuple(OPERATORS), units=((1.0,),))
    row = torch.tensor([grammar.encode(text.split())])
    assert bool(has_units(row, grammar)) == fine
    assert bool(grammar_masks(row, grammar)[1]) == fine


def test_summands_with_coefficients_of_their_own_may_have_different_units():
    grammar = Grammar(units=((1.0,),), summands=3)
    texts = (
        "add inv r inv square r",
        "add r add square r exp mul c r",
        "add r add square r add cube r cube r",
    )
    rows = torch.tensor([grammar.encode(t.split()) for t in texts])
    assert has_units(rows, grammar).all()
    assert grammar_masks(rows, grammar)[1].all()
    fourth = torch.tensor([grammar.encode(["add", "r", "add", "square", "r", "add", "cube", "r", "1"])])
    assert not has_units(fourth, grammar).any()
    assert not grammar_masks(fourth, grammar)[1].any()


def test_summands_do_not_reach_into_products():
    grammar = Grammar(units=((1.0,),), summands=3)
    row = torch.tensor([grammar.encode(["mul", "r", "add", "r", "square", "r"])])
    assert not has_units(row, grammar).any()
    assert not grammar_masks(row, grammar)[1].any()


def test_exponents_are_counted_in_the_finest_steps():
    assert scaled_units([(0.5, 1 / 3), (1.0, 0.0)]) == ([[3, 2], [6, 0]], 6)
    with pytest.raises(UsageError, match=r"exponent 0\.333 of a unit is no fraction"):
        Grammar(units=((0.333,),))


def test_beginnings_that_lead_nowhere_do_no_harm():
    grammar = Grammar(units=((1.0,),), max_length=9)
    tokens = torch.randint(1, len(grammar.tokens), (500, 9), generator=torch.Generator().manual_seed(0))
    assert not grammar_masks(tokens, grammar)[1].all()
