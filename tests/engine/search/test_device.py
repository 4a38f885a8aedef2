"""A search on a device of its own: nothing is mixed with the host's, and the same formulas come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pretended_device import NAME, pretended

from defectdb.engine.finishing.cross_validation import make_folds
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.network.pretrained import pretrained
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.outcome import Outcome
from defectdb.engine.search.search import Search
from defectdb.engine.settings import ModelConfig, SearchConfig

R = torch.linspace(3.0, 12.0, 15, dtype=torch.float64)
Y = torch.exp(-0.4 * R) * torch.cos(1.3 * R) + 0.01 * torch.cos(2.0 * R)
GRAMMAR = Grammar(
    operators=("add", "sub", "mul", "div", "neg", "inv", "square", "exp", "cos"),
    numbers=(1, 2),
    max_length=13,
)
SMALL = SearchConfig(
    generations=1, population=40, exhaustive_size=2, sparse_size=2, train_steps=2, batch=16, per_complexity=5,
    max_complexity=10, starts=1, seed_starts=1, algebra=False, model=ModelConfig(embedding=8, hidden=16, latent=4),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFECTDB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def searched(problem: Problem, grammar: Grammar, config: SearchConfig, domain: Domain | None) -> Outcome:
    return Search(problem, grammar, config, domain).run(make_folds(problem))


def cases() -> dict[str, tuple[Problem, Grammar, SearchConfig, Domain | None]]:
    """Every part of a search that moves tensors about."""
    domain = Domain.of(R, Y, cutoff=30.0)
    one = Problem.of(R, Y)
    mixing = torch.zeros(14, 15, dtype=torch.float64)
    mixing[range(14), range(14)], mixing[range(14), range(1, 15)] = 1.0, 1.0
    pairs = torch.stack([torch.arange(14), torch.arange(1, 15)], dim=1)
    units = replace(GRAMMAR, units=((1.0,),), summands=3)
    return {
        "plain": (one, GRAMMAR, SMALL, domain),
        "robust": (Problem.of(R, Y, huber=0.01), GRAMMAR, SMALL, domain),
        "units": (one, units, SMALL, domain),
        "sums": (Problem.of(R, mixing @ Y, mixing=mixing), GRAMMAR, SMALL, None),
        "minima": (Problem.of(R, Y[pairs].amin(1), groups=pairs), GRAMMAR, SMALL, None),
        "rounded": (one, GRAMMAR, replace(SMALL, rounded=True), None),
        "conditional": (one, GRAMMAR, replace(SMALL, model=replace(SMALL.model, conditional=True)), domain),
    }


@pytest.mark.parametrize("name", [name for name in cases() if name != "plain"])
def test_a_search_on_another_device_gives_the_front_of_the_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "defectdb.engine.search.search.train", lambda *_, **__: (1.0, 1.0)
    )  # has no gradients
    problem, grammar, config, domain = cases()[name]
    pretrained(grammar, config.model, "cpu")  # into the cache
    here = searched(problem, grammar, config, domain)
    with pretended():
        there = searched(problem, grammar, replace(config, device=NAME), domain)
    assert len(here.front) > 3
    assert [s.expression for s in there.front] == [s.expression for s in here.front]
    for ours, theirs in zip(here.front, there.front, strict=True):
        assert np.allclose(theirs.constants, ours.constants, rtol=1e-8, atol=1e-12)
        assert theirs.mae_cv == pytest.approx(ours.mae_cv, rel=1e-6)
    assert [s.expression for s in there.rounded] == [s.expression for s in here.rounded]


def test_waits_for_the_device_do_not_grow_with_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectdb.engine.search.search.train", lambda *_, **__: (1.0, 1.0))
    problem, grammar, config, domain = cases()["plain"]
    pretrained(grammar, config.model, "cpu")
    waits: dict[int, list[int]] = {}
    for population in (60, 240):
        so_far: list[int] = []
        with pretended() as copies:
            config = replace(
                config, device=NAME, population=population, generations=2, patience=9, exhaustive_size=2
            )
            Search(problem, grammar, config, domain, lambda _: so_far.append(sum(copies.values()))).run()  # noqa: B023
        waits[population] = np.diff(so_far).tolist()
    assert max(waits[240]) < 400
    assert np.median(waits[240]) < 1.3 * np.median(waits[60])
