"""Structures between memory and files: what a notebook has in hand, and what it gets back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.errors import MissingPartError, UnknownNameError, UsageError

Structures = Any
"""Paths, pymatgen Structures or ASE Atoms: one of them or several."""

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
    grouped = {str(rows["structure_id"][0]): rows for rows in atoms.partition_by("structure_id")}
    return {
        name: (
            [list(cells[name][k : k + 3]) for k in (0, 3, 6)],
            grouped[name]["element"].to_list(),
            grouped[name].select("frac_x", "frac_y", "frac_z").to_numpy(),
        )
        for name in ids
    }


def ids_of(structures: str | Sequence[str] | pl.DataFrame) -> list[str]:
    """Structure ids of an id, several, or a frame with a column ``structure_id``. Raises UsageError."""
    if isinstance(structures, str):
        return [structures]
    if isinstance(structures, pl.DataFrame):
        if "structure_id" not in structures.columns:
            raise UsageError("the frame has no column structure_id; db.structures() gives one")
        return structures["structure_id"].to_list()
    return [str(name) for name in structures]


def as_ase(db: Database, ids: Sequence[str]) -> list[Any]:
    """ASE Atoms, periodic along a and b. Raises MissingPartError without ase."""
    try:
        from ase import Atoms
    except ImportError as cause:
        raise MissingPartError("ASE Atoms need ase: pip install 'defectdb[ase]'") from cause
    return [
        Atoms(
            symbols=elements,
            cell=lattice,
            scaled_positions=frac,
            pbc=(True, True, False),
            info={"structure_id": name},
        )
        for name, (lattice, elements, frac) in atoms_of(db, ids).items()
    ]


def as_pymatgen(db: Database, ids: Sequence[str]) -> list[Any]:
    """pymatgen Structures. Raises MissingPartError without pymatgen."""
    try:
        from pymatgen.core import Structure
    except ImportError as cause:
        raise MissingPartError("pymatgen Structures need pymatgen: pip install 'defectdb[vasp]'") from cause
    return [
        Structure(lattice, elements, frac, properties={"structure_id": name})
        for name, (lattice, elements, frac) in atoms_of(db, ids).items()
    ]


def files_of(structures: Structures, folder: Path) -> list[Path]:
    """Paths as they are; structures in memory as POSCAR files in a folder that goes away."""
    several = (
        isinstance(structures, Iterable)
        and not isinstance(structures, str)
        and not _is_structure(structures)
        and not _is_table(structures)
    )
    paths = []
    for number, item in enumerate(structures if several else [structures]):
        if isinstance(item, str | Path):
            paths.append(Path(item))
        elif hasattr(item, "get_scaled_positions") and getattr(item, "calc", None) is not None:
            paths = list(dict.fromkeys([*paths, _with_energy(item, folder / "atoms.db")]))
        elif _is_table(item):
            paths.append(folder / f"table-{number:05}.csv")
            paths[-1].write_text(_csv(item), encoding="utf-8")
        elif _is_structure(item):
            paths.append(folder / f"structure-{number:05}.vasp")
            paths[-1].write_text(_poscar(item), encoding="utf-8")
        else:
            raise UsageError(
                f"{type(item).__name__} is no structure; give paths, pymatgen Structures, ASE Atoms or a table"
            )
    return paths


def _is_structure(item: Any) -> bool:
    return hasattr(item, "get_scaled_positions") or (
        hasattr(item, "frac_coords") and hasattr(item, "lattice")
    )


def _with_energy(atoms: Any, path: Path) -> Path:
    """Append Atoms with what their calculator found to an ASE database; its path."""
    from ase.db import connect

    with connect(str(path), type="db") as rows:
        rows.write(atoms, **{key: value for key, value in atoms.info.items() if key == "structure_id"})
    return path


def _is_table(item: Any) -> bool:
    return hasattr(item, "write_csv") or hasattr(item, "to_csv")


def _csv(table: Any) -> str:
    """A polars or pandas frame as CSV text."""
    return str(table.write_csv()) if hasattr(table, "write_csv") else str(table.to_csv(index=False))


def _poscar(item: Any) -> str:
    if hasattr(item, "get_scaled_positions"):  # ASE Atoms
        lattice, symbols, frac = item.cell[:], item.get_chemical_symbols(), item.get_scaled_positions()
    else:
        lattice, symbols, frac = item.lattice.matrix, [site.specie.symbol for site in item], item.frac_coords
    atoms = sorted(range(len(symbols)), key=lambda i: symbols[i])
    kinds = sorted(set(symbols))
    counts = " ".join(str(symbols.count(kind)) for kind in kinds)
    rows = [*lattice, None, *(frac[i] for i in atoms)]
    lines = [
        f"{' '.join(kinds)}\n{counts}\nDirect" if r is None else " ".join(f"{x:.12f}" for x in r)
        for r in rows
    ]
    return "\n".join(["structure", "1.0", *lines, ""])
