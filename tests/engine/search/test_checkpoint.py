"""A state is gone on with under the rules that it was made under, and a damaged one is refused in words."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.absorb import absorb
from defectdb.engine.search.checkpoint import identity, restore
from defectdb.engine.search.search import Search
from defectdb.engine.settings import ModelConfig, SearchConfig
from defectdb.errors import InputDataError, UsageError
from defectdb.expressions.expression import Expression, to_prefix

GRAMMAR = Grammar(operators=("add", "mul", "exp", "cos"), numbers=(1,), max_length=9)
QUICK = SearchConfig(
    generations=0, population=50, exhaustive_size=4, sparse_size=0, train_steps=1, batch=8, per_complexity=10,
    max_complexity=12, model=ModelConfig(embedding=8, hidden=8, latent=4),
)  # fmt: skip
R = torch.linspace(2.0, 8.0, 20, dtype=torch.float64)
Y = torch.exp(-R) + 0.1 * torch.cos(2 * R)
PROBLEM = Problem.of(R, Y)
SEEDS = torch.tensor([GRAMMAR.encode(["exp", "mul", "c", "r"])])


def without_waves(expression: Expression) -> bool:
    return "cos" not in to_prefix(expression)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state of a short search without domain, seeds and predicate."""
    file = tmp_path_factory.mktemp("state") / "state.npz"
    Search(PROBLEM, GRAMMAR, QUICK, state_file=file).run()
    return file.read_bytes()


def test_what_decides_a_search_decides_its_identity() -> None:
    domain = Domain.of(R, Y)
    variants = [
        Search(PROBLEM, GRAMMAR, QUICK),
        Search(PROBLEM, GRAMMAR, QUICK, domain),
        Search(PROBLEM, GRAMMAR, QUICK, replace(domain, tail=0.1)),
        Search(PROBLEM, GRAMMAR, QUICK, replace(domain, grid=domain.grid + 1e-9)),
        Search(PROBLEM, GRAMMAR, QUICK, replace(domain, resolution=None)),
        Search(PROBLEM, GRAMMAR, QUICK, seeds=SEEDS),
        Search(PROBLEM, GRAMMAR, QUICK, seeds=SEEDS.repeat(2, 1)),
        Search(PROBLEM, GRAMMAR, QUICK, predicate=without_waves),
        Search(PROBLEM, GRAMMAR, replace(QUICK, seed=1)),
        Search(replace(PROBLEM, huber=0.1), GRAMMAR, QUICK),
    ]
    assert len({identity(search.inputs) for search in variants}) == len(variants)


def test_more_generations_and_time_leave_the_identity_as_it_is() -> None:
    more = replace(QUICK, generations=9, time_limit=77.0)
    assert identity(Search(PROBLEM, GRAMMAR, more).inputs) == identity(Search(PROBLEM, GRAMMAR, QUICK).inputs)
    same = [
        identity(Search(PROBLEM, GRAMMAR, QUICK, Domain.of(R, Y), seeds=SEEDS.clone()).inputs)
        for _ in range(2)
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "options",
    [{"domain": Domain.of(R, Y)}, {"seeds": SEEDS}, {"predicate": without_waves}],
    ids=lambda options: next(iter(options)),
)
def test_a_state_is_not_gone_on_with_under_other_rules(
    state: bytes, tmp_path: Path, options: dict[str, Any]
) -> None:
    file = tmp_path / "state.npz"
    file.write_bytes(state)
    with pytest.raises(UsageError, match="another search"):
        restore(Search(PROBLEM, GRAMMAR, QUICK, **options).state, file)


def test_what_another_predicate_refuses_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "state.npz"
    Search(PROBLEM, GRAMMAR, QUICK, predicate=lambda _: True, state_file=file).run()
    search = Search(PROBLEM, GRAMMAR, QUICK, predicate=without_waves, state_file=file)
    restore(search.state, file)
    assert search.state.archive is not None
    assert len(search.state.archive)
    assert not (search.state.archive.tokens == GRAMMAR.index["cos"]).any()
    assert all(without_waves(scored.expression) for scored in search.run().front)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_damaged_state_is_refused_in_words(state: bytes, tmp_path: Path, share: float) -> None:
    file = tmp_path / "state.npz"
    file.write_bytes(state[: int(share * len(state))])
    with pytest.raises(InputDataError, match="not the state of a search; delete it to start anew"):
        restore(Search(PROBLEM, GRAMMAR, QUICK).state, file)


def test_seeds_that_the_clock_cut_off_are_fitted_when_there_is_more_time(tmp_path: Path) -> None:
    file, config = tmp_path / "state.npz", replace(QUICK, exhaustive_size=5)
    whole = Search(PROBLEM, GRAMMAR, config, seeds=SEEDS)
    whole.run()
    cut = Search(PROBLEM, GRAMMAR, replace(config, time_limit=1e-6), seeds=SEEDS, state_file=file)
    cut.run()
    assert 0 < cut.state.n_fits < whole.state.n_fits
    resumed = Search(PROBLEM, GRAMMAR, config, seeds=SEEDS, state_file=file)
    outcome = resumed.run()
    assert resumed.state.fitted_keys.sort().values.equal(whole.state.fitted_keys.sort().values)
    assert outcome.n_fits == whole.state.n_fits
    assert [g.generation for g in outcome.generations] == [0]
    again = Search(PROBLEM, GRAMMAR, config, seeds=SEEDS, state_file=file)
    assert again.run().n_fits == whole.state.n_fits  # nothing is left to do


def test_a_skeleton_whose_fit_the_clock_cut_off_is_tried_again() -> None:
    state = Search(PROBLEM, GRAMMAR, QUICK, Domain.of(R, Y)).state
    made = Candidates.of(torch.tensor([GRAMMAR.encode(["exp", "mul", "c", "r"])]), GRAMMAR)
    source = torch.zeros(1, dtype=torch.long)
    state.fit_until = 0.0
    assert absorb(state, made, source, source.bool()).new == 0
    assert not len(state.fitted_keys)
    state.fit_until = math.inf
    assert absorb(state, made, source, source.bool()).new == 1
    assert absorb(state, made, source, source.bool()).new == 0
    assert state.n_fits == 1
