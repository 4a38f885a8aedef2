"""One sentence for every pair kernel: its law, range and tail, decay lengths and wavelengths with their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, complexity, from_ast, variables
from defectdb.expressions.families import Shape, law_of, terms_of
from defectdb.expressions.texts import with_error

_FAR = (1e3, 1.37e3, 1e4)  # angstrom: where the tail is read off
_STEP = 1e-5  # relative change of a constant for derivatives
_SILENT = 1e-6  # eV: less is nothing


def kernel_sentence(row: Mapping[str, Any]) -> str:
    """What a formula's row says in words. ``row`` has ast, constants, constant_errors, r_min, r_max and cutoff."""
    tree, constants = from_ast(row["ast"]), tuple(row["constants"])
    errors = tuple(row["constant_errors"] or ())
    name = law_of(tree, constants)
    if set(variables(tree)) - {"r"}:
        return f"A formula of {complexity(tree)} tokens in {', '.join(variables(tree))}."
    first = f"{name[0].upper()}{name[1:]}" if name else f"No named law, {complexity(tree)} tokens"
    if not variables(tree):
        first = "A constant"
    parts = [f"{first}, learned from {row['r_min']:.2f} to {row['r_max']:.2f} angstrom"]
    parts += _lengths(tree, constants, errors)
    parts.append(_tail(tree, constants, errors, row["cutoff"]))
    return "; ".join(parts) + "."


def _lengths(tree: Expression, constants: tuple[float, ...], errors: tuple[float, ...]) -> list[str]:
    """Decay lengths, widths, powers and wavelengths of the summands."""
    said = []
    for at, term in enumerate(terms_of(tree, constants)):
        for words, unit, measure in _MEASURES:
            value = measure(term.shape)
            if value is None:
                continue

            def of(moved: tuple[float, ...], at: int = at, measure: _Measure = measure) -> float | None:
                terms = terms_of(tree, moved)
                return measure(terms[at].shape) if at < len(terms) else None

            said.append(f"{words} {with_error(value, _propagated(of, constants, errors))}{unit}")
    return said


_Measure = Callable[[Shape], float | None]


def _decay(shape: Shape) -> float | None:
    return 1 / shape.rate if shape.whole and shape.rate > 0 else None


def _width(shape: Shape) -> float | None:
    return math.sqrt(0.5 / shape.squeeze) if shape.whole and shape.squeeze > 0 else None


def _wavelength(shape: Shape) -> float | None:
    return 2 * math.pi / shape.waves[0][0] if shape.whole and len(shape.waves) == 1 else None


def _power(shape: Shape) -> float | None:
    return -shape.power if shape.whole and shape.power < 0 and not shape.power.is_integer() else None


_MEASURES: tuple[tuple[str, str, _Measure], ...] = (
    ("decay length", " angstrom", _decay),
    ("width", " angstrom", _width),
    ("wavelength", " angstrom", _wavelength),
    ("falls with the power", "", _power),
)


def _propagated(
    of: Callable[[tuple[float, ...]], float | None], constants: tuple[float, ...], errors: Sequence[float]
) -> float | None:
    """Standard error of a function of the constants, to first order, as if they were independent; None if unknown."""
    if len(errors) != len(constants):
        return None
    total = 0.0
    for i, error in enumerate(errors):
        step = _STEP * abs(constants[i]) or _STEP
        ends = [of((*constants[:i], constants[i] + sign * step, *constants[i + 1 :])) for sign in (1.0, -1.0)]
        if ends[0] is None or ends[1] is None:
            return None
        total += ((ends[0] - ends[1]) / (2 * step) * error) ** 2
    return math.sqrt(total)


def _tail(
    tree: Expression, constants: tuple[float, ...], errors: tuple[float, ...], cutoff: float | None
) -> str:
    """What becomes of the kernel at large distance."""
    if cutoff is not None:
        return f"nothing from {cutoff:g} angstrom on"

    def values(moved: tuple[float, ...]) -> list[float]:
        with np.errstate(all="ignore"):
            found = np.broadcast_to(evaluate_numpy(tree, {"r": np.array(_FAR)}, moved), (len(_FAR),))
        return [float(x) for x in found]

    near, middle, far = values(constants)
    if not math.isfinite(far) or abs(middle) > 10 or abs(far) > 10:
        return "grows without limit"
    falls = near * middle > 0 and middle * far > 0 and abs(far) < 0.5 * abs(middle) < 0.5 * abs(near)
    if falls:  # a power of the distance
        return "tends to 0"
    if max(abs(near - far), abs(middle - far)) > max(1e-2 * abs(far), 1e-4):
        return "does not settle at large distance"
    if abs(far) < _SILENT:
        return "tends to 0"
    error = _propagated(lambda moved: values(moved)[-1], constants, errors)
    return f"tends to {with_error(1000 * far, None if error is None else 1000 * error)} meV"
