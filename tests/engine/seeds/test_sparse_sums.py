"""Laws that are sums, quotients or functions of sums of small functions are found at once; bricks are distinct."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.seeds.small_functions import products, small_functions
from defectdb.engine.seeds.sparse_sums import _candidates, _Choice, _solved, sparse_seeds
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_prefix

OPERATORS = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "neg",
    "inv",
    "square",
    "cube",
    "sqrt",
    "exp",
    "log",
    "sin",
    "cos",
)
ONE = Grammar(variables=("x",), operators=OPERATORS, numbers=(1, 2), max_length=21)
TWO = Grammar(variables=("x", "y"), operators=OPERATORS, numbers=(1, 2), max_length=21)
X = torch.linspace(0.1, 1.9, 20, dtype=torch.float64).unsqueeze(0)
XY = torch.rand(2, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.05


def best_error(grammar: Grammar, problem: Problem, made: Candidates) -> float:
    """Lowest squared error of the seeds after their fit, with or without offset, as a share of the data's squares."""
    errors = []
    for plain in (False, True):
        flags = torch.full((len(made),), plain)
        found = fit(
            made.tokens, grammar, problem, torch.Generator().manual_seed(0), starts=2, theta=made.theta(grammar),
            no_offset=flags,
        )  # fmt: skip
        errors.append(float(found.sse.min()))
    return min(errors) / float(problem.y.square().sum())


@pytest.mark.parametrize(
    "law",
    [
        lambda x: x**3 - 2 * x**2 + 0.5 * x,
        lambda x: sum(x**i for i in range(1, 9)),
        lambda x: 3 * torch.exp(-0.7 * x**2 - 0.3 * x),
        lambda x: (1 + 2 * x**2) / (1 + 0.5 * x + x**3),
    ],
)
def test_laws_of_one_variable_are_found_without_a_search(law):
    problem = Problem.of(X, law(X[0]), max_terms=5)
    assert best_error(ONE, problem, sparse_seeds(problem, ONE, size=5, limit=1500)) < 1e-20


@pytest.mark.parametrize(
    "law",
    [
        lambda x, y: torch.sin(x) * torch.cos(y) + 0.3 * y,
        lambda x, y: x**5 / y**3,
    ],
)
def test_laws_of_two_variables_are_found_without_a_search(law):
    problem = Problem.of(XY, law(*XY), max_terms=4)
    assert best_error(TWO, problem, sparse_seeds(problem, TWO, size=5, limit=1500)) < 1e-20


def test_a_sum_over_pairs_is_taken_apart():
    generator = torch.Generator().manual_seed(3)
    mixing = (torch.rand(60, 20, generator=generator, dtype=torch.float64) < 0.15).double()
    problem = Problem.of(X, mixing @ (X[0] ** 2 - 0.4 * torch.exp(X[0])), mixing=mixing, offset=False)
    assert best_error(ONE, problem, sparse_seeds(problem, ONE, size=5, limit=1500)) < 1e-20


def test_every_brick_is_a_formula_with_the_values_that_it_is_said_to_have():
    found = small_functions(TWO, XY, 5, 3000)
    names = ("x", "y")
    for i in range(0, len(found), 37):
        tree = from_prefix(TWO.decode(found.tokens[i].tolist()))
        values = evaluate_numpy(tree, dict(zip(names, XY.numpy(), strict=True)), [])
        assert np.allclose(values, found.values[i].numpy(), rtol=1e-12)
        assert int(found.size[i]) == int((found.tokens[i] != 0).sum())


def test_no_two_bricks_are_multiples_of_each_other():
    found = small_functions(ONE, X, 5, 3000)
    normed = found.values / found.values.norm(dim=1, keepdim=True)
    alike = (normed @ normed.T).abs() > 1 - 1e-14
    assert int(alike.sum()) == len(found)


def test_bricks_keep_to_the_nesting_limit():
    found = small_functions(ONE, X, 5, 5000)
    for row in found.tokens.tolist():
        text = " ".join(ONE.decode(row))
        assert "sin cos" not in text
        assert "cos sin" not in text
        assert "exp exp" not in text


def test_products_hold_every_pair_once_or_both_quotients():
    found = small_functions(ONE, X, 2, 100)
    assert len(products(found, ONE)) == len(found) * (len(found) + 1) // 2 + len(found) ** 2


def test_nothing_comes_of_a_grammar_without_sums():
    grammar = Grammar(variables=("x",), operators=("exp", "cos"))
    assert len(sparse_seeds(Problem.of(X, X[0]), grammar)) == 0


def test_targets_outside_an_inverse_are_passed_over():
    problem = Problem.of(X, X[0] - 5.0)  # neither a root nor a logarithm of this exists
    assert len(sparse_seeds(problem, ONE)) > 0


@pytest.mark.parametrize("offset", [False, True])
def test_coefficients_are_those_of_least_squares_and_nothing_for_dependent_columns(offset):
    x = XY[0]
    columns = torch.stack([x, 1e6 * x**2, 3 * x + 2e6 * x**2, 1e-5 * torch.exp(x)])
    y = torch.sin(3 * x)
    problem = Problem.of(XY, y, torch.linspace(0.5, 2.0, len(x)), offset=offset)
    rows = torch.tensor([[0, 1, 2], [0, 1, 3]])
    weighted, target = columns * problem.root, y * problem.root
    found = _solved(weighted, target, _Choice(rows, torch.zeros(2)), problem)
    assert found[0, 2] == 0.0  # the third depends on the first two
    for line, chosen in ((found[0], [0, 1]), (found[1], [0, 1, 3])):
        matrix = torch.stack([*weighted[chosen], *([problem.root] if offset else [])]).T
        expected = np.linalg.lstsq(matrix.numpy(), target.numpy(), rcond=None)[0]
        assert np.allclose(line[line != 0].numpy(), expected, rtol=1e-8)


def test_constants_of_seeds_are_not_rounded():
    made = _candidates(
        [(["mul", "c", "x"], [0.1]), (["add", "c", "mul", "c", "x"], [0.3, -0.7])], ONE, X.device
    )
    assert made.theta(ONE)[:, 0].tolist() == [0.1, 0.3]
    assert made.theta(ONE)[1, 1] == -0.7
    assert len(_candidates([], ONE, X.device)) == 0
