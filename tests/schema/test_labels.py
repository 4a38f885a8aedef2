"""Defect and pair labels in the notations people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectdb.errors import AmbiguousLabelError, LabelError
from defectdb.schema.labels import (
    ELEMENTS,
    DefectKind,
    canonical_label,
    canonical_pair,
    defect_label,
    is_label,
    join_labels,
    parse_defect,
    split_label,
    sql_identifier,
    stored_defect,
    without_charge,
)


@pytest.mark.parametrize(
    ("text", "label"),
    [("Vac_Mo", "Vac_Mo"), ("v_Mo", "Vac_Mo"), ("Va_Mo", "Vac_Mo"), ("VAC_S", "Vac_S"),
     ("W_Mo", "W_Mo"), (" Se_S ", "Se_S"), ("Int_S", "Int_S"), ("i_S", "Int_S"), ("Ad_Li", "Ad_Li"),
     ("I_Te", "I_Te"), ("Vac_S^-1", "Vac_S^-1"), ("v_S^1-", "Vac_S^-1"), ("Vac_S^-", "Vac_S^-1"),
     ("W_Mo^2", "W_Mo^+2"), ("Vac_S^0", "Vac_S"), ("VA_Mo", "Vac_Mo")],
)  # fmt: skip
def test_every_accepted_notation_has_one_canonical_form(text: str, label: str) -> None:
    assert str(parse_defect(text)) == label


def test_v_is_vanadium_where_the_database_has_vanadium_on_that_site() -> None:
    assert str(parse_defect("V_Mo", {"V_Mo", "Vac_Mo"})) == "V_Mo"
    assert parse_defect("V_Mo", {"V_Mo"}).kind is DefectKind.SUBSTITUTION
    assert str(parse_defect("v_Mo", {"V_Mo"})) == "Vac_Mo"
    assert str(parse_defect("V_Mo^-1", {"V_Mo"})) == "V_Mo^-1"


@pytest.mark.parametrize("known", [(), {"V_W", "Vac_Mo"}])
def test_v_without_vanadium_on_that_site_asks_for_the_vacancy_by_name(known: set[str]) -> None:
    with pytest.raises(AmbiguousLabelError, match="write Vac_Mo for the vacancy"):
        parse_defect(" V_Mo", known)
    with pytest.raises(AmbiguousLabelError, match="write Vac_Mo"):
        canonical_pair("V_Mo-Vac_S", known)


def test_a_stored_label_is_read_as_it_was_written() -> None:
    assert stored_defect("V_Mo").kind is DefectKind.SUBSTITUTION
    assert stored_defect("Vac_Mo").kind is DefectKind.VACANCY


def test_charges_in_a_complex_are_those_of_its_defects() -> None:
    assert canonical_pair("W_Mo-Vac_S^-1") == "Vac_S^-1-W_Mo"
    assert split_label("Vac_S^-1-W_Mo^+2-Vac_S^-") == ["Vac_S^-1", "W_Mo^+2", "Vac_S^-"]
    assert without_charge("Vac_S^-1-W_Mo^+2") == ("Vac_S-W_Mo", 1)
    assert without_charge("Vac_S-W_Mo") == ("Vac_S-W_Mo", None)
    assert without_charge("Vac_S^0") == ("Vac_S", 0)


@pytest.mark.parametrize("text", ["Vac_Mo-Vac_S", "V_W", "Int_S", "Vac_S^-1", "W_Mo", "Vac_S-Vac_S-W_Mo"])
def test_labels_as_stored_are_labels(text: str) -> None:
    assert is_label(text)


@pytest.mark.parametrize(
    "text",
    [
        "Vac_S-Vac_Mo",
        "v_S",
        "",
        "-",
        "W_Mo ",
        'a"(r) AS 1; COPY x TO y; --',
        "Vac_S\n",
        "Vac_S^1",
        "Vac_S^+0",
        "S_S",
    ],
)
def test_text_that_is_no_label_as_stored_is_none(text: str) -> None:
    assert not is_label(text)


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
    read = stored_defect(label)
    assert str(read) == label
    assert read.kind == kind


@given(st.lists(st.sampled_from(["Vac_Mo", "Vac_S", "W_Mo", "Se_S"]), min_size=1, max_size=4))
def test_a_complex_has_one_label_and_one_macro_name(parts: list[str]) -> None:
    label = join_labels(parts)
    assert canonical_label("-".join(reversed(parts))) == label
    assert sql_identifier(label).split("__") == sorted(parts)
