"""Formulas as polars expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from defectdb.expressions.expression import Expression, evaluate, variables

_NAN = float("nan")


class PolarsMathematics:
    """The operators' functions on polars expressions; NaN outside a domain."""

    def sqrt(self, x: Any) -> Any:
        return x.sqrt()

    def exp(self, x: Any) -> Any:
        return x.exp()

    def log(self, x: Any) -> Any:
        return pl.when(x > 0).then(x.log()).otherwise(_NAN)

    def sin(self, x: Any) -> Any:
        return x.sin()

    def cos(self, x: Any) -> Any:
        return x.cos()

    def tanh(self, x: Any) -> Any:
        return x.tanh()

    def abs(self, x: Any) -> Any:
        return x.abs()

    def pow(self, x: Any, y: Any) -> Any:
        return x.pow(y)


def to_polars(
    expression: Expression, constants: Sequence[float] = (), columns: Mapping[str, pl.Expr] | None = None
) -> pl.Expr:
    """The formula as a polars expression over the given columns (default: columns named like the variables).

    Values are float64, NaN outside the formula's domain. Raises ExpressionError for a constant not given.
    """
    given = columns or {}
    env = {name: given.get(name, pl.col(name)).cast(pl.Float64) for name in variables(expression)}
    literals = [pl.lit(float(value), dtype=pl.Float64) for value in constants]
    result = evaluate(
        expression, PolarsMathematics(), env, literals, number=lambda x: pl.lit(x, dtype=pl.Float64)
    )
    assert isinstance(result, pl.Expr)
    return result
