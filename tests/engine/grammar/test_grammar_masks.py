"""Every sample is a complete formula that obeys the grammar: judged by a recursive parser of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defectdb.engine.grammar.decoding import Decoder, grammar_masks, random_formulas
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.seeds.small_skeletons import skeletons
from defectdb.errors import UsageError
from defectdb.expressions.expression import from_prefix

ARITY = {"add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2}
TRIG, EXPO = {"sin", "cos"}, {"exp", "log", "tanh"}
UNARY = {"neg", "inv", "square", "cube", "sqrt", "exp", "log", "sin", "cos", "tanh", "abs"}
UNDONE = {
    ("neg", "neg"), ("inv", "inv"), ("exp", "log"), ("log", "exp"), ("sqrt", "square"), ("square", "sqrt"),
}  # fmt: skip


class Judge:
    """Reads one prefix sequence recursively and notes what the grammar forbids."""

    def __init__(self, grammar: Grammar, names: list[str]) -> None:
        self.grammar, self.names, self.at, self.faults = grammar, names, 0, []
        self.leaf(None, 0, 0, 0)
        if self.at != len(names):
            self.faults.append("tokens left over")
        if len(names) > grammar.max_length:
            self.faults.append("too long")
        if sum(n == "c" for n in names) > grammar.max_constants:
            self.faults.append("too many constants")
        if not set(names) & set(grammar.variables):
            self.faults.append("no variable")

    def leaf(self, parent: str | None, depth: int, trig: int, expo: int) -> bool:
        """Read one operand; whether it is a bare constant or number."""
        if self.at >= len(self.names):
            self.faults.append("incomplete")
            return False
        name = self.names[self.at]
        self.at += 1
        if depth > self.grammar.max_depth:
            self.faults.append("too deep")
        if (parent, name) in UNDONE:
            self.faults.append(f"{parent} undoes {name}")
        trig, expo = trig + (name in TRIG), expo + (name in EXPO)
        if max(trig, expo) > self.grammar.max_nesting:
            self.faults.append("nested too often")
        if name in UNARY:
            if self.leaf(name, depth + 1, trig, expo):
                self.faults.append(f"{name} of a constant")
            return False
        if name in ARITY:
            sides = [self.leaf(name, depth + 1, trig, expo) for _ in range(2)]
            if all(sides):
                self.faults.append("constants folded into constants")
            return False
        return name == "c" or name.isdigit()


GRAMMARS = st.builds(
    Grammar,
    variables=st.sampled_from([("r",), ("x", "y"), ("r", "dz", "s")]),
    operators=st.sampled_from(
        [
            ("add", "mul", "cos"),
            ("add", "sub", "mul", "div", "neg", "inv", "square", "exp", "cos", "tanh"),
            ("add", "mul", "sin", "cos", "log", "exp", "sqrt", "cube", "pow"),
            ("exp", "log", "neg"),
        ]
    ),
    numbers=st.sampled_from([(), (1,), (1, 2, 3)]),
    constants=st.booleans(),
    max_length=st.integers(1, 24),
    max_depth=st.integers(1, 9),
    max_nesting=st.integers(0, 2),
    max_constants=st.integers(0, 4),
)


@settings(max_examples=60, deadline=None)
@given(GRAMMARS, st.integers(0, 2**31), st.sampled_from([0.1, 0.5, 0.9]))
def test_every_sample_is_complete_and_obeys_every_rule(grammar, seed, leaf_bias):
    generator = torch.Generator().manual_seed(seed)
    rows = random_formulas(grammar, 64, generator, leaf_bias=leaf_bias)
    for row in rows.tolist():
        names = [grammar.tokens[t] for t in row if t != PAD]
        assert Judge(grammar, names).faults == []
        from_prefix(grammar.decode(row))
    assert grammar_masks(rows, grammar)[1].all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_masks_and_judge_agree_on_any_sequence(data):
    grammar = Grammar(operators=("add", "mul", "neg", "exp", "log", "cos"), max_length=7, max_depth=3)
    token = st.sampled_from(grammar.tokens[1:])
    names = data.draw(st.lists(token, min_size=1, max_size=7))
    row = torch.tensor([grammar.encode(names)])
    assert bool(grammar_masks(row, grammar)[1]) == (Judge(grammar, names).faults == [])


def test_a_mask_always_leaves_a_token():
    grammar = Grammar(max_length=9, max_depth=3, max_constants=1, numbers=(1,))
    decoder = Decoder(grammar, 512)
    generator = torch.Generator().manual_seed(0)
    for _ in range(grammar.max_length):
        allowed = decoder.allowed()
        assert allowed.any(1).all()
        decoder.push(torch.multinomial(allowed.double(), 1, generator=generator).squeeze(1))
    assert decoder.finished.all()


def test_every_small_skeleton_is_distinct_and_obeys_the_grammar():
    grammar = Grammar(operators=("add", "mul", "div", "exp", "cos", "square"), numbers=())
    small = skeletons(grammar, 6)
    assert len(set(small)) == len(small)
    for names in small:
        assert not [f for f in Judge(grammar, list(names)).faults if "of a constant" not in f]


def test_small_skeletons_use_the_grammars_operators_alone():
    grammar = Grammar(operators=("mul", "exp", "inv"), forbidden=("inv",))
    assert {t for s in skeletons(grammar, 6) for t in s} == {"r", "c", "mul", "exp"}


def test_encoding_and_decoding_are_inverse():
    grammar = Grammar()
    names = ["add", "c0", "mul", "c1", "cos", "mul", "c2", "r"]
    row = grammar.encode(names)
    assert len(row) == grammar.max_length
    assert grammar.decode(row) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operators": ("add", "sinh")}, "unknown operators sinh"),
        ({"variables": ()}, "at least one variable"),
        ({"max_length": 0}, "at least 1"),
    ],
)
def test_an_impossible_grammar_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Grammar(**options)


def test_forbidden_tokens_never_occur():
    grammar = Grammar(forbidden=("exp", "tanh", "2"))
    rows = random_formulas(grammar, 500, torch.Generator().manual_seed(0), leaf_bias=0.2)
    used = {grammar.tokens[t] for t in rows.unique().tolist()}
    assert not used & {"exp", "tanh", "2"}
    assert not {t for s in skeletons(grammar, 5) for t in s} & {"exp", "tanh"}


def test_the_fingerprint_follows_every_setting():
    assert Grammar().fingerprint() == Grammar().fingerprint()
    assert (
        len({g.fingerprint() for g in (Grammar(), Grammar(max_length=20), Grammar(forbidden=("exp",)))}) == 3
    )
