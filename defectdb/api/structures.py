"""Structures between memory and files: what a notebook has in hand, and what it gets back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from defectdb.db import Database
from defectdb.db.atoms import atoms_of
from defectdb.errors import MissingPartError, UsageError

Structures = Any
"""Paths, pymatgen Structures or ASE Atoms: one of them or several."""


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
