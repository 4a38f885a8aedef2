"""Hashes of the distances and constants in disguise are told from formulas."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.engine.safety.steady import is_steady, spacing_of, steepest
from defectdb.expressions.expression import from_prefix

RNG = np.random.default_rng(5)
X = {name: RNG.choice(np.arange(3.0, 12.0, 0.4), 200) for name in ("r12", "r13", "r23")}


@pytest.mark.parametrize(
    ("text", "constants", "steady"),
    [
        ("mul c0 exp neg mul c1 add r12 r13", (0.7, 0.4), True),
        ("mul c0 mul cos mul c1 r12 exp neg r23", (0.7, 2.0), True),
        (  # a hash of the distances that a search once published
            "mul c0 mul exp mul c1 r23 mul cos add c2 mul c3 r13 cos mul c4 r12",
            (-4.16e6, -3.0, 8.5099e5, 5.5674e5, 1.1609e5), False,
        ),
        ("tanh sub c0 square add c1 r13", (-0.7291, -3.2397e8), False),  # and a constant in disguise
        ("mul c0 cos mul c1 r12", (1e-3, 40.0), False),  # faster than the points lie
        ("sub mul c0 r12 mul c1 r12", (1e6 + 0.01, 1e6), False),  # lost with the seventh digit
        ("mul c0 tanh mul c1 sub r12 c2", (0.3, 2000.0, 5.01), True),  # a step between the points moves none of them
    ],
)  # fmt: skip
def test_formulas_that_rounding_or_a_small_move_would_change_are_refused(
    text: str, constants: tuple[float, ...], *, steady: bool
) -> None:
    tree = from_prefix(text.split())
    slope = steepest(X, np.array([0.0, 0.5]))
    assert is_steady(tree, constants, X, slope) is steady


def test_the_spacing_is_the_gap_between_neighbours() -> None:
    assert spacing_of(X["r12"]) == pytest.approx(0.4)
    assert steepest(X, np.array([-0.1, 0.3])) == pytest.approx(1.0)
