"""Angles of sines and cosines are written within a period, and cosines of positive multiples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from defectdb.engine.finishing.simplify import simplify
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_prefix, to_prefix

R = np.linspace(0.7, 14.3, 40)


@pytest.mark.parametrize(
    ("prefix", "constants", "simple", "kept"),
    [
        ("cos add c0 r", (-14.6414,), "cos add c0 r", (-14.6414 + 4 * math.pi,)),
        ("sin sub c0 r", (7.0,), "sin sub c0 r", (7.0 - 2 * math.pi,)),
        ("cos add c0 r", (3.0,), "cos add c0 r", (3.0,)),
        (
            "sin mul c0 add c1 r",
            (-2.297, 14.54),
            "sin mul c0 add c1 r",
            (-2.297, 14.54 - 10 * math.pi / 2.297),
        ),
        ("cos mul c0 r", (-2.0,), "cos mul c0 r", (2.0,)),
        ("cos mul -2 r", (), "cos mul 2 r", ()),
        ("cos div c0 r", (-2.0,), "cos div c0 r", (2.0,)),
        ("cos add 8 r", (), "cos add 8 r", ()),  # a number was chosen, not fitted
        ("cos add c0 r", (1e12,), "cos add c0 r", (1e12,)),  # whose turns cannot be counted
    ],
)
def test_fitted_angles_lie_within_a_period(prefix, constants, simple, kept):
    expression = from_prefix(prefix.split())
    found, values = simplify(expression, constants)
    assert to_prefix(found) == simple.split()
    assert values == pytest.approx(kept, rel=1e-12)
    before, after = (evaluate_numpy(e, {"r": R}, c) for e, c in ((expression, constants), (found, values)))
    assert np.allclose(before, after, rtol=0, atol=1e-11)
