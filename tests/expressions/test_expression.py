"""Trees, prefix tokens and JSON: round trips, and refusal of anything else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from support.random_formulas import formulas, trees

from defectdb.errors import ExpressionError
from defectdb.expressions.expression import (
    Call,
    Constant,
    Number,
    Variable,
    complexity,
    expression_hash,
    from_ast,
    from_prefix,
    n_constants,
    to_ast,
    to_prefix,
    variables,
)
from defectdb.expressions.operators import OPERATORS, Infix, Operator


@given(trees())
def test_a_tree_comes_back_from_its_prefix_tokens_and_from_its_json(tree) -> None:
    assert from_prefix(to_prefix(tree)) == tree
    assert from_ast(to_ast(tree)) == tree
    assert expression_hash(from_ast(to_ast(tree))) == expression_hash(tree)
    assert complexity(tree) == len(to_prefix(tree))


@given(formulas())
def test_variables_and_constants_are_those_in_the_tokens(formula) -> None:
    tree, _ = formula
    tokens = to_prefix(tree)
    assert set(variables(tree)) == set(tokens) & {"r", "dz"}
    used = [int(token[1:]) for token in tokens if token in ("c0", "c1", "c2")]
    assert n_constants(tree) == max(used, default=-1) + 1


def test_a_tree_is_written_as_expected() -> None:
    tree = from_prefix(["add", "mul", "c0", "r", "0.5"])
    assert tree == Call("add", (Call("mul", (Constant(0), Variable("r"))), Number(0.5)))
    assert to_ast(tree) == '["add",["mul",{"const":0},{"var":"r"}],{"num":0.5}]'


@pytest.mark.parametrize(
    ("tokens", "match"),
    [("", "1 to 512 tokens"), ("add r", "lacks operands"), ("r r", "1 operands too many"),
     ("__import__", "neither an operator"), ("add r nan(", "neither an operator"), ("1e999", "must be finite"),
     ("r " * 513, "1 to 512 tokens")],
)  # fmt: skip
def test_token_sequences_that_are_no_formula_are_refused(tokens: str, match: str) -> None:
    with pytest.raises(ExpressionError, match=match):
        from_prefix(tokens.split())


@pytest.mark.parametrize(
    ("text", "match"),
    [("{", "is not JSON"), ('["eval",{"var":"r"}]', "unknown operator 'eval'"), ('["add",{"var":"r"}]', "takes 2"),
     ('{"var":"__class__"}', "no formula node"), ('{"var":"r","num":1}', "no formula node"), ("3", "no formula node"),
     ('{"const":true}', "no formula node"), ('{"const":-1}', "no formula node"), ('{"num":1e999}', "must be finite"),
     ("null", "no formula node"), ('{"num":"1"}', "no formula node"), ("[" * 40000, "longer than any"),
     ("[" * 5000, "is not JSON")],
)  # fmt: skip
def test_json_that_is_no_formula_is_refused(text: str, match: str) -> None:
    with pytest.raises(ExpressionError, match=match):
        from_ast(text)


def test_a_json_tree_with_too_many_nodes_is_refused() -> None:
    text = '{"var":"r"}'
    for _ in range(10):
        text = f'["add",{text},{text}]'
    with pytest.raises(ExpressionError, match=r"more than 512 nodes|longer than any"):
        from_ast(text)


def test_an_operator_takes_one_or_two_operands() -> None:
    with pytest.raises(ValueError, match="arity must be 1 or 2, not 3"):
        Operator("if", 3, lambda *x: x, "", "", Infix("", 1, ()))
    assert {operator.arity for operator in OPERATORS.values()} == {1, 2}


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_computes_what_its_name_says(name: str) -> None:
    from defectdb.expressions.evaluation import evaluate_numpy

    x, y = 0.7, 1.9
    expected = {
        "add": x + y, "sub": x - y, "mul": x * y, "div": x / y, "pow": x**y, "neg": -x, "inv": 1 / x,
        "square": x**2, "cube": x**3, "sqrt": math.sqrt(x), "exp": math.exp(x), "log": math.log(x),
        "sin": math.sin(x), "cos": math.cos(x), "tanh": math.tanh(x), "abs": abs(x),
        "damped": math.exp(-x) * math.cos(y),
    }[name]  # fmt: skip
    operands = (Variable("x"), Variable("y"))[: OPERATORS[name].arity]
    found = evaluate_numpy(Call(name, operands), {"x": x, "y": y})  # type: ignore[dict-item]
    assert float(found) == pytest.approx(expected, rel=1e-15)
