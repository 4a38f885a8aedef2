"""Defect and pair labels in the notations people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectdb.errors import LabelError
from defectdb.schema.labels import (
    ELEMENTS,
    DefectKind,
    canonical_label,
    canonical_pair,
    defect_label,
    join_labels,
    parse_defect,
    sql_identifier,
)


@pytest.mark.parametrize(
    ("text", "label"),
    [("Vac_Mo", "Vac_Mo"), ("v_Mo", "Vac_Mo"), ("V_Mo", "Vac_Mo"), ("Va_Mo", "Vac_Mo"), ("VAC_S", "Vac_S"),
     ("W_Mo", "W_Mo"), (" Se_S ", "Se_S"), ("Int_S", "Int_S"), ("i_S", "Int_S"), ("Ad_Li", "Ad_Li"),
     ("I_Te", "I_Te")],
)  # fmt: skip
def test_every_accepted_notation_has_one_canonical_form(text: str, label: str) -> None:
    assert str(parse_defect(text)) == label


def test_v_is_vanadium_where_vanadium_is_at_hand() -> None:
    assert str(parse_defect("V_Mo", {"Mo", "S", "V"})) == "V_Mo"
    assert parse_defect("V_Mo", {"Mo", "S", "V"}).kind is DefectKind.SUBSTITUTION
    assert str(parse_defect("v_Mo", {"Mo", "S", "V"})) == "Vac_Mo"


@pytest.mark.parametrize(
    ("text", "why"),
    [("Mo", "KIND_ELEMENT"), ("Vac_Xx", "'Xx' is no element"), ("Foo_S", "neither an element nor one of"),
     ("S_S", "another element"), ("", "KIND_ELEMENT"), ("Vac_Mo_S", "KIND_ELEMENT")],
)  # fmt: skip
def test_text_that_is_no_label_says_why_and_what_would_be_right(text: str, why: str) -> None:
    with pytest.raises(LabelError, match=why) as caught:
        parse_defect(text)
    assert "write Vac_Mo (vacancy)" in str(caught.value)


def test_pairs_are_the_same_in_either_order() -> None:
    assert canonical_pair("Vac_S-Vac_Mo") == canonical_pair("v_Mo - Va_S") == "Vac_Mo-Vac_S"
    assert canonical_label("W_Mo-v_S-v_S", order=3) == "Vac_S-Vac_S-W_Mo"
    with pytest.raises(LabelError, match="expected 2 defect label"):
        canonical_pair("Vac_S")


KINDS = st.sampled_from(["vacancy", "substitution", "interstitial", "adatom"])


@given(KINDS, st.sampled_from(ELEMENTS), st.sampled_from(ELEMENTS))
def test_every_defect_reads_back_from_its_label(kind: str, gone: str, come: str) -> None:
    if kind == "substitution" and gone == come:
        return
    label = defect_label(kind, gone, come)
    read = parse_defect(label, {"V"})
    assert str(read) == label
    assert read.kind == kind


@given(st.lists(st.sampled_from(["Vac_Mo", "Vac_S", "W_Mo", "Se_S"]), min_size=1, max_size=4))
def test_a_complex_has_one_label_and_one_macro_name(parts: list[str]) -> None:
    label = join_labels(parts)
    assert canonical_label("-".join(reversed(parts))) == label
    assert sql_identifier(label).split("__") == sorted(parts)
