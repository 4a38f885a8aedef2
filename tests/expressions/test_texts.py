"""Texts written from trees, read back by Python's own parser and computed by hand."""

from __future__ import annotations

import ast
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_formulas import formulas

from defectdb.errors import ExpressionError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Number, Variable, from_prefix
from defectdb.expressions.texts import to_c_function, to_infix, to_python, to_sql

FUNCTIONS = {"sqrt": math.sqrt, "exp": math.exp, "log": math.log, "sin": math.sin, "cos": math.cos,
             "tanh": math.tanh, "abs": abs}  # fmt: skip
BINARY = {ast.Add: float.__add__, ast.Sub: float.__sub__, ast.Mult: float.__mul__, ast.Div: float.__truediv__}


def compute(node: ast.AST, env: dict[str, float]) -> float:  # noqa: PLR0911
    """The value of a parsed Python expression; NaN outside a domain, like the engines."""
    match node:
        case ast.Expression(body):
            return compute(body, env)
        case ast.Constant(value):
            return float(value)
        case ast.Name(name):
            return env[name]
        case ast.UnaryOp(ast.USub(), operand):
            return -compute(operand, env)
        case ast.BinOp(left, ast.Pow(), right):
            value = compute(left, env) ** compute(right, env)
            return math.nan if isinstance(value, complex) else value
        case ast.BinOp(left, sign, right):
            return BINARY[type(sign)](compute(left, env), compute(right, env))
        case ast.Call(ast.Name(name), [argument]):
            return FUNCTIONS[name](compute(argument, env))
    raise AssertionError(ast.dump(node))


@given(formulas(), st.floats(1, 20), st.floats(0, 4))
def test_the_infix_text_read_by_python_has_the_value_of_the_tree(formula, r: float, dz: float) -> None:
    tree, constants = formula
    try:
        read = compute(ast.parse(to_infix(tree, constants), mode="eval"), {"r": r, "dz": dz})
    except (ValueError, OverflowError, ZeroDivisionError):
        read = math.nan
    value = float(evaluate_numpy(tree, {"r": r, "dz": dz}, constants))
    if math.isfinite(read) and math.isfinite(value):
        assert read == pytest.approx(value, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("tokens", "constants", "text"),
    [
        ("sub c0 div mul 2 cos add mul 3 r c1 square r", (1.5, 0.1), "1.5 - 2*cos(3*r + 0.1)/r**2"),
        ("add c0 mul c1 r", (1.0, -2.0), "1 - 2*r"),
        ("sub c0 mul c1 r", (1.0, -2.0), "1 + 2*r"),
        ("pow c0 neg r", (-2.0,), "(-2)**-r"),
        ("neg mul r r", (), "-r*r"),
        ("mul r neg r", (), "r*(-r)"),
        ("div 1 div r div r 2", (), "1/(r/(r/2))"),
        ("neg square r", (), "-r**2"),
        ("square neg r", (), "(-r)**2"),
        ("square square r", (), "(r**2)**2"),
        ("sub r add r 1", (), "r - (r + 1)"),
        ("add r add r 1", (), "r + (r + 1)"),
        ("neg neg r", (), "-(-r)"),
        ("inv inv r", (), "1/(1/r)"),
        ("exp neg inv r", (), "exp(-1/r)"),
        ("damped r r", (), "exp(-r)*cos(r)"),
        ("mul c0 damped mul c1 r sub r 1", (2.0, -0.5), "2*(exp(-(-0.5*r))*cos(r - 1))"),
        ("div damped square r r damped c0 r", (-2.0,), "exp(-r**2)*cos(r)/(exp(-(-2))*cos(r))"),
        ("sub 1 damped r r", (), "1 - exp(-r)*cos(r)"),
        ("neg damped r r", (), "-exp(-r)*cos(r)"),
        ("square damped r r", (), "(exp(-r)*cos(r))**2"),
    ],
)
def test_parentheses_stand_only_where_they_are_needed(tokens: str, constants, text: str) -> None:
    assert to_infix(from_prefix(tokens.split()), constants) == text


def test_constants_can_be_rounded() -> None:
    assert to_infix(from_prefix(["mul", "c0", "r"]), (1.23456789,), digits=3) == "1.23*r"


def test_the_python_function_is_complete() -> None:
    source = to_python(from_prefix(["add", "exp", "r", "mul", "c0", "dz"]), (0.5,), "kernel")
    assert source == "from math import exp\n\n\ndef kernel(dz, r):\n    return exp(r) + 0.5*dz\n"
    ast.parse(source)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler at hand")
def test_the_c_function_compiles_and_gives_the_same_number(tmp_path: Path) -> None:
    tree = from_prefix(
        ["sub", "c0", "div", "mul", "2", "cos", "add", "mul", "3", "r", "c1", "log", "square", "r"]
    )
    program = to_c_function(tree, (1.5, -0.1), "kernel")
    program += '#include <stdio.h>\nint main(void) { printf("%.17g", kernel(2.5)); return 0; }\n'
    (tmp_path / "kernel.c").write_text(program)
    subprocess.run(
        ["cc", "-std=c99", "-Wall", "-Werror", "kernel.c", "-lm", "-o", "kernel"], cwd=tmp_path, check=True
    )
    printed = subprocess.run([tmp_path / "kernel"], capture_output=True, text=True, check=True).stdout
    assert float(printed) == pytest.approx(float(evaluate_numpy(tree, {"r": 2.5}, (1.5, -0.1))), rel=1e-14)


def test_numbers_in_sql_are_doubles() -> None:
    assert to_sql(Call("add", (Variable("r"), Number(0.1)))) == "(\"r\" + CAST('0.1' AS DOUBLE))"


def test_a_damped_oscillation_has_no_value_where_its_cosine_has_none() -> None:
    text = to_sql(from_prefix(["damped", "r", "dz"]))
    assert text == (
        '(exp(-"r") * (CASE WHEN isfinite("dz") THEN cos("dz") ELSE CAST(\'nan\' AS DOUBLE) END))'
    )


def test_nesting_that_would_explode_the_text_is_refused() -> None:
    tree = from_prefix(["sin"] * 40 + ["r"])
    with pytest.raises(ExpressionError, match="nested so deeply"):
        to_sql(tree)


def test_a_constant_that_is_not_given_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="constant c1 is not given: the formula has 1"):
        to_infix(from_prefix(["mul", "c0", "c1"]), (1.0,))
