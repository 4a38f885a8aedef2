"""Exact first and second derivatives of an expression by one of its variables, for whole arrays at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import Expression, evaluate


@dataclass(frozen=True, slots=True, eq=False)
class Jet:
    """Values of a function with its derivatives by the variable.

    ``value``, ``first``, ``second`` [point]: the function, its first and second derivative; numbers where they are the
    same at all points.
    """

    value: Any
    first: Any
    second: Any

    __array_ufunc__ = None  # numpy numbers leave arithmetic with jets to the jet

    def _chain(self, value: Any, slope: Any, bend: Any) -> Jet:
        """An outer function of this one, from its value and derivatives by this one."""
        return Jet(value, slope * self.first, bend * self.first * self.first + slope * self.second)

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.value + other.value, self.first + other.first, self.second + other.second)
        return Jet(self.value + other, self.first, self.second)

    __radd__ = __add__

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.first, -self.second)

    def __sub__(self, other: Any) -> Jet:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Jet:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value * other, self.first * other, self.second * other)
        return Jet(
            self.value * other.value,
            self.first * other.value + self.value * other.first,
            self.second * other.value + 2.0 * self.first * other.first + self.value * other.second,
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return self.__mul__(other.__pow__(-1.0) if isinstance(other, Jet) else 1.0 / other)

    def __rtruediv__(self, other: Any) -> Jet:
        return self.__pow__(-1.0).__mul__(other)

    def __pow__(self, exponent: Any) -> Jet:
        if isinstance(exponent, Jet):
            product: Jet = _Mathematics().exp(exponent * _Mathematics().log(self))
            return product
        x = np.asarray(self.value, dtype=np.float64)
        n = np.float64(exponent)
        return self._chain(np.power(x, n), n * np.power(x, n - 1.0), n * (n - 1.0) * np.power(x, n - 2.0))

    def __rpow__(self, base: Any) -> Jet:
        log = np.log(base)
        value = np.power(base, self.value)
        return self._chain(value, log * value, log * log * value)


class _Mathematics:
    """The operators' functions on jets, and on the plain numbers between them."""

    def sqrt(self, x: Any) -> Any:
        return x**0.5 if isinstance(x, Jet) else np.sqrt(x)

    def exp(self, x: Any) -> Any:
        if not isinstance(x, Jet):
            return np.exp(x)
        value = np.exp(x.value)
        return x._chain(value, value, value)

    def log(self, x: Any) -> Any:
        if not isinstance(x, Jet):
            return np.where(np.asarray(x) > 0, np.log(x), np.nan)
        value = np.where(np.asarray(x.value) > 0, np.log(x.value), np.nan)
        return x._chain(value, 1.0 / x.value, -1.0 / (x.value * x.value))

    def sin(self, x: Any) -> Any:
        if not isinstance(x, Jet):
            return np.sin(x)
        sine, cosine = np.sin(x.value), np.cos(x.value)
        return x._chain(sine, cosine, -sine)

    def cos(self, x: Any) -> Any:
        if not isinstance(x, Jet):
            return np.cos(x)
        sine, cosine = np.sin(x.value), np.cos(x.value)
        return x._chain(cosine, -sine, -cosine)

    def tanh(self, x: Any) -> Any:
        if not isinstance(x, Jet):
            return np.tanh(x)
        value = np.tanh(x.value)
        slope = 1.0 - value * value
        return x._chain(value, slope, -2.0 * value * slope)

    def abs(self, x: Any) -> Any:
        if not isinstance(x, Jet):
            return np.abs(x)
        return x._chain(np.abs(x.value), np.sign(x.value), 0.0)

    def pow(self, x: Any, y: Any) -> Any:
        if isinstance(x, Jet) or isinstance(y, Jet):
            return x**y
        return np.power(x, y)


def derivatives(
    expression: Expression, variable: str, points: Floats, constants: Sequence[float] = ()
) -> tuple[Floats, Floats, Floats]:
    """The expression and its first and second derivative by ``variable`` at ``points``, each shaped like ``points``.

    NaN outside its domain. Raises ExpressionError for another variable or a constant that is not given.
    """
    at = np.asarray(points, dtype=np.float64)
    with np.errstate(all="ignore"):
        found = evaluate(
            expression,
            _Mathematics(),
            {variable: Jet(at, np.ones_like(at), np.zeros_like(at))},
            [np.float64(c) for c in constants],
            number=np.float64,
        )
    jet = found if isinstance(found, Jet) else Jet(found, 0.0, 0.0)
    shaped = [
        np.broadcast_to(np.asarray(part, dtype=np.float64), at.shape)
        for part in (jet.value, jet.first, jet.second)
    ]
    return shaped[0], shaped[1], shaped[2]
