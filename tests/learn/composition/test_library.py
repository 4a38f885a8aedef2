"""The functions that a law may add, at whole numbers of defects."""

from __future__ import annotations

import numpy as np
import pytest

from defectdb.learn.composition.library import (
    counting_texts,
    electron_texts,
    function_of,
    product_texts,
    regime_texts,
    usable,
)

A, B = np.array([0.0, 0, 0, 1, 1, 2, 2, 3, 5]), np.array([0.0, 1, 4, 0, 2, 1, 4, 2, 0])
VARIABLES = {"n": A + B, "sites": np.full(9, 100.0), "n_vac_mo": A, "n_vac_s": B}
KINDS = ("Vac_Mo", "Vac_S")


def test_a_kind_counts_by_concentration_presence_saturation_and_parity() -> None:
    share, here, few, odd = (function_of(t, VARIABLES).values for t in counting_texts(KINDS, 100.0)[0])
    assert share == pytest.approx(A / 100)
    assert list(here) == list(np.where(A > 0, 1.0, 0.0)), "exact in double precision"
    assert few == pytest.approx(A / (A + 1))
    assert odd == pytest.approx(np.where(A % 2 == 1, -1.0, 1.0))


def test_charges_of_two_kinds_of_vacancies_are_tried_in_whole_ratios() -> None:
    size, unequal, sign = (function_of(t, VARIABLES).values for t in electron_texts(KINDS)[3:6])
    q = A - 2 * B
    assert size == pytest.approx(np.abs(q) / 100)
    assert list(unequal) == list(np.where(q == 0, 0.0, 1.0))
    assert list(np.sign(sign)) == list(np.sign(q))
    assert electron_texts(("W_Mo",)) == []


def test_regimes_are_exact_indicators() -> None:
    found = [function_of(text, VARIABLES).values for text in regime_texts("n_vac_mo", "n_vac_s")]
    wanted = [
        (A == 0) & (B == 0), (A == 0) & (B > 0), A == 0, A == 1, A == 2, A >= 2, A >= 3, A > 0,
    ]  # fmt: skip
    for values, flags in zip(found, wanted, strict=True):
        assert values == pytest.approx(flags.astype(float), abs=1e-15)


def test_what_does_not_vary_or_says_the_same_as_a_shorter_one_is_left_out() -> None:
    texts = ["n_vac_mo", "div n_vac_mo sites", "sites", "log n_vac_mo", "mul n_vac_mo n_vac_s"]
    with np.errstate(divide="ignore"):
        functions = [function_of(text, VARIABLES) for text in texts]
    assert [f.tokens for f in usable(functions)] == [1, 3]


def test_products_are_of_different_kinds() -> None:
    groups = counting_texts(KINDS, 100.0)
    assert len(product_texts(groups)) == 2 + 4 * 4
