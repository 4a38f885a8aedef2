"""numpy, SQL, polars, torch and sympy give the same number for any formula, to 1e-9 relative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from support.random_formulas import formulas

from defectdb.db import Database, open_database
from defectdb.expressions.evaluation import NumpyMathematics, evaluate_numpy, to_sympy
from defectdb.expressions.expression import Call, Expression, Number, Variable, evaluate
from defectdb.expressions.texts import to_sql
from defectdb.query.polars_math import to_polars

R = np.linspace(1.3, 15.1, 24)
DZ = np.tile([0.0, 1.565, 3.13], 8)
POINTS = pl.DataFrame({"r": R, "dz": DZ})
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def reference(tree: Expression, constants: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Values, and where rounding does not matter: there extended precision gives the same to 1e-12."""
    values = evaluate_numpy(tree, {"r": R, "dz": DZ}, constants)
    with np.errstate(all="ignore"):
        wide: Any = evaluate(
            tree,
            NumpyMathematics(),
            {"r": R.astype(np.longdouble), "dz": DZ.astype(np.longdouble)},
            [np.longdouble(c) for c in constants],
            number=np.longdouble,
        )
        wide = np.broadcast_to(wide, R.shape)
        calm = np.isfinite(values) & (np.abs(values - wide) <= 1e-12 * np.abs(wide))
    return values, calm


def agree(found: Any, values: np.ndarray, calm: np.ndarray) -> None:
    found = np.broadcast_to(np.asarray(found, dtype=np.float64), R.shape)
    np.testing.assert_allclose(found[calm], values[calm], rtol=1e-9, atol=0)


@pytest.fixture(scope="module")
def points() -> Iterator[Database]:
    with open_database(":memory:") as db:
        with db.transaction():
            db.execute("CREATE TABLE points (n BIGINT, r DOUBLE, dz DOUBLE)")
            db.append("points", POINTS.with_row_index("n"))
        yield db


@MANY
@given(formulas())
def test_sql_agrees_with_numpy(points: Database, formula) -> None:
    values, calm = reference(*formula)
    assume(calm.any())
    found = points.frame(f"SELECT CAST({to_sql(*formula)} AS DOUBLE) AS v FROM points ORDER BY n")["v"]
    agree(found.fill_null(np.nan).to_numpy(), values, calm)


@MANY
@given(formulas())
def test_polars_agrees_with_numpy(formula) -> None:
    values, calm = reference(*formula)
    assume(calm.any())
    found = POINTS.select(v=to_polars(*formula) + 0 * pl.col("r"))["v"].to_numpy()
    agree(found, values, calm)


class TorchMathematics:
    """The operators' functions on tensors."""

    sqrt, exp, sin, cos, tanh, abs = torch.sqrt, torch.exp, torch.sin, torch.cos, torch.tanh, torch.abs

    def log(self, x: Any) -> Any:
        return torch.where(x > 0, torch.log(x), torch.nan)

    def pow(self, x: Any, y: Any) -> Any:
        return torch.pow(x, y)


@MANY
@given(formulas())
def test_torch_agrees_with_numpy(formula) -> None:
    tree, constants = formula
    values, calm = reference(*formula)
    assume(calm.any())
    env = {"r": torch.from_numpy(R), "dz": torch.from_numpy(DZ)}
    tensors = [torch.tensor(c, dtype=torch.float64) for c in constants]
    found = evaluate(
        tree, TorchMathematics(), env, tensors, number=lambda x: torch.tensor(x, dtype=torch.float64)
    )
    agree(found.numpy(), values, calm)


@settings(max_examples=40, deadline=None)
@given(formulas())
def test_sympy_agrees_with_numpy(formula) -> None:
    import sympy

    values, calm = reference(*formula)
    assume(calm.any())
    at = int(np.flatnonzero(calm)[0])
    tree = to_sympy(*formula)
    places = {s: sympy.Float(repr(float({"r": R, "dz": DZ}[s.name][at])), 30) for s in tree.free_symbols}
    found = tree.subs(places).evalf(20)
    assume(found.is_number and found.is_finite)
    assert complex(found) == pytest.approx(complex(values[at]), rel=1e-9)


BELOW = Call("sub", (Number(0.5), Variable("r")))  # negative at every point


@pytest.mark.parametrize("operator", ["log", "sqrt"])
@MANY
@given(formulas())
def test_outside_the_domain_no_engine_invents_a_number(points: Database, operator: str, formula) -> None:
    tree, constants = formula
    outside = Call("add", (tree, Call(operator, (BELOW,))))
    sql = points.frame(f"SELECT CAST({to_sql(outside, constants)} AS DOUBLE) AS v FROM points")["v"]
    assert not np.isfinite(sql.fill_null(np.nan).to_numpy()).any()
    assert not np.isfinite(POINTS.select(v=to_polars(outside, constants))["v"].to_numpy()).any()
    assert not np.isfinite(evaluate_numpy(outside, {"r": R, "dz": DZ}, constants)).any()
