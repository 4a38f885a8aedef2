"""Convert sympy expressions to expression trees."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import Any

from defectdb.errors import ExpressionError
from defectdb.expressions.expression import Call, Constant, Expression, Number, Variable, complexity

Sympy = Any
_FUNCTIONS = {"exp": "exp", "log": "log", "sin": "sin", "cos": "cos", "tanh": "tanh", "Abs": "abs"}
_POWERS = {
    2: ("square",), 3: ("cube",), 4: ("square", "square"), 6: ("square", "cube"), 9: ("cube", "cube"),
}  # fmt: skip
_LONGEST_PRODUCT = 5  # x * x * ... of more factors is longer than what it would replace
_DIGITS = 20  # of folded constants, before they become double precision
_LARGEST = 1e9  # literal numbers beyond this are no numbers that a formula was written with


class TreeWriter:
    """Writes sympy expressions as trees of the given operators.

    ``values`` gives the symbols that stand for fitted constants their numbers; all others are variables.
    ``constants`` collects the values of the constants written, by index: some may end up in no tree.
    """

    def __init__(self, values: Mapping[Sympy, float], operators: Collection[str]) -> None:
        import sympy

        self.sympy, self.operators = sympy, operators
        self.digits = {symbol: sympy.Float(repr(value), _DIGITS) for symbol, value in values.items()}
        self.constants: list[float] = []

    def write(self, node: Sympy) -> Expression:
        """The tree. Raises ExpressionError for functions and numbers that the operators cannot write."""
        if not self._varies(node):
            return self._number(node)
        if node.is_Symbol:
            return Variable(node.name)
        if node.is_Add:
            return self._sum(node.args)
        if node.is_Mul:
            return self._product(node.args)
        if node.is_Pow:
            return self._power(node.base, node.exp)
        return self._function(node)

    def _varies(self, node: Sympy) -> bool:
        return any(symbol not in self.digits for symbol in node.free_symbols)

    def _call(self, name: str, *args: Expression) -> Expression:
        if name in self.operators:
            return Call(name, args)
        if name == "inv" and "div" in self.operators:
            return Call("div", (Number(1.0), *args))
        raise ExpressionError(f"operator {name!r} is not among those that this formula may use")

    def _function(self, node: Sympy) -> Expression:
        name = _FUNCTIONS.get(node.func.__name__)
        if name is None:
            raise ExpressionError(f"no operator writes {node.func.__name__}")
        return self._call(name, self.write(node.args[0]))

    def _number(self, node: Sympy) -> Expression:
        """What holds no variable: exact numbers as they are written, anything else as one fitted constant."""
        if node.free_symbols or node.has(self.sympy.Float, self.sympy.NumberSymbol):
            return self._folded(node)
        if not node.is_Rational:
            if node.is_Pow and node.exp == self.sympy.Rational(1, 2):
                return self._call("sqrt", self._number(node.base))
            return self._folded(node)
        value = float(node)
        if (4 * value).is_integer() and abs(value) < _LARGEST:
            return Number(value)
        return self._call("div", Number(float(node.p)), Number(float(node.q)))  # says more than digits

    def _folded(self, node: Sympy) -> Constant:
        found = node.evalf(_DIGITS, subs=self.digits)
        if not (found.is_Float or found.is_Integer) or not math.isfinite(float(found)):
            raise ExpressionError(f"no finite real number: {str(node)[:80]}")
        self.constants.append(float(found))
        return Constant(len(self.constants) - 1)

    def _sum(self, terms: Sequence[Sympy]) -> Expression:
        """The constant first, then what is added, then what is subtracted."""
        flat = self.sympy.Add(*(t for t in terms if not self._varies(t)))
        varying = [t for t in terms if self._varies(t)]
        minus = [t for t in varying if t.could_extract_minus_sign()]
        plus = [t for t in varying if not t.could_extract_minus_sign()]
        if flat.is_negative and not flat.free_symbols:
            minus.append(flat)
        elif flat != 0:
            plus.insert(0, flat)
        added = [self.write(t) for t in plus]
        taken = [self.write(-t) for t in minus]
        if not added:
            return self._call("neg", reduce(lambda a, b: self._call("add", a, b), taken))
        whole = reduce(lambda a, b: self._call("add", a, b), added)
        return reduce(lambda a, b: self._call("sub", a, b), taken, whole)

    def _product(self, factors: Sequence[Sympy]) -> Expression:
        """One number, then the numerator's factors, over those of the denominator."""
        number = self.sympy.Mul(*(f for f in factors if not self._varies(f)))
        varying = [f for f in factors if self._varies(f)]
        negative = bool(number.is_negative) and not number.free_symbols
        above, below = self._scale(-number if negative else number)
        damped, varying = self._damped(varying)
        above += damped
        for factor in varying:
            lower = self._below(factor)
            (above if lower is None else below).append(self.write(factor if lower is None else lower))
        return self._call("neg", self._over(above, below)) if negative else self._over(above, below)

    def _scale(self, number: Sympy) -> tuple[list[Expression], list[Expression]]:
        """A product's number as a factor above, below, or both; nothing for one."""
        if number == 1:
            return [], []
        if number.is_Rational and number.p == 1:
            return [], [self.write(self.sympy.Integer(number.q))]
        return [self.write(number)], []

    def _over(self, above: Sequence[Expression], below: Sequence[Expression]) -> Expression:
        def product(parts: Sequence[Expression]) -> Expression:
            return reduce(lambda right, left: self._call("mul", left, right), reversed(parts))

        if above and below:
            return self._call("div", product(above), product(below))
        return product(above) if above else self._call("inv", product(below))

    def _below(self, factor: Sympy) -> Sympy | None:
        """The factor's inverse, where a denominator writes it in fewer tokens."""
        if factor.is_Pow and factor.exp.could_extract_minus_sign():
            return 1 / factor
        if factor.func.__name__ == "exp":
            lower = self.sympy.exp(-factor.args[0])
            if complexity(self.write(lower)) < complexity(self.write(factor)):
                return lower
        return None

    def _damped(self, factors: list[Sympy]) -> tuple[list[Expression], list[Sympy]]:
        """exp(-x) * cos(y) as one operator, and the other factors."""
        decay, wave = (next((f for f in factors if f.func.__name__ == name), None) for name in ("exp", "cos"))
        if "damped" not in self.operators or decay is None or wave is None:
            return [], factors
        whole = self._call("damped", self.write(-decay.args[0]), self.write(wave.args[0]))
        return [whole], [f for f in factors if f not in (decay, wave)]

    def _power(self, base: Sympy, exponent: Sympy) -> Expression:
        """The shortest way to write a power. Raises ExpressionError where there is none."""
        if exponent.is_Number and exponent.is_negative:
            return self._call("inv", self.write(1 / base**exponent))
        if not self._varies(base) and base.is_positive:
            return self._call("exp", self.write(exponent * self.sympy.log(base)))
        inner = self.write(base)
        if exponent.is_Rational and exponent.q == 2:
            inner, exponent = self._call("sqrt", inner), exponent * 2
        ways = self._ways(inner, exponent)
        if not ways:
            raise ExpressionError(f"no operator writes the power {exponent}")
        return min(ways, key=complexity)

    def _ways(self, inner: Expression, exponent: Sympy) -> list[Expression]:
        if exponent == 1:
            return [inner]
        ways: list[Expression] = []
        chain = _POWERS.get(int(exponent), ()) if exponent.is_Integer else ()
        if chain and all(name in self.operators for name in chain):
            ways.append(reduce(lambda x, name: Call(name, (x,)), chain, inner))
        if exponent.is_Integer and exponent <= _LONGEST_PRODUCT and "mul" in self.operators:
            ways.append(reduce(lambda x, _: Call("mul", (inner, x)), range(int(exponent) - 1), inner))
        if "pow" in self.operators:
            ways.append(Call("pow", (inner, self.write(exponent))))
        return ways
