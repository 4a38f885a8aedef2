"""The units of an equation learner: what each computes of its input, and where its constants are looked for.

Units of equation learner networks (Martius and Lampert, arXiv:1610.02995; Sahoo et al., ICML 2018), without poles:
a quotient's denominator is one plus a square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from defectdb.expressions.expression import Call, Constant, Expression, Number

ONE = Number(1.0)


@dataclass(frozen=True, slots=True)
class Range:
    """Where a constant is looked for, in terms of a variable that runs from ``low`` to ``high`` of a problem.

    ``kind``: "rate" (per length of the range, by factors), "place" (within the range and half of it below), "exponent"
    (by factors) or "angle" (0 to 2 pi).
    ``least``, ``most``: ends for rates, in counts per range, and for exponents.
    """

    kind: str
    least: float = 0.0
    most: float = 1.0

    def value(self, share: float, low: float, high: float) -> float:
        """The constant at ``share`` (0 to 1) of its range, for a variable from ``low`` to ``high``."""
        span = high - low
        match self.kind:
            case "rate":
                return float(self.least / span * (self.most / self.least) ** share)
            case "exponent":
                return float(self.least * (self.most / self.least) ** share)
            case "place":
                return low - 0.5 * span + 1.5 * span * share
        return 6.283185307179586 * share

    def share(self, value: float, low: float, high: float) -> float:
        """Where in its range a constant lies, 0 to 1 (outside: the nearer end)."""
        span = high - low
        match self.kind:
            case "rate" | "exponent":
                scale = span if self.kind == "rate" else 1.0
                least = self.least
                found = math.log(max(abs(value) * scale, 1e-12) / least) / math.log(self.most / least)
            case "place":
                found = (value - low + 0.5 * span) / (1.5 * span)
            case _:
                found = (value / 6.283185307179586) % 1.0
        return min(1.0, max(0.0, found))


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit.

    ``name``: what it is called.
    ``build``: makes its expression from its input and its constants.
    ``ranges``: where each of its constants is looked for.
    ``from_zero``: whether it is nothing at input zero, as an embedding has to be.
    """

    name: str
    build: Callable[[Expression, Sequence[Expression]], Expression]
    ranges: tuple[Range, ...] = ()
    from_zero: bool = False


def call(operator: str, *args: Expression) -> Expression:
    """An operator applied to its operands."""
    return Call(operator, args)


def _times(a: Expression, b: Expression) -> Expression:
    return call("mul", a, b)


_RATE, _PLACE = Range("rate", 0.5, 30.0), Range("place")

_UNITS = (
    Unit("identity", lambda x, _: x, from_zero=True),
    Unit("square", lambda x, _: call("square", x), from_zero=True),
    Unit("shifted", lambda x, c: call("sub", x, c[0]), (_PLACE,)),
    Unit("parabola", lambda x, c: call("square", call("sub", x, c[0])), (_PLACE,)),
    Unit("quotient", lambda x, c: call("inv", call("add", ONE, call("square", _times(c[0], x)))), (_RATE,)),
    Unit(
        "bell", lambda x, c: call("inv", call("add", ONE, call("square", _times(c[0], call("sub", x, c[1]))))),
        (_RATE, _PLACE),
    ),
    Unit("exp", lambda x, c: call("exp", call("neg", _times(c[0], x))), (_RATE,)),
    Unit("power", lambda x, c: call("pow", x, call("neg", c[0])), (Range("exponent", 1.0, 16.0),)),
    Unit("gauss", lambda x, c: call("exp", call("neg", _times(c[0], call("square", x)))), (Range("rate", 0.1, 10.0),)),
    Unit(
        "gauss_at", lambda x, c: call("exp", call("neg", call("square", _times(c[0], call("sub", x, c[1]))))),
        (Range("rate", 0.5, 12.0), _PLACE),
    ),
    Unit(
        "wave", lambda x, c: call("damped", _times(c[0], x), call("sub", _times(c[1], x), c[2])),
        (_RATE, Range("rate", 1.0, 30.0), Range("angle")),
    ),
    Unit(
        "cosine", lambda x, c: call("cos", call("sub", _times(c[0], x), c[1])),
        (Range("rate", 1.0, 30.0), Range("angle")),
    ),
    Unit("log", lambda x, c: call("log", call("add", ONE, call("square", _times(c[0], x)))), (_RATE,), from_zero=True),
    Unit("step", lambda x, c: call("tanh", _times(c[0], call("sub", x, c[1]))), (_RATE, _PLACE)),
    Unit("root", lambda x, _: call("sqrt", x), from_zero=True),
    Unit("rising_power", lambda x, c: call("pow", x, c[0]), (Range("exponent", 0.2, 3.0),), from_zero=True),
    Unit("saturating", lambda x, c: call("tanh", _times(c[0], x)), (_RATE,), from_zero=True),
    Unit(
        "logarithm", lambda x, c: call("log", call("add", ONE, _times(c[0], x))), (Range("rate", 0.5, 300.0),),
        from_zero=True,
    ),
    Unit("ratio", lambda x, c: call("div", x, call("add", ONE, _times(c[0], x))), (_RATE,), from_zero=True),
    Unit("root_ratio", lambda x, c: call("div", x, call("sqrt", call("add", ONE, _times(c[0], x)))), (_RATE,),
         from_zero=True),
)  # fmt: skip

UNITS: Mapping[str, Unit] = MappingProxyType({unit.name: unit for unit in _UNITS})


def constants(first: int, count: int) -> list[Expression]:
    """``count`` constants from number ``first`` on."""
    return [Constant(first + i) for i in range(count)]
