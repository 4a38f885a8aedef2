"""Recognise the field's laws in a formula of the distance: each summand's name, decay length and wavelength.

A summand is taken apart into factors: powers of r, exponentials of a polynomial in r, cosines of a straight line. What
an exponent or an angle is, its values at some distances tell; so it does not matter how it is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Constant, Expression, Number, Variable, variables

_AT = np.linspace(1.3, 11.7, 14)  # angstrom: where exponents and angles are looked at
_EXACT = 1e-7  # of the largest value: what a fit of an exponent by its polynomial may leave
_SAME_RATE = 1e-3  # relative: rates that near are those of one law
SMALL = 0.05
"""Share of a formula's variation below which a summand is no part of its family."""

_POWERS = {"neg": 1.0, "inv": -1.0, "square": 2.0, "cube": 3.0, "sqrt": 0.5}


@dataclass(frozen=True, slots=True)
class Shape:
    """One summand, up to its coefficient: r^power exp(-rate r - squeeze r^2) cos(wave r + phase) ...

    Attributes:
        power: of the distance
        rate: 1/angstrom
        squeeze: 1/angstrom^2
        waves: (wave number in 1/angstrom, phase) of every cosine
        whole: whether that is all of it
    """

    power: float = 0.0
    rate: float = 0.0
    squeeze: float = 0.0
    waves: tuple[tuple[float, float], ...] = ()
    whole: bool = True

    @property
    def flat(self) -> bool:
        """Whether it does not depend on the distance."""
        return self.whole and not (self.power or self.rate or self.squeeze or self.waves)


@dataclass(frozen=True, slots=True)
class Term:
    """A summand with its law.

    Attributes:
        law: its name; None for a form that has none
        shape: what it is made of
        sign: of its coefficient
    """

    law: str | None
    shape: Shape = field(default_factory=Shape)
    sign: int = 1


def terms_of(expression: Expression, constants: Sequence[float]) -> list[Term]:
    """Every summand that depends on the distance, with its law; two exponentials of a Morse potential are one term."""
    found: list[Term] = []
    for sign, node in _summands(expression, constants):
        if _is_morse(node, constants):
            found.append(Term("Morse", Shape(rate=_morse_rate(node, constants)), sign))
            continue
        shape = _shape(node, constants)
        if not shape.flat:
            found.append(Term(_law(shape), shape, sign * _sign(node, constants)))
    return _joined(found)


def law_of(expression: Expression, constants: Sequence[float]) -> str | None:
    """The names of a formula's laws joined by ``+``, None where a summand has none or nothing depends on r alone."""
    if set(variables(expression)) != {"r"}:
        return None
    names = [term.law for term in terms_of(expression, constants)]
    known = [name for name in names if name is not None]
    return " + ".join(sorted(known)) if known and len(known) == len(names) else None


def family_of(expression: Expression, constants: Sequence[float], r: Floats | None = None) -> str:
    """The same text for formulas that differ only in numbers, in the order of operands or in small terms.

    The law's name where there is one; else the summands without coefficients, every number within them written ``c``.
    Summands that vary over the distances ``r`` (angstrom) by less than ``SMALL`` of the whole formula are left out.
    """
    if law := law_of(expression, constants):
        return law
    parts = [node for _, node in _summands(expression, constants) if variables(node)]
    if r is not None and len(parts) > 1 and set(variables(expression)) == {"r"}:
        spread = [float(np.ptp(_at(node, constants, r))) for node in (expression, *parts)]
        parts = [
            node for node, own in zip(parts, spread[1:], strict=True) if own > SMALL * spread[0]
        ] or parts
    return (
        " + ".join(sorted({law_of(node, constants) or _skeleton(node, constants) for node in parts})) or "c"
    )


def _skeleton(node: Expression, constants: Sequence[float]) -> str:
    """A product or function without its coefficient, signs and phases, commuting operands in one order."""
    if _number(node, constants) is not None:
        return "c"
    if not isinstance(node, Call):
        return node.name if isinstance(node, Variable) else "c"
    name = {"sub": "add", "sin": "cos"}.get(node.operator, node.operator)
    inner = [_skeleton(arg, constants) for arg in node.args]
    if name == "mul":
        inner = sorted(part for part in inner if part != "c")
    elif name == "div" and inner[1] == "c":
        inner = inner[:1]
    elif name == "add":
        inner = sorted(inner)
    if name == "neg" or (name in ("mul", "div") and len(inner) == 1):
        return inner[0]
    return f"{name}({', '.join(inner)})"


def _summands(node: Expression, constants: Sequence[float], sign: int = 1) -> list[tuple[int, Expression]]:
    """The summands with their signs; numerical factors are multiplied out."""
    match node:
        case Call("add" | "sub" as op, (a, b)):
            other = sign if op == "add" else -sign
            return [*_summands(a, constants, sign), *_summands(b, constants, other)]
        case Call("neg", (inner,)):
            return _summands(inner, constants, -sign)
        case Call("mul" | "div" as op, (a, b)):
            first, second = _number(a, constants), _number(b, constants)
            if first is not None and op == "mul" and _is_sum(b):
                return _summands(b, constants, sign if first > 0 else -sign)
            if second is not None and _is_sum(a):
                return _summands(a, constants, sign if second > 0 else -sign)
    return [(sign, node)]


def _is_sum(node: Expression) -> bool:
    return isinstance(node, Call) and node.operator in ("add", "sub")


def _number(node: Expression, constants: Sequence[float]) -> float | None:
    """The value of a node without variables, None of every other."""
    if variables(node):
        return None
    value = float(np.asarray(evaluate_numpy(node, {}, list(constants))))
    return value if math.isfinite(value) else None


def _shape(node: Expression, constants: Sequence[float]) -> Shape:  # noqa: PLR0911
    """What a product is made of."""
    if _number(node, constants) is not None:
        return Shape()
    match node:
        case Variable("r"):
            return Shape(power=1.0)
        case Call("mul", (a, b)):
            return _times(_shape(a, constants), _shape(b, constants))
        case Call("div", (a, b)):
            return _times(_shape(a, constants), _raised(_shape(b, constants), -1.0))
        case Call("pow", (base, exponent)):
            power = _number(exponent, constants)
            if power is not None:
                return _raised(_shape(base, constants), power)
            root = _number(base, constants)
            if root is not None and root > 0:
                return _exponential(_values(exponent, constants) * math.log(root))
        case Call("exp", (inner,)):
            return _exponential(_values(inner, constants))
        case Call("damped", (inner, angle)):
            return _times(_exponential(-_values(inner, constants)), _wave(_values(angle, constants)))
        case Call("cos" | "sin" as name, (inner,)):
            return _wave(_values(inner, constants), 0.0 if name == "cos" else -math.pi / 2)
        case Call(name, (inner,)) if name in _POWERS:
            return _raised(_shape(inner, constants), _POWERS[name])
    return Shape(whole=False)


def _values(node: Expression, constants: Sequence[float]) -> Floats:
    return _at(node, constants, _AT)


def _at(node: Expression, constants: Sequence[float], r: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(
            np.broadcast_to(evaluate_numpy(node, {"r": r}, list(constants)), r.shape), dtype=np.float64
        )


def _fitted(values: Floats, columns: Sequence[Floats]) -> Floats | None:
    """Coefficients of a sum of these columns, None where the values are no such sum."""
    if not np.isfinite(values).all():
        return None
    matrix = np.stack(columns, axis=1)
    found = np.linalg.lstsq(matrix, values, rcond=None)[0]
    size = float(np.abs(values).max()) + 1e-300
    if float(np.abs(matrix @ found - values).max()) > _EXACT * size:
        return None
    negligible = np.abs(matrix * found).max(0) < 10 * _EXACT * size
    return np.asarray(np.where(negligible, 0.0, found), dtype=np.float64)


def _exponential(exponent: Floats) -> Shape:
    found = _fitted(exponent, [np.ones_like(_AT), _AT, _AT**2, np.log(_AT)])
    if found is None:
        return Shape(whole=False)
    return Shape(power=float(found[3]), rate=-float(found[1]), squeeze=-float(found[2]))


def _wave(angle: Floats, phase: float = 0.0) -> Shape:
    found = _fitted(angle, [np.ones_like(_AT), _AT])
    if found is None or not found[1]:
        return Shape(whole=False)
    return Shape(waves=((abs(float(found[1])), float(found[0]) * math.copysign(1.0, found[1]) + phase),))


def _times(a: Shape, b: Shape) -> Shape:
    return Shape(
        a.power + b.power, a.rate + b.rate, a.squeeze + b.squeeze, a.waves + b.waves, a.whole and b.whole
    )


def _raised(shape: Shape, power: float) -> Shape:
    if shape.waves and power != 1.0:
        return replace(shape, whole=False)
    return replace(shape, power=shape.power * power, rate=shape.rate * power, squeeze=shape.squeeze * power)


def _law(shape: Shape) -> str | None:
    """The name of a summand of this shape that falls off; None where it grows or has no name."""
    if not shape.whole or len(shape.waves) > 1 or shape.rate < 0 or shape.squeeze < 0 or shape.power > 0:
        return None
    if shape.waves:
        return _oscillation(shape)
    if shape.squeeze:
        return "Gaussian" if not (shape.rate or shape.power) else None
    if shape.rate:
        return {0.0: "exponential", -1.0: "Yukawa"}.get(shape.power, "screened power law")
    known = {-1.0: "inverse distance", -2.0: "elastic 1/r^2", -3.0: "dipolar 1/r^3"}
    return known.get(shape.power, "power law") if shape.power else None


def _oscillation(shape: Shape) -> str | None:
    if shape.squeeze:
        return None
    if shape.rate:
        return "damped oscillation"
    if shape.power == -2.0 and not shape.waves[0][1]:
        return "RKKY (2D)"
    return {-1.0: "Friedel (1D)", -2.0: "Friedel (2D)", -3.0: "Friedel (3D)"}.get(shape.power)


def _is_morse(node: Expression, constants: Sequence[float]) -> bool:
    return _morse_rate(node, constants) > 0


def _morse_rate(node: Expression, constants: Sequence[float]) -> float:
    """Rate of the exponential in (a - b exp(-rate r))^2 times a number, 0 where the node is nothing of the kind."""
    match node:
        case Call("mul", (a, b)):
            if _number(a, constants) is not None:
                return _morse_rate(b, constants)
        case Call("square", (Call("add" | "sub", (a, b)),)):
            parts = [_shape(part, constants) for part in (a, b) if _number(part, constants) is None]
            if len(parts) == 1 and _law(parts[0]) == "exponential":
                return parts[0].rate
    return 0.0


def _sign(node: Expression, constants: Sequence[float]) -> int:
    """Sign of the numerical factors of a product."""
    match node:
        case Call("mul" | "div", (a, b)):
            return _sign(a, constants) * _sign(b, constants)
        case Call("neg", (inner,)):
            return -_sign(inner, constants)
        case Call("inv", (inner,)):
            return _sign(inner, constants)
        case Constant() | Number():
            return -1 if (_number(node, constants) or 0.0) < 0 else 1
    return 1


def _joined(terms: list[Term]) -> list[Term]:
    """Terms that are one law together: exponentials of single and twofold rate (Morse), r^-12 and r^-6."""
    if len(terms) != 2:
        return terms
    slow, fast = sorted(terms, key=lambda t: (t.shape.rate, -t.shape.power))
    names = {slow.law, fast.law}
    opposite = slow.sign != fast.sign
    if names == {"exponential"} and opposite and abs(fast.shape.rate / slow.shape.rate - 2) < _SAME_RATE:
        return [Term("Morse", slow.shape, fast.sign)]
    powers = (slow.shape.power, fast.shape.power)
    if names == {"power law"} and powers == (-6.0, -12.0):
        return [Term("Lennard-Jones", fast.shape, fast.sign)]
    return terms
