"""The atoms of stored structures: those of the host on its ideal sites, with the defects in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from defectdb.db.connection import Database
from defectdb.errors import UnknownNameError

_ATOMS = """
    SELECT s.structure_id, coalesce(d.element_to, t.element) AS element, t.frac_x, t.frac_y, t.frac_z, t.site_index
    FROM structures AS s
    JOIN host_sites AS t USING (host_id)
    LEFT JOIN defects AS d
        ON d.structure_key = s.structure_key AND d.site_index = t.site_index AND d.kind IN ('vacancy', 'substitution')
    WHERE s.structure_id IN (SELECT unnest(CAST($ids AS VARCHAR[]))) AND coalesce(d.kind, '') <> 'vacancy'
    UNION ALL
    SELECT d.structure_id, d.element_to, d.frac_x, d.frac_y, d.frac_z, 1000000 + d.idx
    FROM defects AS d
    WHERE d.structure_id IN (SELECT unnest(CAST($ids AS VARCHAR[]))) AND d.kind IN ('interstitial', 'adatom')
    ORDER BY structure_id, site_index
"""
_CELLS = """
    SELECT s.structure_id, s.charge, h.a_x, h.a_y, h.a_z, h.b_x, h.b_y, h.b_z, h.c_x, h.c_y, h.c_z
    FROM structures AS s JOIN hosts AS h USING (host_id)
    WHERE s.structure_id IN (SELECT unnest(CAST($ids AS VARCHAR[])))
"""


def atoms_of(db: Database, ids: Sequence[str]) -> dict[str, tuple[list[list[float]], list[str], Any]]:
    """Lattice [3, 3] (angstrom), elements and fractional coordinates [atom, 3] of stored structures, by id.

    Atoms stand on the host's ideal sites, where models see them; relaxed positions are not stored. Raises
    UnknownNameError.
    """
    atoms = db.frame(_ATOMS, {"ids": list(ids)})
    cells = {row[0]: row[2:] for row in db.frame(_CELLS, {"ids": list(ids)}).iter_rows()}
    for name in ids:
        if name not in cells:
            some = db.frame("SELECT structure_id FROM structures ORDER BY ALL LIMIT 20")["structure_id"]
            raise UnknownNameError("structure", name, some.to_list())
    elements, frac = atoms["element"].to_list(), atoms.select("frac_x", "frac_y", "frac_z").to_numpy()
    rows = _rows_of_each(atoms["structure_id"])
    return {
        name: ([list(cells[name][k : k + 3]) for k in (0, 3, 6)], elements[rows[name]], frac[rows[name]])
        for name in ids
    }


def _rows_of_each(sorted_names: pl.Series) -> dict[str, slice]:
    """The rows of every name, by name."""
    counts = sorted_names.rle().struct.unnest()
    ends = counts["len"].cum_sum()
    return {
        name: slice(end - n, end) for name, n, end in zip(counts["value"], counts["len"], ends, strict=True)
    }
