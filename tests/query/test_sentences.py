"""What `formulas show` says of a kernel in words."""

from __future__ import annotations

import re

import pytest

from defectdb.expressions.expression import from_prefix, to_ast
from defectdb.expressions.texts import to_their_errors, with_error
from defectdb.query.sentences import kernel_sentence


def row(text: str, constants: list[float], errors: list[float] | None, cutoff: float | None = None) -> dict:  # type: ignore[type-arg]
    return {
        "ast": to_ast(from_prefix(text.split())), "constants": constants, "constant_errors": errors,
        "r_min": 2.5, "r_max": 12.0, "cutoff": cutoff,
    }  # fmt: skip


def test_a_law_is_said_with_its_lengths_and_their_errors() -> None:
    said = kernel_sentence(row("add c0 mul c1 exp mul c2 r", [0.004, 1.5, -0.5], [0.0002, 0.1, 0.01]))
    assert said == (
        "Exponential, learned from 2.50 to 12.00 angstrom; decay length 2.000 +- 0.040 angstrom; "
        "tends to 4.00 +- 0.20 meV."
    )  # 1 / 0.5, and 0.01 / 0.5^2


def test_a_wavelength_is_said() -> None:
    said = kernel_sentence(row("div cos add mul c0 r c1 square r", [1.5, 0.2], None))
    assert "Friedel (2D)" in said
    assert "wavelength 4.189 angstrom" in said
    assert said.endswith("tends to 0.")


@pytest.mark.parametrize(
    ("text", "constants", "cutoff", "pattern"),
    [
        ("mul c0 tanh r", [0.1], None, r"No named law, 4 tokens, .*tends to 100 meV"),
        ("mul c0 cos r", [0.1], None, r"does not settle"),
        ("div c0 r", [0.3], None, r"Inverse distance.*tends to 0\.$"),
        ("mul c0 r", [0.1], None, r"grows without limit"),
        ("exp neg r", [], 7.0, r"nothing from 7 angstrom on"),
    ],
)
def test_tails_are_said_as_they_are(
    text: str, constants: list[float], cutoff: float | None, pattern: str
) -> None:
    assert re.search(pattern, kernel_sentence(row(text, constants, None, cutoff)))


def test_numbers_have_the_digits_that_their_errors_leave() -> None:
    assert with_error(2.03712, 0.0152) == "2.037 +- 0.015"
    assert with_error(1234.5, 32.0) == "1234 +- 32"
    assert with_error(0.5, None) == "0.5"
    assert to_their_errors((2.03712, 0.123456), (0.0152, 5.0)) == (2.037, 0.1235)
