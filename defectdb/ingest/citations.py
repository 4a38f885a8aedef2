"""Write BibTeX for the datasets: the papers behind the public sets, and one entry for any other."""

from __future__ import annotations

import re

import polars as pl

from defectdb.schema.doi import plain_doi

PAPERS: dict[str, str] = {
    "10.1038/s41699-023-00369-1": """@article{Huang2023,
  author  = {Huang, Pengru and others},
  journal = {npj 2D Materials and Applications},
  volume  = {7},
  pages   = {6},
  year    = {2023},
  doi     = {10.1038/s41699-023-00369-1}
}

@article{Kazeev2023,
  author  = {Kazeev, Nikita and others},
  journal = {npj Computational Materials},
  volume  = {9},
  pages   = {113},
  year    = {2023},
  doi     = {10.1038/s41524-023-01062-z}
}""",
}
"""Entries by the DOI that a dataset carries; the public sets ask for both papers."""


def bibtex_entries(datasets: pl.DataFrame) -> list[str]:
    """One entry per paper or dataset for rows with dataset_id, citation, doi and licence."""
    entries: dict[str, str] = {}
    for row in datasets.select("dataset_id", "citation", "doi", "licence").iter_rows(named=True):
        if row["doi"] in PAPERS:
            entries[row["doi"]] = PAPERS[row["doi"]]
        else:
            entries[row["dataset_id"]] = _misc(row)
    return list(entries.values())


def _misc(row: dict[str, str | None]) -> str:
    """A @misc entry; what comes from the data is text in it and no markup."""
    key = re.sub(r"[^A-Za-z0-9]+", "", str(row["dataset_id"])) or "dataset"
    note = row["citation"] or row["licence"]
    fields = {"title": _text(row["dataset_id"]), "note": _text(note), "doi": plain_doi(row["doi"] or "")}
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"


def _text(text: str | None) -> str:
    """Text without braces and backslashes, LaTeX's other special characters escaped."""
    return re.sub(r"([&%$#_])", r"\\\1", re.sub(r"[{}\\^~]", "", text or ""))
