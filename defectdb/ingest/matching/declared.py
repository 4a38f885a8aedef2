"""Compare the defects found in a structure with those that its source declares."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from defectdb.ingest.matching.defects import Found, joined_labels

CONTRADICTION = "other composition than declared"
DIFFERENCE = "other defects than declared"


def undeclared(declared: pl.Series, found: Found) -> dict[int, tuple[str, str]]:
    """Structures whose defects are not the declared ones: kind of the difference, and both lists.

    ``declared`` holds labels joined by '+', null where the source does not say. The kind is CONTRADICTION where
    composition or number of defects differ: then structure or declaration is wrong. It is DIFFERENCE where both agree
    and only the places do not: then the structure is right.
    """
    labels = joined_labels(found)
    differs: NDArray[np.bool_] = ((declared != labels) & declared.is_not_null()).fill_null(False).to_numpy()
    return {
        i: (
            DIFFERENCE if _change(labels[i]) == _change(declared[i]) else CONTRADICTION,
            f"found {labels[i] or 'none'}, declared {declared[i] or 'none'}",
        )
        for i in np.flatnonzero(differs).tolist()
    }


def _change(labels: str) -> tuple[int, dict[str, int]]:
    """How many defects, and how many atoms of each element they add."""
    added: Counter[str] = Counter()
    names = [label for label in labels.split("+") if label]
    for name in names:
        head, _, element = name.partition("_")
        if head in ("Int", "Ad"):
            added[element] += 1
            continue
        added[element] -= 1
        if head != "Vac":
            added[head] += 1
    return len(names), {element: n for element, n in added.items() if n}
