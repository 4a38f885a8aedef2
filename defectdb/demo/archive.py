"""Write the computed structures as a zip archive in the 2DMD layout, the same bytes for the same request."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.demo.configurations import thirds
from defectdb.demo.dataset import (
    COMPOSITIONS,
    Structures,
    compute,
    descriptor_id,
    potentials,
    rounded,
    rows,
)
from defectdb.demo.tightbinding import DEFECTS, KINDS, SUBLATTICES, Integers, pristine

NOTE = "tight-binding model, not DFT"
BASE = "BN_tb"
"""Name of the host: not BN, so that model energies never mix with calculations of real h-BN."""
LATTICE = 2.50  # angstrom, the monolayer of Galvani et al. (see tightbinding)
VACUUM = 20.0  # angstrom

_ABOUT = """# read by `defectdb ingest`
name = "demo-hBN-tight-binding-{cell}x{cell}"
title = "h-BN defects, {cell}x{cell}x1 ({note})"
functional = "{note}"
licence = "CC0 1.0; {note}"
citation = "model of h-BN computed by defectdb demo with parameters of PRB 94, 125303 (2016); {note}"
"""

_LICENCE = """The numbers in this archive come from a tight-binding model of h-BN, not from DFT and not from
experiment. They were computed by `defectdb demo` and are dedicated to the public domain (CC0 1.0).
"""

_README = """# Point defects in h-BN: {note}

Computed by `defectdb demo` for a {cell}x{cell}x1 supercell at the Gamma point: one p_z orbital per atom,
nearest-neighbour hopping, parameters of Galvani et al., Phys. Rev. B 94, 125303 (2016), on-site energy of
carbon between those of boron and nitrogen. No relaxation, no spin, no interaction between electrons.

`energy` is the band energy in eV; `elements.csv` holds the energy of each free atom's pi electrons.
Every inequivalent structure with one or two defects is here, and a sample (seed {seed}) of those with three.
The host is called {base} so that these energies never mix with calculations of real h-BN.
Demonstrations and tests are what this archive is for: do not cite its numbers as properties of h-BN.
"""

Rows = Iterable[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What was written: ``counts`` holds how many structures have one, two, ... defects."""

    path: Path
    cell: int
    counts: dict[int, int]

    @property
    def n_structures(self) -> int:
        """All structures together."""
        return sum(self.counts.values())


def write_archive(path: Path, *, cell: int = 8, triples: int = 40, seed: int = 0) -> ArchiveReport:
    """Compute the data set and write it as a zip archive, replacing a file of that name.

    ``cell``: unit cells along each axis, at least 3; ``triples``: structures sampled per composition of three
    defects. The bytes depend on these and ``seed`` alone. Raises ValueError for a smaller cell.
    """
    if cell < 3:
        raise ValueError(f"a supercell of {cell}x{cell} cannot hold three defects; ask for at least 3")
    computed = compute(cell=cell, triples=triples, seed=seed)
    about = {"note": NOTE, "cell": cell, "seed": seed, "base": BASE}
    members = {
        "README.md": _README.format(**about).encode(),
        "LICENSE": _LICENCE.encode(),
        "dataset.toml": _ABOUT.format(**about).encode(),
        "descriptors.csv": _csv(_descriptors(cell)),
        "elements.csv": _csv(_elements()),
        "initial_structures.csv": _csv(_hosts(cell)),
        f"unit_cells/{BASE}.cif": _cif(thirds(1), list(SUBLATTICES), 1).encode(),
        "defects.csv.gz": _gzip(_csv(_defects(computed))),
        "targets.csv.gz": _gzip(_csv(_targets(computed))),
        "initial.tar.gz": _gzip(_tar(_structures(computed))),
    }
    _zip(path, f"low_density_defects/{BASE}_model_{cell}x{cell}", members)
    counts: Counter[int] = Counter()
    for structures in computed:
        counts[len(structures.defects)] += len(structures.sites)
    return ArchiveReport(path, cell, dict(counts))


# ---------------------------------------------------------------- tables


def _descriptors(cell: int) -> Rows:
    yield "_id", "description", "base", "cell", "pbc", "defects"
    for name, labels in COMPOSITIONS.items():
        defects = []
        for defect in (DEFECTS[KINDS[label]] for label in labels):
            if defect.added is None:
                defects.append({"type": "vacancy", "element": defect.removed})
            else:
                defects.append({"type": "substitution", "from": defect.removed, "to": defect.added})
        yield (
            descriptor_id(cell, name),
            name,
            BASE,
            f"[{cell}, {cell}, 1]",
            "[True, True, False]",
            str(defects),
        )


def _elements() -> Rows:
    yield "element", "chemical_potential", "note"
    for element, energy in potentials().items():
        yield element, energy, NOTE


def _hosts(cell: int) -> Rows:
    levels = pristine(cell)
    yield "base", "cell_size", "energy", "E_1", "E_VBM"
    yield BASE, f"[{cell}, {cell}, 1]", *(rounded(v)[0] for v in (levels.energy, levels.lowest, levels.homo))


def _defects(computed: Sequence[Structures]) -> Rows:
    """The calculation's own columns; the layout has an unnamed index and an unused ``defect_id``."""
    columns = ("energy", "energy_per_atom", "fermi_level", "homo", "lumo", "homo_lumo_gap")
    yield "", "_id", "descriptor_id", "defect_id", *columns
    for index, row in enumerate(rows(computed)):
        yield index, row["_id"], row["descriptor_id"], "", *(row[column] for column in columns)


def _targets(computed: Sequence[Structures]) -> Rows:
    for index, row in enumerate(rows(computed)):
        if index == 0:
            yield list(row)
        yield list(row.values())


def _csv(table: Rows) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


# ---------------------------------------------------------------- structures


def _structures(computed: Sequence[Structures]) -> Iterator[tuple[str, str]]:
    """File name and CIF of every structure."""
    for structures in computed:
        positions = thirds(structures.cell)
        host = np.repeat(SUBLATTICES, structures.cell**2)
        put = [defect.added or "" for defect in structures.defects]
        for identifier, sites in zip(structures.identifiers, structures.sites, strict=True):
            elements = host.copy()
            elements[sites] = put
            kept = np.flatnonzero(elements != "")
            kept = kept[np.argsort(elements[kept], kind="stable")]
            yield f"{identifier}.cif", _cif(positions[kept], elements[kept].tolist(), structures.cell)


def _cif(positions: Integers, elements: Sequence[str], cell: int) -> str:
    """A CIF of atoms given in thirds of the unit cell's vectors: symmetry P1, coordinates to 8 digits."""
    counts = [f"{element}{count}" for element, count in sorted(Counter(elements).items())]
    header = f"""# {NOTE}
data_{"".join(counts)}
_symmetry_space_group_name_H-M   'P 1'
_cell_length_a   {LATTICE * cell:.8f}
_cell_length_b   {LATTICE * cell:.8f}
_cell_length_c   {VACUUM:.8f}
_cell_angle_alpha   90.00000000
_cell_angle_beta   90.00000000
_cell_angle_gamma   120.00000000
_symmetry_Int_Tables_number   1
_chemical_formula_sum   '{" ".join(counts)}'
loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1  'x, y, z'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
"""
    atoms = (
        f"  {element}  {element}{number}  1  {x:.8f}  {y:.8f}  0.50000000  1.0\n"
        for number, (element, (x, y)) in enumerate(zip(elements, positions / (3 * cell), strict=True))
    )
    return header + "".join(atoms)


# ---------------------------------------------------------------- containers


def _gzip(content: bytes) -> bytes:
    """Compressed without a time stamp or file name."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(content)
    return packed.getvalue()


def _tar(files: Iterable[tuple[str, str]]) -> bytes:
    """A tar archive whose members carry no time stamp and no owner."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files:
            member = tarfile.TarInfo(name)
            content = text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _zip(path: Path, folder: str, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}", (2020, 1, 1, 0, 0, 0)), content)
