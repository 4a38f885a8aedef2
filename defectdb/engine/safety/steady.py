"""Whether a formula means what it says: steady under rounding and small moves, nothing in it hidden or too fast.

A cosine of a million turns is a hash of the distances, and a sum of a million and a distance a constant in disguise:
both fit anything, and neither survives a constant written with six digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, variables, walk

DIGITS = 6
"""Significant digits of constants that a formula must live with."""

MOVE = 1e-4
"""Change of a variable that a formula must live with (angstrom of a distance)."""

CHANGE = 1e-4
"""What a value may change by then (0.1 meV), or by what the data's own slope allows."""

_ROUND_OFF = 1e-9
"""Share of its size by which a sub-expression must change over the data."""

_TURNING = ("cos", "sin")


def spacing_of(values: Floats) -> float:
    """Median gap between the different values of a variable; infinite where there is only one."""
    different = np.unique(np.round(values, 6))
    return float(np.median(np.diff(different))) if len(different) > 1 else math.inf


def steepest(x: Mapping[str, Floats], y: Floats) -> float:
    """The data's range over the smallest typical gap of a variable: slopes beyond it are not seen in data."""
    gap = min((spacing_of(values) for values in x.values()), default=math.inf)
    return float(np.ptp(y)) / gap if 0 < gap < math.inf else 0.0


def is_steady(
    expression: Expression, constants: Sequence[float], x: Mapping[str, Floats], slope: float
) -> bool:
    """Whether rounded constants and moved variables change no value, no angle turns faster than the points lie, and no
    part is constant up to round-off.

    ``x``: values [point] of every variable at the data. ``slope``: the steepest slope that the data show.
    """
    values = _values(expression, constants, x)
    if not np.isfinite(values).all():
        return False
    rounded = [float(f"{c:.{DIGITS}g}") for c in constants]
    if _far(_values(expression, rounded, x), values, CHANGE):
        return False
    for name in variables(expression):
        moved = _values(expression, constants, {**x, name: x[name] + MOVE})
        if _far(moved, values, max(CHANGE, MOVE * slope)):
            return False
    return not any(_hidden(node, constants, x) for node in walk(expression))


def _values(node: Expression, constants: Sequence[float], x: Mapping[str, Floats]) -> Floats:
    shape = next(iter(x.values())).shape
    with np.errstate(all="ignore"):
        return np.asarray(
            np.broadcast_to(evaluate_numpy(node, dict(x), list(constants)), shape), dtype=np.float64
        )


def _far(a: Floats, b: Floats, most: float) -> bool:
    """Whether some value changes by more than ``most``, or is lost."""
    return not bool((np.abs(a - b) <= most).all())


def _hidden(node: Expression, constants: Sequence[float], x: Mapping[str, Floats]) -> bool:
    """Whether a part of the formula is constant to round-off, or an angle turns faster than the points resolve."""
    if not isinstance(node, Call) or not variables(node):
        return False
    varying = [name for name in variables(node) if np.ptp(x[name]) > 0]
    if varying:
        values = _values(node, constants, x)
        size = float(np.abs(values).max())
        if float(np.ptp(values)) <= _ROUND_OFF * size:
            return True
    if node.operator not in _TURNING:
        return False
    [angle] = node.args
    here = _values(angle, constants, x)
    for name in varying:
        gap = spacing_of(x[name])
        turned = np.abs(_values(angle, constants, {**x, name: x[name] + MOVE}) - here) / MOVE
        if float(np.median(turned)) > math.pi / gap:
            return True
    return False
