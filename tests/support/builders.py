"""Small archives in the 2DMD layout for any host, built by means that share no code with the readers."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import os
import random
import tarfile
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("DEFECTDB_DATA", ROOT.parent / "shared" / "data"))

# host -> supercell, substitutes per element, name of its public dataset, spin-polarised
HOSTS: dict[str, tuple[tuple[int, int, int], dict[str, tuple[str, ...]], str, bool]] = {
    "MoS2": ((8, 8, 1), {"Mo": ("W",), "S": ("Se",)}, "MoS2_500", False),
    "WSe2": ((8, 8, 1), {"W": ("Mo",), "Se": ("S",)}, "WSe2_500", False),
    "BN": ((8, 8, 1), {"B": ("C",), "N": ("C",)}, "hBN_spin_500", True),
    "GaSe": ((6, 6, 1), {"Ga": ("In",), "Se": ("S",)}, "GaSe_spin_500", True),
    "InSe": ((6, 6, 1), {"In": ("Ga",), "Se": ("S",)}, "InSe_spin_500", True),
    "P": ((6, 6, 1), {"P": ("N",)}, "BP_spin_500", True),
}


def shared(*parts: str) -> Path:
    """A file of the shared data; the test is skipped where it is absent."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data are absent: {path}", allow_module_level=True)
    return path


def part_of(archive: Path, path: Path, *folders: str) -> Path:
    """A zip at ``path`` with the members below these folders of another one."""
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(path, "w") as part:
        for name in whole.namelist():
            if name.startswith(folders):
                part.writestr(name, whole.read(name))
    return path


@dataclass(frozen=True)
class Crystal:
    """A pristine supercell: lattice rows [angstrom], element and fractional place of every site."""

    lattice: np.ndarray
    elements: list[str]
    frac: np.ndarray


@dataclass(frozen=True)
class Built:
    """One structure: its defects as (site, element before, after or None), and its true formation energy."""

    structure_id: str
    defects: list[tuple[int, str, str | None]]
    formation_energy: float

    @property
    def labels(self) -> list[str]:
        return sorted(f"{after or 'Vac'}_{before}" for _, before, after in self.defects)


@dataclass
class Archive:
    """Members of one dataset by path, and what is in them. Change ``members`` to break it, then ``write``."""

    root: str
    crystal: Crystal
    structures: list[Built]
    members: dict[str, bytes] = field(default_factory=dict)
    cifs: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """As a zip where the path ends in .zip, otherwise as a folder."""
        members = {f"{self.root}/{name}": data for name, data in self.members.items()}
        members[f"{self.root}/initial.tar.gz"] = tarred(self.cifs)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in members.items():
                    archive.writestr(name, data)
            return path
        for name, data in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path


@functools.cache
def crystal(material: str, size: tuple[int, int, int]) -> Crystal:
    """The pristine supercell, expanded by pymatgen from the shared unit cell."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen says that it rounds coordinates
        cell = Structure.from_file(shared("unit_cells", f"{material}.cif"))
    cell.make_supercell(size, to_unit_cell=True)
    return Crystal(np.array(cell.lattice.matrix), [site.specie.symbol for site in cell], cell.frac_coords % 1)


def make_archive(
    material: str = "MoS2", *, structures: int = 12, defects: tuple[int, ...] = (1, 2, 3), seed: int = 0,
    density: str = "low", name: str | None = None, size: tuple[int, int, int] | None = None, e1: bool = True,
    prefix: str = "",
) -> Archive:  # fmt: skip
    """An archive whose energies follow from random formation energies and the real chemical potentials."""
    own_size, substitutes, public, spin = HOSTS[material]
    size = size or own_size
    host = crystal(material, size)
    draw = random.Random(seed)
    mu = {row["element"]: float(row["chemical_potential"]) for row in _rows("elements.csv")}
    pristine = next(row for row in _rows("initial_structures.csv") if row["base"] == material)
    if not e1:
        pristine = {k: v for k, v in pristine.items() if k not in ("E_1", "E_VBM")} | {"fermi": ""}
    pristine["cell_size"] = str(tuple(size)) if spin else str(list(size))
    built = [
        _built(draw, host, substitutes, defects[k % len(defects)], f"{prefix}{_id(draw, k)}")
        for k in range(structures)
    ]
    root = f"{density}_density_defects/{name or (public if density == 'high' else material)}"
    archive = Archive(root, host, built)
    archive.cifs = {f"{b.structure_id}.cif": cif(host, b.defects) for b in built}
    numbers = [_numbers(draw, b, host, mu, float(pristine["energy"]), spin=spin, e1=e1) for b in built]
    descriptors, ids = _descriptors(built, material, pristine["cell_size"])
    rows = [
        {"_id": b.structure_id, "descriptor_id": d} | n for b, d, n in zip(built, ids, numbers, strict=True)
    ]
    plain = [{k: v for k, v in row.items() if not k.startswith("formation")} for row in rows]
    archive.members = {
        "targets.csv.gz": gzip.compress(table(rows), mtime=0),
        "defects.csv.gz": gzip.compress(table(plain, index=True), mtime=0),
        "descriptors.csv": table(descriptors),
        "elements.csv": shared("elements.csv").read_bytes(),
        "initial_structures.csv": table([pristine]),
        f"unit_cells/{material}.cif": shared("unit_cells", f"{material}.cif").read_bytes(),
    }
    return archive


def build_archive(path: Path, material: str = "MoS2", **options: Any) -> Archive:
    """``make_archive`` and write it to ``path`` (a .zip, or a folder); what was written."""
    archive = make_archive(material, **options)
    archive.write(path)
    return archive


def _rows(name: str) -> list[dict[str, str]]:
    with shared(name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def _id(draw: random.Random, k: int) -> str:
    """Object ids and the high-density sets' names, in turn."""
    return f"{draw.getrandbits(96):024x}" if k % 2 else f"P_P{k}N1_{draw.getrandbits(32):08x}-{k:04x}"


def _built(
    draw: random.Random, host: Crystal, substitutes: dict[str, tuple[str, ...]], count: int, name: str
) -> Built:
    defects: list[tuple[int, str, str | None]] = []
    for site in sorted(draw.sample(range(len(host.elements)), count)):
        before = host.elements[site]
        defects.append((site, before, draw.choice([None, *substitutes.get(before, ())])))
    return Built(name, defects, draw.uniform(1, 9))


def _numbers(
    draw: random.Random, built: Built, host: Crystal, mu: dict[str, float], pristine: float, *, spin: bool,
    e1: bool
) -> dict[str, float]:  # fmt: skip
    """Total energy composed from the formation energy; levels for one or both spins."""
    removed = sum(mu[before] for _, before, _ in built.defects)
    added = sum(mu[after] for _, _, after in built.defects if after)
    energy = built.formation_energy + pristine - removed + added
    atoms = len(host.elements) - sum(after is None for _, _, after in built.defects)
    numbers = {"energy": energy, "energy_per_atom": energy / atoms, "fermi_level": draw.uniform(-2, 0)}
    for channel in ("_majority", "_minority") if spin else ("",):
        homo, gap = draw.uniform(-2, 0), draw.uniform(0.1, 2)
        numbers |= {f"homo{channel}": homo, f"lumo{channel}": homo + gap, f"homo_lumo_gap{channel}": gap}
    if e1:
        numbers["E_1"] = draw.uniform(-62, -15)
    if spin:
        numbers["total_mag"] = float(draw.choice([0, 1, 2]))
    per_site = built.formation_energy / max(1, len(built.defects))
    return numbers | {"formation_energy": built.formation_energy, "formation_energy_per_site": per_site}


def _descriptors(built: list[Built], material: str, size: str) -> tuple[list[dict[str, str]], list[str]]:
    """One descriptor per combination of defects."""
    names: dict[str, str] = {}
    rows, ids = [], []
    for structure in built:
        key = "+".join(structure.labels)
        if key not in names:
            names[key] = f"d{len(names):04d}"
            entries = [
                {"type": "vacancy", "element": before} if after is None
                else {"type": "substitution", "from": before, "to": after}
                for _, before, after in structure.defects
            ]  # fmt: skip
            rows.append({"_id": names[key], "description": f"V{len(names)}", "base": material, "cell": size,
                         "pbc": "[True, True, False]", "defects": str(entries)})  # fmt: skip
        ids.append(names[key])
    return rows, ids


def table(rows: list[dict[str, Any]], *, index: bool = False) -> bytes:
    """CSV bytes; ``index`` adds the unnamed first column that such files have."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*([""] if index else []), *columns])
    for k, row in enumerate(rows):
        writer.writerow([*([k] if index else []), *(row.get(c, "") for c in columns)])
    return out.getvalue().encode()


_CIF_HEAD = """# built for a test
data_structure
_cell_length_a {a:.8f}
_cell_length_b {b:.8f}
_cell_length_c {c:.8f}
_cell_angle_alpha 90.0
_cell_angle_beta 90.0
_cell_angle_gamma {gamma:.8f}
loop_
_symmetry_equiv_pos_site_id
_symmetry_equiv_pos_as_xyz
1 'x, y, z'
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_symmetry_multiplicity
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


def cif(
    host: Crystal, defects: list[tuple[int, str, str | None]], shift: tuple[float, float, float] = (0, 0, 0)
) -> bytes:
    """A CIF in the style of the public archives, coordinates rounded to 8 digits."""
    a, b, c = np.linalg.norm(host.lattice, axis=1)
    gamma = np.degrees(np.arccos(host.lattice[0] @ host.lattice[1] / (a * b)))
    changed = {site: after for site, _, after in defects}
    atoms = [(changed.get(k, e), f) for k, (e, f) in enumerate(zip(host.elements, host.frac, strict=True))]
    lines = _CIF_HEAD.format(a=a, b=b, c=c, gamma=gamma).splitlines()
    for k, (element, place) in enumerate(atoms):
        if element is not None:
            x, y, z = np.asarray(place) + shift
            lines.append(f"{element} {element}{k} 1 {x:.8f} {y:.8f} {z:.8f} 1")
    return ("\n".join(lines) + "\n").encode()


def tarred(files: dict[str, bytes]) -> bytes:
    """A tar.gz of plain files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
