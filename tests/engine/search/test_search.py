"""Whole searches: known laws are found, the same seed gives the same front, and a killed run goes on
unchanged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from defectdb.engine.finishing.scored import Scored, pareto_front, select
from defectdb.engine.grammar.decoding import grammar_masks
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.network.pretrained import cache_folder, pretrained
from defectdb.engine.network.segvae import SEGVAE
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.islands import search_islands
from defectdb.engine.search.outcome import Generation, Outcome
from defectdb.engine.search.search import Search
from defectdb.engine.settings import ModelConfig, SearchConfig
from defectdb.errors import InputDataError, UsageError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Constant, Expression, to_prefix, variables

GRAMMAR = Grammar(
    operators=("add", "sub", "mul", "div", "neg", "inv", "square", "cube", "exp", "cos"),
    numbers=(1, 2),
    max_length=15,
)
QUICK = SearchConfig(
    generations=3,
    population=300,
    exhaustive_size=5,
    train_steps=3,
    batch=48,
    per_complexity=20,
    max_complexity=20,
    algebra=False,
    model=ModelConfig(embedding=16, hidden=32, latent=8),
)
R = torch.linspace(2.0, 10.0, 24, dtype=torch.float64)


def law_of(name: str) -> torch.Tensor:
    return {
        "RKKY": torch.cos(2 * 1.1 * R + 0.6) / R.square(),
        "Yukawa": 2.5 * torch.exp(-0.6 * R) / R,
        "Morse": 0.8 * (1 - torch.exp(-0.9 * (R - 3.1))).square() - 0.8,
        "damped cosine": torch.exp(-0.35 * R) * torch.cos(1.9 * R + 0.3),
    }[name]


SEEDS = torch.tensor(
    [
        GRAMMAR.encode(text.split())
        for text in (
            "div cos add mul c0 r c1 square r", "div exp mul c0 r r", "square sub 1 exp mul c0 sub r c1",
            "mul exp mul c0 r cos add mul c1 r c2",
        )
    ]
)  # fmt: skip


def best(outcome: Outcome) -> Scored:
    return min(outcome.front, key=lambda s: s.mse)


@pytest.mark.parametrize("name", ["RKKY", "Yukawa", "Morse", "damped cosine"])
def test_a_known_law_is_found_in_its_own_values(name):
    y = law_of(name)
    config = replace(QUICK, target_mse=1e-18, starts=24, generations=2)
    found = best(Search(Problem.of(R, y), GRAMMAR, config, Domain.of(R, y), seeds=SEEDS).run())
    assert found.mse < 1e-12
    between = np.linspace(2.05, 9.9, 57)
    assert np.isfinite(evaluate_numpy(found.expression, {"r": between}, found.constants)).all()


@pytest.mark.parametrize("name", ["Yukawa", "damped cosine"])
def test_a_known_law_is_found_through_a_sum_over_pairs(name):
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randint(0, 3, (60, len(R)), generator=generator).double()
    problem = Problem.of(R, mixing @ law_of(name), mixing=mixing, offset=False)
    config = replace(QUICK, target_mse=1e-18, starts=24, generations=1, exhaustive_size=5)
    found = best(Search(problem, GRAMMAR, config, seeds=SEEDS).run())
    assert found.mse < 1e-12


def test_a_law_is_found_without_being_told():
    y = 0.7 + 2.0 * torch.exp(-0.8 * R) * torch.cos(R)
    config = replace(QUICK, exhaustive_size=7, target_mse=1e-18)
    found = best(Search(Problem.of(R, y), GRAMMAR, config, Domain.of(R, y)).run())
    assert found.mse < 1e-10


def quick_problem() -> Problem:
    noise = 0.02 * torch.randn(24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Problem.of(R, law_of("damped cosine") + noise)


def summary(outcome: Outcome) -> list[tuple[list[str], tuple[float, ...], float]]:
    return [(to_prefix(s.expression), s.constants, s.mse) for s in outcome.front]


@pytest.fixture(scope="module")
def reference() -> Outcome:
    """The quick search, uninterrupted."""
    return Search(quick_problem(), GRAMMAR, QUICK).run()


def test_the_same_seed_gives_the_same_front(reference):
    assert summary(Search(quick_problem(), GRAMMAR, QUICK).run()) == summary(reference)


def test_another_seed_searches_otherwise(reference):
    other = Search(quick_problem(), GRAMMAR, replace(QUICK, seed=1)).run()
    assert [g.n_new for g in other.generations] != [g.n_new for g in reference.generations]


def test_a_killed_run_goes_on_to_the_same_front(reference, tmp_path):
    file = tmp_path / "state.npz"

    def killed(generation: Generation) -> None:
        if generation.generation == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Search(quick_problem(), GRAMMAR, QUICK, report=killed, state_file=file).run()
    resumed = Search(quick_problem(), GRAMMAR, QUICK, state_file=file).run()
    assert summary(resumed) == summary(reference)
    assert [g.generation for g in resumed.generations] == [0, 1, 2, 3]


def test_a_state_of_another_search_is_refused(tmp_path):
    file = tmp_path / "state.npz"
    Search(quick_problem(), GRAMMAR, replace(QUICK, generations=0), state_file=file).run()
    with pytest.raises(UsageError, match="another search"):
        Search(quick_problem(), GRAMMAR, replace(QUICK, starts=3), state_file=file).run()
    file.write_bytes(b"no state at all")
    with pytest.raises(InputDataError, match="not the state of a search"):
        Search(quick_problem(), GRAMMAR, QUICK, state_file=file).run()


def test_a_front_falls_in_error_as_it_grows_in_complexity(reference):
    sizes = [s.complexity for s in reference.front]
    errors = [s.mse for s in reference.front]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)
    for scored in reference.front:
        values = evaluate_numpy(scored.expression, {"r": R.numpy()}, scored.constants)
        mse = float(np.mean((quick_problem().y.numpy() - values) ** 2))
        assert scored.mse == pytest.approx(mse, rel=1e-6, abs=1e-18)


def test_generations_report_what_they_did(reference):
    for g in reference.generations[1:]:
        assert 0 < g.n_in_domain <= g.n_new <= g.n_unique <= g.n_candidates
        assert g.n_unique >= 0.6 * g.n_candidates
        assert g.kl > 1.0  # the latent space is used
    errors = [g.best_mse for g in reference.generations]
    assert errors == sorted(errors, reverse=True)


def test_islands_join_their_fronts_and_do_not_depend_on_processes():
    config = replace(QUICK, generations=1, exhaustive_size=3, population=100)
    alone, beside = (
        search_islands(quick_problem(), GRAMMAR, config, count=2, workers=workers) for workers in (1, 2)
    )
    assert len(alone.outcomes) == 2
    assert len(alone.stability) == len(alone.front)
    assert all(0.0 < share <= 1.0 for share in alone.stability)
    single = Search(quick_problem(), GRAMMAR, config).run()
    assert summary(alone.outcomes[0]) == summary(single)
    assert alone.front == pareto_front(s for outcome in alone.outcomes for s in outcome.front)
    for one, other in zip(alone.outcomes, beside.outcomes, strict=True):
        assert summary(one) == summary(other)
        assert [g.n_new for g in one.generations] == [g.n_new for g in other.generations]
    assert beside.front == alone.front
    assert beside.stability == alone.stability


def test_required_tokens_are_in_every_formula_and_a_predicate_is_obeyed():
    grammar = replace(GRAMMAR, required=("exp",))
    seen: list[Expression] = []

    def accept(expression: Expression) -> bool:
        seen.append(expression)
        return "cos" not in to_prefix(expression)

    problem = Problem.of(R, law_of("Yukawa"))
    outcome = Search(problem, grammar, replace(QUICK, generations=1), predicate=accept).run()
    assert seen
    assert outcome.front
    for expression in seen:
        assert "exp" in to_prefix(expression)
    for scored in outcome.front:
        names = [GRAMMAR.tokens[t] for t in scored.skeleton]
        assert "exp" in names
        assert "cos" not in names


def test_formulas_keep_the_units_of_their_variables():
    grammar = Grammar(
        variables=("r", "a"), operators=("add", "mul", "div", "exp", "cos", "square"), units=((1.0,), (1.0,)),
        constants=False, max_length=9, numbers=(1, 2),
    )  # fmt: skip
    x = torch.stack([R, 1 + R.flip(0) / 3])
    outcome = Search(Problem.of(x, torch.exp(x[0] / x[1])), grammar, replace(QUICK, generations=1)).run()
    for scored in outcome.front:
        text = " ".join(grammar.decode(list(scored.skeleton)))
        for bad in (
            "exp r",
            "cos r",
            "exp a",
            "cos a",
            "add 1 r",
            "add r 1",
            "add a 1",
            "add 1 a",
            "exp mul",
        ):
            assert bad not in text
    assert best(outcome).mse < 1e-15


def test_the_network_is_kept_in_the_cache_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTDB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    grammar, config = Grammar(max_length=7), ModelConfig(embedding=8, hidden=16, latent=4)
    first, _ = pretrained(grammar, config)
    assert len(list(tmp_path.glob("segvae-*.npz"))) == 1
    again, _ = pretrained(grammar, config)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    next(iter(tmp_path.glob("*.npz"))).write_bytes(b"damaged")
    assert torch.equal(pretrained(grammar, config)[0].to_token.weight, first.to_token.weight)


def test_every_sample_of_the_network_is_complete_and_valid():
    model = SEGVAE(GRAMMAR, ModelConfig(embedding=8, hidden=16, latent=4))
    generator = torch.Generator().manual_seed(0)
    rows = model.sample(model.random_codes(400, generator), generator)
    assert grammar_masks(rows, GRAMMAR)[1].all()


def scored(
    complexity: int, error: float, whole: float | None = None, training: float = 1.0, bic: float = 0.0
) -> Scored:
    whole = error if whole is None else whole
    return Scored(Constant(0), (0.0,), complexity, training, training, whole, error, bic, ())


def test_among_the_formulas_that_hold_where_left_out_the_information_criterion_decides():
    front = [
        scored(5, 3.0, bic=-1.0), scored(9, 1.04, bic=-7.0), scored(15, 1.0, bic=-6.0), scored(21, 2.5, bic=-9.0),
    ]  # fmt: skip
    assert select(front) == 1
    assert select([*front[:2], scored(15, 1.9, bic=-8.0), front[3]]) == 2


def test_of_exact_formulas_the_simplest_is_chosen_though_rounding_makes_a_longer_one_better():
    front = [
        scored(1, 2.0, bic=0.0), scored(5, 1e-15, training=1e-15, bic=-900.0),
        scored(9, 1e-17, training=1e-17, bic=-999.0),
    ]  # fmt: skip
    assert select(front) == 1


@pytest.mark.parametrize("unknown", [float("inf"), float("nan")])
def test_where_nothing_is_known_of_left_out_rows_the_simplest_formula_is_chosen(unknown):
    front = [scored(size, unknown, training=1 / size) for size in (5, 9, 15)]
    assert select(front) == 0


def test_inner_rows_decide_whatever_happens_beyond_them():
    infinite = float("inf")
    assert select([scored(5, 4.0, 4.0), scored(9, 1.0, 80.0)]) == 1
    assert select([scored(5, 0.12, infinite), scored(9, 5.0, infinite, training=0.01)]) == 0
    assert select([scored(5, 5.0, infinite), scored(9, 0.12, infinite)]) == 1


def test_a_search_that_finds_nothing_safe_gives_an_empty_front():
    domain = replace(Domain.of(R, law_of("Yukawa")), low=5.0, high=6.0)
    config = replace(QUICK, generations=1, exhaustive_size=3)
    assert Search(Problem.of(R, law_of("Yukawa")), GRAMMAR, config, domain).run().front == []


def test_the_time_limit_ends_a_search():
    config = replace(QUICK, generations=1000, time_limit=1e-3)
    outcome = Search(quick_problem(), GRAMMAR, config).run()
    assert len(outcome.generations) == 1
    assert outcome.front
    assert outcome.front[0].complexity == 1  # the mean
    assert all(variables(s.expression) == ("r",) for s in outcome.front[1:])
