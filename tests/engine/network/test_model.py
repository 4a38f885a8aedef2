"""The network: what it samples is valid, what it writes around elites is near them, and the conditional one sees
the data.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.decoding import grammar_masks, random_formulas
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.network import pretrained as pretrain
from defectdb.engine.network.data_encoder import network_points, point_features
from defectdb.engine.network.pretrained import pretrained, with_values
from defectdb.engine.network.segvae import SEGVAE, divergence
from defectdb.engine.network.training import train
from defectdb.engine.problem import Problem
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.regressor import SymbolicRegressor
from defectdb.engine.search.offspring import SOURCES, breed, inherited, neighbours, regrown
from defectdb.engine.search.outcome import Generation, Outcome
from defectdb.engine.search.search import Search
from defectdb.engine.settings import ModelConfig, SearchConfig
from defectdb.expressions.expression import to_prefix
from defectdb.learn.config import LearnConfig

GRAMMAR = Grammar(operators=("add", "mul", "div", "neg", "exp", "cos"), numbers=(1, 2), max_length=11)
SMALL = ModelConfig(embedding=16, hidden=24, latent=6, condition=8, conditional=True)
QUICK = SearchConfig(
    generations=2, population=400, exhaustive_size=4, sparse_size=0, train_steps=4, batch=32, per_complexity=20,
    max_complexity=16, model=SMALL,
)  # fmt: skip
R = torch.linspace(2.0, 10.0, 24, dtype=torch.float64)
DECAY, WAVE = torch.exp(-0.7 * R), torch.cos(1.9 * R)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture(scope="module")
def network() -> SEGVAE:
    """A small conditional network, trained on formulas and their values."""
    return pretrained(GRAMMAR, SMALL)[0]


def seen(y: torch.Tensor) -> torch.Tensor:
    return network_points(Problem.of(R, y))


def scores(model: SEGVAE, points: torch.Tensor) -> torch.Tensor:
    """Log chances of the first token under the prior's mean, [token]."""
    with torch.no_grad():
        like = torch.zeros(1, model.config.latent)
        z, _ = model.prior(model.condition(points, 1), like)
        return model.logits(torch.ones(1, 1, dtype=torch.long), model.code(z, points))[0, 0].log_softmax(0)


def test_the_conditional_network_samples_valid_formulas_only(network, generator):
    rows = network.sample(network.random_codes(300, generator, seen(WAVE)), generator)
    assert grammar_masks(rows, GRAMMAR)[1].all()


def test_the_order_of_the_points_means_nothing(network):
    order = torch.randperm(len(R), generator=torch.Generator().manual_seed(0))
    one, other = (network_points(Problem.of(R[rows], WAVE[rows])) for rows in (torch.arange(len(R)), order))
    torch.testing.assert_close(scores(network, one), scores(network, other), atol=1e-5, rtol=1e-4)


def test_other_data_give_another_distribution(network):
    assert (scores(network, seen(WAVE)) - scores(network, seen(DECAY))).abs().max() > 1e-2


def test_scale_and_level_of_the_values_mean_nothing(network):
    torch.testing.assert_close(
        scores(network, seen(WAVE)), scores(network, seen(7 + 0.01 * WAVE)), atol=1e-4, rtol=1e-3
    )


def test_a_conditional_network_without_data_says_so(network, generator):
    with pytest.raises(ValueError, match="needs data points"):
        network.random_codes(3, generator)


def test_values_of_sums_over_pairs_are_the_smallest_that_give_the_sums():
    mixing = torch.randint(0, 3, (8, len(R)), generator=torch.Generator().manual_seed(1)).double()
    points = network_points(Problem.of(R, mixing @ WAVE, mixing=mixing, offset=False))
    expected = torch.linalg.pinv(mixing) @ (mixing @ WAVE)
    similarity = torch.corrcoef(torch.stack([points[0, :, -1].double(), expected]))[0, 1]
    assert points.shape == (1, len(R), 4)
    assert similarity > 0.99


def test_no_more_points_are_read_than_a_set_needs():
    x = torch.linspace(0.0, 1.0, 500, dtype=torch.float64)
    points = network_points(Problem.of(x, x.square()))
    assert points.shape == (1, 64, 4)
    assert points[0, 0, 0] < -1.7 < 1.7 < points[0, -1, 0]


def test_pretraining_values_are_those_of_the_formulas(generator):
    rows = random_formulas(replace(GRAMMAR, constants=False), 200, generator)
    tokens, points = with_values(rows, replace(GRAMMAR, constants=False), generator)
    alone = replace(GRAMMAR, constants=False).encode(["r"])
    line = points[(tokens == torch.tensor(alone)).all(1)]
    assert len(line) > 0
    torch.testing.assert_close(line[:, :, -1].abs(), line[:, :, 0].abs(), atol=1e-5, rtol=1e-4)
    assert torch.isfinite(points).all()
    assert len(tokens) > 100


def test_the_divergence_of_gaussians_is_torchs():
    mean, log_variance, middle, log_width = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(2))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (0.5 * log_variance).exp()), normal(middle, (0.5 * log_width).exp())
    )
    torch.testing.assert_close(divergence((mean, log_variance), (middle, log_width)), expected)


def test_the_second_time_the_cache_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path))
    first, _ = pretrained(GRAMMAR, SMALL)
    monkeypatch.setattr(pretrain, "_train", lambda *_: pytest.fail("trained although it is in the cache"))
    again, _ = pretrained(GRAMMAR, SMALL)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_cache_is_passed_over(tmp_path, monkeypatch, share):
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path))
    tiny = replace(SMALL, hidden=8)
    monkeypatch.setattr(pretrain, "_train", lambda *_: None)
    whole = pretrained(GRAMMAR, tiny)[0].state_dict()
    file = next(tmp_path.glob("*.npz"))
    good = file.read_bytes()
    file.write_bytes(good[: int(share * len(good))])
    again = pretrained(GRAMMAR, tiny)[0].state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert len(file.read_bytes()) == len(good)


def test_pretraining_leaves_the_callers_random_numbers_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrain, "_train", lambda *_: None)
    torch.manual_seed(7)
    expected = torch.rand(3)
    for _ in range(2):  # trained, then read
        torch.manual_seed(7)
        pretrained(GRAMMAR, SMALL)
        assert torch.equal(torch.rand(3), expected)


def test_training_on_a_few_formulas_makes_them_likelier(generator):
    rows = random_formulas(GRAMMAR, 64, generator)
    model = SEGVAE(GRAMMAR, replace(SMALL, conditional=False))
    network = model, torch.optim.Adam(model.parameters(), lr=5e-3)
    merit = torch.ones(len(rows), dtype=torch.float64)
    losses = [train(network, rows, merit, generator, steps=20, batch=32)[1] for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]


def parents(count: int) -> Candidates:
    """div exp mul c r c and its constants 1 and 2, many times."""
    row = torch.tensor([GRAMMAR.encode(["div", "exp", "mul", "c0", "r", "c1"])])
    return Candidates.of(
        row.expand(count, -1).clone(), GRAMMAR, torch.tensor([[1.0, 2.0]]).double().expand(count, 2)
    )


def test_children_inherit_the_constants_at_both_ends_that_they_share():
    texts = {
        "div exp mul c0 r c1": [1.0, 2.0],
        "div cos mul c0 r c1": [1.0, 2.0],  # alike from the back
        "div exp mul c0 add r c1 c2": [1.0, None, 2.0],
        "div mul c0 r exp c1": [None, 2.0],
        "neg exp mul c0 neg r": [None],
    }
    rows = torch.tensor([GRAMMAR.encode(text.split()) for text in texts])
    theta = inherited(rows, parents(len(rows))).theta(GRAMMAR)
    for found, expected in zip(theta.tolist(), texts.values(), strict=True):
        kept = [None if math.isnan(value) else value for value in found[: len(expected)]]
        assert kept == expected


def test_a_regrown_formula_differs_from_its_parent_in_one_subtree(network, generator):
    old = parents(200)
    new = regrown(old, network, GRAMMAR, generator, seen(DECAY))
    assert grammar_masks(new.tokens, GRAMMAR)[1].float().mean() > 0.8
    kept = new.tokens[:, 0] == GRAMMAR.index["div"]
    assert kept.float().mean() > 0.5
    ends_in_c = new.values.nan_to_num(0.0) == 2.0
    assert ends_in_c.any(1).float().mean() > 0.5  # the last constant kept its value


def test_neighbours_and_all_sources_see_the_data(network, generator):
    near = neighbours(parents(20), network, generator, seen(DECAY))
    assert grammar_masks(near.tokens, GRAMMAR)[1].all()
    one = parents(8)
    fit = Fit(
        torch.tensor([[1.0, 2.0]] * 8).double(), torch.ones(8, 4).double(), torch.arange(1.0, 9.0).double()
    )
    flags = torch.zeros(8, dtype=torch.long)
    archive = Archive(one.tokens, fit, flags + 9, flags, flags, flags.bool())
    made, source = breed(archive, network, GRAMMAR, [30] * (len(SOURCES) - 1), generator, seen(DECAY))
    assert grammar_masks(made.tokens, GRAMMAR)[1].all()
    assert {1, 2, 3} <= set(source.tolist())


def summary(outcome: Outcome) -> list[tuple[list[str], tuple[float, ...], float]]:
    return [(to_prefix(s.expression), s.constants, s.mse) for s in outcome.front]


def problem() -> Problem:
    noise = 0.02 * torch.randn(24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Problem.of(R, DECAY * WAVE + noise)


@pytest.fixture(scope="module")
def reference() -> Outcome:
    """A search with the conditional network, uninterrupted."""
    return Search(problem(), GRAMMAR, QUICK).run()


def test_a_search_with_the_conditional_network_repeats(reference):
    assert summary(Search(problem(), GRAMMAR, QUICK).run()) == summary(reference)
    assert all(g.kl > 1.0 for g in reference.generations[1:])


def test_the_conditional_network_searches_otherwise_than_the_plain_one(reference):
    plain = Search(problem(), GRAMMAR, replace(QUICK, model=replace(SMALL, conditional=False))).run()
    assert [g.n_new for g in plain.generations] != [g.n_new for g in reference.generations]


def test_a_killed_search_with_the_conditional_network_goes_on_unchanged(reference, tmp_path):
    file = tmp_path / "state.npz"

    def killed(generation: Generation) -> None:
        if generation.generation == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Search(problem(), GRAMMAR, QUICK, report=killed, state_file=file).run()
    assert summary(Search(problem(), GRAMMAR, QUICK, state_file=file).run()) == summary(reference)


def test_the_option_reaches_the_network():
    assert LearnConfig(conditional=True).search("cpu").model.conditional
    assert not LearnConfig().search("cpu").model.conditional
    options: dict[str, Any] = {"operators": ("add", "mul", "exp"), "max_tokens": 9, "exhaustive_limit": 200}
    model = SymbolicRegressor(generations=1, population=100, conditional=True, **options)
    assert model.fit(R.numpy(), DECAY.numpy()).score(R.numpy(), DECAY.numpy()) > 0.99


def test_the_conditional_network_searches_sums_over_pairs():
    mixing = torch.randint(0, 3, (30, len(R)), generator=torch.Generator().manual_seed(1)).double()
    sums = Problem.of(R, mixing @ DECAY, mixing=mixing, offset=False)
    outcome = Search(sums, GRAMMAR, replace(QUICK, generations=1)).run()
    assert outcome.front
    assert point_features(R.unsqueeze(0), DECAY.unsqueeze(0)).shape == (1, len(R), 4)
