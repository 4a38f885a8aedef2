"""What comes from a database is text in every export: no command, no link, no calculation."""

from __future__ import annotations

import polars as pl
import pytest
from support import toy_database as toy

from defectdb.db import Database
from defectdb.ingest.citations import bibtex_entries
from defectdb.query.export import is_mathematics, render

EVIL = r"r + \input{/etc/passwd}"
LINK = r"\href{javascript:alert(1)}{r}"


@pytest.mark.parametrize(
    "text", [EVIL, LINK, r"\write18{id}", "x$ \\immediate", "^^5cinput{a}", r"\begin{x}%", "a#b"]
)
def test_mathematics_that_does_more_than_formulas_is_text(text: str) -> None:
    assert not is_mathematics(text)
    frame = pl.DataFrame({"latex": [text]})
    assert f"${text}$" not in render(frame, "latex")
    assert r"\(" not in render(frame, "html")
    assert "$" + text not in render(frame, "markdown")


def test_formulas_of_every_learned_model_stay_mathematics(empty_database: Database) -> None:
    toy.fill(empty_database)
    toy.publish_energy_model(empty_database)
    texts = empty_database.frame("SELECT latex FROM formulas")["latex"].to_list()
    assert texts
    assert all(map(is_mathematics, texts))
    more = [
        r"\frac{c_{0} e^{- r}}{r_{12}^{2}}",
        r"\sqrt{\Delta z} \cos{\left(r\right)}",
        r"\tanh{\left(r \right)}",
    ]
    assert all(map(is_mathematics, more))


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
     ('+HYPERLINK("x")', "\"'+HYPERLINK(\"\"x\"\")\""), ("-0.5*exp(-r/2)", "-0.5*exp(-r/2)"), ("Vac_S", "Vac_S"),
     ("-1", "-1")],
)  # fmt: skip
def test_cells_that_a_spreadsheet_would_calculate_are_marked_as_text(cell: str, written: str) -> None:
    assert render(pl.DataFrame({"a": [cell]}), "csv") == f"a\n{written}\n"


def test_numbers_stay_numbers_in_csv() -> None:
    assert render(pl.DataFrame({"a": [-1.5]}), "csv") == "a\n-1.5\n"


def test_bibtex_holds_no_markup_of_the_data() -> None:
    row = {
        "dataset_id": "a_b",
        "citation": r"}\input{x} 50% & more",
        "doi": "10.1/x}, note={\\evil",
        "licence": None,
    }
    [entry] = bibtex_entries(pl.DataFrame([row], schema_overrides={"licence": pl.String}))
    assert r"title = {a\_b}" in entry
    assert r"note = {inputx 50\% \& more}" in entry
    assert "doi = {10.1/xnoteevil}" in entry
