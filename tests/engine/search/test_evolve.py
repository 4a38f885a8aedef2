"""Subtrees move with their constants, offspring obey the grammar, and nothing is fitted twice."""

from __future__ import annotations

import pytest
import torch

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.decoding import random_formulas
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.network.segvae import SEGVAE
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.programs.tree_structure import subtree_ends
from defectdb.engine.search.offspring import SOURCES, breed, elites, neighbours, shares
from defectdb.engine.search.variation import add_up, crossover, mutate, relabel, wrap
from defectdb.engine.settings import ModelConfig
from defectdb.errors import ExpressionError
from defectdb.expressions.expression import from_prefix, to_prefix

GRAMMAR = Grammar(max_length=17)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.fixture
def parents(generator: torch.Generator) -> Candidates:
    """Formulas whose every constant has a value of its own."""
    rows = random_formulas(GRAMMAR, 300, generator, leaf_bias=0.3)
    theta = torch.arange(300 * 6, dtype=torch.float64).view(300, 6) + 0.5
    return Candidates.of(rows, GRAMMAR, theta)


def names(row: torch.Tensor) -> list[str]:
    return [GRAMMAR.tokens[t] for t in row.tolist() if t != PAD]


def complete(row: torch.Tensor) -> bool:
    try:
        from_prefix(GRAMMAR.decode(row.tolist()))
    except ExpressionError:
        return False
    return True


def check_values(made: Candidates) -> None:
    """A value stands at constants only."""
    elsewhere = made.tokens != GRAMMAR.constant
    assert torch.isnan(made.values[elsewhere]).all()


def test_subtrees_end_where_a_parser_ends_them(parents):
    ends = subtree_ends(parents.tokens, GRAMMAR)
    for row, end in zip(parents.tokens[:80], ends[:80], strict=True):
        tokens = GRAMMAR.decode(row.tolist())
        for start in range(len(tokens)):
            piece = tokens[start : int(end[start])]
            assert to_prefix(from_prefix(piece)) == piece


def test_crossover_swaps_one_subtree_and_keeps_every_value_at_its_constant(parents, generator):
    donors = Candidates(parents.tokens.flip(0), parents.values.flip(0))
    made = crossover(parents, donors, GRAMMAR, generator)
    assert len(made) > 100
    assert all(complete(row) for row in made.tokens)
    check_values(made)
    constants = made.tokens == GRAMMAR.constant
    assert torch.isfinite(made.values[constants]).all()  # every constant came with its value
    known = {round(v, 6) for v in parents.values[torch.isfinite(parents.values)].tolist()}
    assert {round(v, 6) for v in made.values[constants].tolist()} <= known


def test_a_value_stays_with_its_own_constant_when_a_subtree_before_it_changes():
    row = torch.tensor([GRAMMAR.encode(["add", "mul", "c0", "r", "exp", "mul", "c1", "r"])])
    whole = Candidates.of(row, GRAMMAR, torch.tensor([[2.0, -7.0]], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        made = mutate(whole, GRAMMAR, generator)
        for tokens, values in zip(made.tokens.tolist(), made.values.tolist(), strict=True):
            text = GRAMMAR.decode(tokens)
            for i, name in enumerate(text):
                if values[i] == -7.0:
                    assert text[i - 2 : i] == ["exp", "mul"]
                if values[i] == 2.0:
                    assert name.startswith("c")


@pytest.mark.parametrize("move", [mutate, relabel, wrap])
def test_every_move_gives_complete_formulas(move, parents, generator):
    made = move(parents, GRAMMAR, generator)
    assert len(made) > 50
    assert all(complete(row) for row in made.tokens)
    check_values(made)


def test_a_relabelled_formula_differs_in_just_one_token(parents, generator):
    made = relabel(parents, GRAMMAR, generator)
    assert ((made.tokens != parents.tokens).sum(1) == 1).all()


def test_a_token_that_is_alone_of_its_arity_stays(generator):
    small = Grammar(operators=("mul", "exp"), numbers=(), constants=False)
    rows = torch.tensor([small.encode(["mul", "exp", "r", "r"])] * 20)
    assert torch.equal(relabel(Candidates.of(rows, small), small, generator).tokens, rows)


def test_a_sum_is_the_sum_of_its_parents(parents):
    small = (parents.tokens != PAD).sum(1) <= 8
    short = parents[small.nonzero().squeeze(1)]
    other = Candidates(short.tokens.flip(0), short.values.flip(0))
    made = add_up(short, other, GRAMMAR)
    assert len(made) == len(short)
    for row, a, b in zip(made.tokens, short.tokens, other.tokens, strict=True):
        assert names(row) == ["add", *names(a), *names(b)]
    check_values(made)
    assert made.theta(GRAMMAR).shape[1] >= short.theta(GRAMMAR).shape[1]


def test_theta_is_read_back_in_order():
    row = torch.tensor(
        [GRAMMAR.encode(["add", "mul", "c0", "r", "exp", "mul", "c1", "r"]), GRAMMAR.encode(["r"])]
    )
    theta = torch.tensor([[2.0, -7.0], [0.0, 0.0]], dtype=torch.float64)
    back = Candidates.of(row, GRAMMAR, theta).theta(GRAMMAR)
    assert back[0].tolist() == [2.0, -7.0]
    assert torch.isnan(back[1]).all()


def archive_of(errors: list[float], sizes: list[int]) -> Archive:
    n = len(errors)
    rows = torch.tensor([GRAMMAR.encode(["cos"] * i + ["r"]) for i in range(n)])
    zeros = torch.zeros(n, dtype=torch.long)
    sse = torch.tensor(errors, dtype=torch.float64)
    fit = Fit(torch.zeros(n, 0, dtype=torch.float64), torch.zeros(n, 4, dtype=torch.float64), sse)
    return Archive(rows, fit, torch.tensor(sizes), zeros, zeros, zeros.bool())


def test_the_archive_keeps_the_best_of_every_complexity_and_equal_errors_once():
    inf = float("inf")
    archive = archive_of([3.0, 1.0, 2.0, 1.0 + 1e-9, inf, 0.5, 9.0], [5, 5, 5, 7, 5, 9, 40])
    kept = archive.best(2, 25)
    assert sorted(zip(kept.complexity.tolist(), kept.fit.sse.tolist(), strict=True)) == [
        (5, 1.0), (5, 2.0), (9, 0.5)
    ]  # fmt: skip
    assert kept.lowest(10)[[4, 5, 8, 9]].tolist() == [inf, 1.0, 1.0, 0.5]
    assert kept.worst(2, 10)[[5, 9]].tolist() == [2.0, inf]


def test_archives_of_different_widths_join():
    a, b = archive_of([1.0], [5]), archive_of([2.0], [6])
    b.fit = Fit(torch.ones(1, 3, dtype=torch.float64), b.fit.beta, b.fit.sse)
    assert a.joined(b).fit.theta.tolist() == [[0.0] * 3, [1.0] * 3]


def test_shares_follow_the_yields_and_leave_no_source_out():
    yields = torch.ones(len(SOURCES), dtype=torch.float64)
    yields[3] = 50.0
    counts = shares(yields, 4000)
    assert len(counts) == len(SOURCES) - 1
    assert counts[2] == max(counts)
    assert min(counts) >= 100
    assert abs(sum(counts) - 4000) < 10


def test_all_sources_breed_formulas_of_the_grammar(generator):
    model = SEGVAE(GRAMMAR, ModelConfig(hidden=16, latent=4, embedding=8))
    archive = archive_of([1.0, 0.5, 0.3], [5, 6, 7])
    made, source = breed(archive, model, GRAMMAR, [40] * 8, generator)
    assert len(made) == len(source)
    assert all(complete(row) for row in made.tokens)
    assert set(source.tolist()) >= {1, 2}
    near = neighbours(elites(archive, GRAMMAR, 20, generator), model, generator)
    assert near.tokens.shape == (20, GRAMMAR.max_length)
