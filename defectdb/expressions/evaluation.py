"""Evaluate expressions with numpy, and convert them to sympy and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectdb.expressions.expression import Expression, evaluate, variables

_DISTANCES = ("r", "r12", "r13", "r23")


class NumpyMathematics:
    """The operators' functions on float64 arrays; NaN outside a domain, without warnings."""

    def sqrt(self, x: Any) -> Any:
        return np.sqrt(x)

    def exp(self, x: Any) -> Any:
        return np.exp(x)

    def log(self, x: Any) -> Any:
        return np.where(np.asarray(x) > 0, np.log(x), np.nan)

    def sin(self, x: Any) -> Any:
        return np.sin(x)

    def cos(self, x: Any) -> Any:
        return np.cos(x)

    def tanh(self, x: Any) -> Any:
        return np.tanh(x)

    def abs(self, x: Any) -> Any:
        return np.abs(x)

    def pow(self, x: Any, y: Any) -> Any:
        return np.power(x, y)


class SympyMathematics:
    """The operators' functions on sympy expressions."""

    def __init__(self) -> None:
        import sympy

        self.sympy = sympy

    def sqrt(self, x: Any) -> Any:
        return self.sympy.sqrt(x)

    def exp(self, x: Any) -> Any:
        return self.sympy.exp(x)

    def log(self, x: Any) -> Any:
        return self.sympy.log(x)

    def sin(self, x: Any) -> Any:
        return self.sympy.sin(x)

    def cos(self, x: Any) -> Any:
        return self.sympy.cos(x)

    def tanh(self, x: Any) -> Any:
        return self.sympy.tanh(x)

    def abs(self, x: Any) -> Any:
        return self.sympy.Abs(x)

    def pow(self, x: Any, y: Any) -> Any:
        return self.sympy.Pow(x, y)


def evaluate_numpy(
    expression: Expression, env: Mapping[str, NDArray[np.float64]], constants: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Values in float64, shaped like the variables broadcast together; NaN outside the domain.

    Raises ExpressionError for a variable or constant that is not given.
    """
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in env.items()}
    shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    with np.errstate(all="ignore"):
        values = evaluate(
            expression, NumpyMathematics(), arrays, [np.float64(c) for c in constants], number=np.float64
        )
    return np.broadcast_to(np.asarray(values, dtype=np.float64), shape)


def sympy_variable(name: str) -> Any:
    """A variable as a real symbol; distances are positive."""
    import sympy

    return sympy.Symbol(name, positive=True) if name in _DISTANCES else sympy.Symbol(name, real=True)


def sympy_number(value: float) -> Any:
    """A literal number: integers and halves exactly, others as floats."""
    import sympy

    doubled = value * 2
    return (
        sympy.Rational(int(doubled), 2) if doubled.is_integer() and abs(value) < 1e9 else sympy.Float(value)
    )


def to_sympy(expression: Expression, constants: Sequence[float] = (), digits: int | None = None) -> Any:
    """A sympy expression over real symbols (distances are positive), built from the tree, not from text.

    ``digits`` rounds the fitted constants to that many significant digits.
    """
    import sympy

    names = {name: sympy_variable(name) for name in variables(expression)}

    def rounded(value: float) -> Any:
        return sympy.Float(repr(value)) if digits is None else sympy.Float(f"{value:.{digits}g}")

    leaves = [rounded(float(c)) for c in constants]
    return evaluate(expression, SympyMathematics(), names, leaves, number=sympy_number)


def to_latex(expression: Expression, constants: Sequence[float] = (), digits: int = 5) -> str:
    """LaTeX mathematics without delimiters, all numbers rounded to ``digits`` significant digits."""
    import sympy

    names = {f"r{i}{j}": f"r_{{{i}{j}}}" for i, j in ((1, 2), (1, 3), (2, 3))}
    names |= {f"dz{i}{j}": rf"\Delta z_{{{i}{j}}}" for i, j in ((1, 2), (1, 3), (2, 3))} | {"dz": r"\Delta z"}

    def short(number: Any) -> Any:
        value = float(f"{float(number):.{digits}g}")
        whole = value.is_integer() and abs(value) < 10**digits
        return sympy.Integer(int(value)) if whole else sympy.Float(repr(value), digits)

    tree = to_sympy(expression, constants)
    tree = tree.xreplace({number: short(number) for number in tree.atoms(sympy.Float) if number.is_finite})
    symbol_names = {s: names[s.name] for s in tree.free_symbols if s.name in names}
    printed: str = sympy.latex(tree, symbol_names=symbol_names, fold_short_frac=False)
    return printed
