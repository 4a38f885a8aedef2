"""Laws are recognised however they are written, and nothing else is called one."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.engine.seeds.physical_laws import LAWS
from defectdb.expressions.expression import from_prefix
from defectdb.expressions.families import family_of, law_of, terms_of

CONSTANTS = (0.7, 1.3, 0.4, 0.3, 0.2)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_law_of_the_field_is_recognised_in_its_own_skeleton(law) -> None:  # type: ignore[no-untyped-def]
    assert law_of(law.skeleton, CONSTANTS) == law.name


@pytest.mark.parametrize(
    ("text", "constants", "name"),
    [
        ("sub c0 div c1 exp mul c2 r", (0.1, 3.0, 2.0), "exponential"),
        ("div c0 pow c1 r", (0.1, 3.0), "exponential"),
        ("mul c0 square exp sub c1 r", (0.1, 3.0), "exponential"),
        ("mul c0 add exp neg r inv cube r", (-2.0,), "dipolar 1/r^3 + exponential"),
        ("div c0 square square r", (2.0,), "power law"),
        ("div c0 mul r exp div r c1", (2.0, 3.0), "Yukawa"),
        ("mul c0 damped mul c1 r mul c2 r", (2.0, 0.3, 1.0), "damped oscillation"),
        ("div sin mul c0 r square r", (2.0,), "Friedel (2D)"),
        ("add mul c0 exp mul c1 r mul c2 exp mul c3 r", (2.0, -0.8, -3.0, -0.4), "Morse"),
        ("mul c0 exp mul c1 r", (2.0, 0.3), None),
        ("mul c0 tanh r", (2.0,), None),
        ("mul c0 r", (2.0,), None),
        ("add mul c0 tanh r inv r", (2.0,), None),
        ("inv add c0 exp r", (2.0,), None),
        ("mul cos r cos mul c0 r", (2.0,), None),
    ],
)
def test_a_law_is_told_by_what_it_is_and_not_by_how_it_is_written(
    text: str, constants: tuple[float, ...], name: str | None
) -> None:
    assert law_of(from_prefix(text.split()), constants) == name


def test_the_parts_of_a_law_are_read_off_its_values() -> None:
    text = "mul c0 mul exp neg div r c1 cos add c2 mul c3 r"
    [term] = terms_of(from_prefix(text.split()), (-1, 2.5, 0.2, 1.5))
    assert term.sign == -1
    assert term.shape.rate == pytest.approx(0.4)
    assert term.shape.waves[0] == pytest.approx((1.5, 0.2))


@pytest.mark.parametrize(
    ("text", "constants", "family"),
    [
        ("mul c0 tanh add c1 r", (1.0, 2.0), "tanh(add(c, r))"),
        ("mul tanh sub r c0 c1", (5.0, -2.0), "tanh(add(c, r))"),
        ("neg div tanh add c0 r c1", (5.0, -2.0), "tanh(add(c, r))"),
        ("add c0 mul c1 tanh add c2 r", (7.0, 1.0, 2.0), "tanh(add(c, r))"),
        ("add mul c0 tanh r mul c1 cos r", (1.0, 2.0), "cos(r) + tanh(r)"),
        ("sub sin r mul c0 tanh mul c1 r", (1.0, 2.0), "cos(r) + tanh(r)"),
        ("div c0 add r sin r", (1.0,), "div(c, add(cos(r), r))"),
        ("add c0 div c1 r", (1.0, 2.0), "inverse distance"),
        ("c0", (1.0,), "c"),
    ],
)
def test_a_family_is_the_formula_without_its_numbers_signs_and_order(
    text: str, constants: tuple[float, ...], family: str
) -> None:
    assert family_of(from_prefix(text.split()), constants) == family


def test_small_terms_are_no_part_of_a_family() -> None:
    r = np.linspace(3.0, 15.0, 12)
    text = from_prefix(["add", "div", "c0", "square", "r", "mul", "c1", "tanh", "cos", "r"])
    assert family_of(text, (1.0, 1e-4), r) == "elastic 1/r^2"
    assert family_of(text, (1.0, 1e-1), r) == "elastic 1/r^2 + tanh(cos(r))"
    assert family_of(text, (1.0, 1e-4)) == "elastic 1/r^2 + tanh(cos(r))"
