"""Read energies, levels, structures and convergence from one vasprun.xml, with pymatgen."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.ingest.options import OCCUPIED
from defectdb.ingest.readers.cif import Atoms, StructureFileError, atomic_number
from defectdb.ingest.readers.electrons import vasprun_charge
from defectdb.ingest.records import Floats

SPINS = {"up": "majority", "down": "minority"}
_FERMI = re.compile(rb'<i name="efermi">\s*([-+0-9.eE]{1,40})\s*</i>')


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one output file says.

    numbers: energies and levels [eV], magnetisation [Bohr magnetons], charge [e] where it is not 0.
    start, end: first and last structure, None where the file holds none.
    unconverged: what did not converge, None where all did.
    remarks: what is odd about the numbers.
    """

    numbers: dict[str, float]
    start: Atoms | None = None
    end: Atoms | None = None
    unconverged: str | None = None
    remarks: tuple[str, ...] = ()


def read_vasprun(data: bytes, occupied: float) -> Run:
    """The run in the bytes of a vasprun.xml. Raises StructureFileError for entities, and whatever pymatgen
    raises on a file that breaks off."""
    _refuse_entities(data)
    run = _parse(data)
    if not run.converged:
        what = "electrons" if not run.converged_electronic else "ions"
        return Run({}, unconverged=f"the {what} did not converge")
    numbers, remarks = _numbers(run, data, occupied)
    return Run(numbers, _atoms(run.initial_structure), _atoms(run.final_structure), remarks=remarks)


def _refuse_entities(data: bytes) -> None:
    """VASP writes no entities and no document type: such a file is an attack. Raises StructureFileError."""
    if b"\0" in data[:4096] or b"<!ENTITY" in data or b"<!DOCTYPE" in data:
        raise StructureFileError("declares XML entities or is no plain text; VASP writes no such file")


def _parse(data: bytes) -> Any:
    from pymatgen.io.vasp.outputs import Vasprun

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vasprun.xml"
        path.write_bytes(data)
        return Vasprun(path, parse_dos=False, parse_projected_eigen=False, parse_potcar_file=False)


def _atoms(structure: Any) -> Atoms:
    numbers = [atomic_number(site.specie.symbol) for site in structure]
    return Atoms(
        np.array(structure.lattice.matrix), np.array(numbers, dtype=np.uint8), np.array(structure.frac_coords)
    )


def _numbers(run: Any, data: bytes, occupied: float) -> tuple[dict[str, float], tuple[str, ...]]:
    """Energy, Fermi level, levels and gap (per spin where there are two), magnetisation, charge; remarks on them.

    Raises StructureFileError where no finite energy can be read.
    """
    energy = float(run.final_energy)
    if not np.isfinite(energy):
        raise StructureFileError("holds no finite energy")
    numbers = {"energy": energy, "energy_per_atom": energy / len(run.final_structure)}
    if fermi := _FERMI.findall(data):
        numbers["fermi_level"] = float(fermi[-1])  # pymatgen knows it only with the whole density of states
    channels = {spin.name: np.asarray(values) for spin, values in (run.eigenvalues or {}).items()}
    weights = np.asarray(run.actual_kpoints_weights, dtype=np.float64)
    found, remarks = spin_levels(channels, occupied, weights)
    numbers |= found
    if len(channels) == 2:
        difference = channels["up"][..., 1].sum(axis=1) - channels["down"][..., 1].sum(axis=1)
        numbers["total_mag"] = float(weights @ difference / weights.sum())
    if charge := vasprun_charge(data):
        numbers["charge"] = charge
    return {name: value for name, value in numbers.items() if np.isfinite(value)}, remarks


def spin_levels(
    channels: dict[str, np.ndarray[Any, Any]], occupied: float, weights: Floats | None = None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Levels of one channel by their plain names, of two (``up``, ``down``) by spin; remarks on those left out.

    ``weights`` (k-points,): points of no weight count only where their occupations follow from the energies.
    """
    found: dict[str, float] = {}
    remarks = []
    for spin, states in channels.items():
        suffix = "" if len(channels) == 1 else f"_{SPINS[spin]}"
        own = levels(states, occupied)
        if own.get("homo_lumo_gap", 0.0) < 0 and weights is not None and weights.shape == states.shape[:1]:
            own = levels(states[weights > 0], occupied)
        if own.get("homo_lumo_gap", 0.0) < 0:
            what = f" of {SPINS[spin]} spin" if suffix else ""
            remarks.append(f"no levels: occupied states{what} lie above empty ones")
            continue
        found |= {f"{level}{suffix}": value for level, value in own.items()}
    return found, tuple(remarks)


def levels(states: np.ndarray[Any, Any], occupied: float = OCCUPIED) -> dict[str, float]:
    """homo, lumo and their difference [eV] of states (k-points, bands, [energy, occupation])."""
    full = states[..., 1] > occupied
    if full.all() or not full.any():
        return {}
    homo, lumo = float(states[..., 0][full].max()), float(states[..., 0][~full].min())
    return {"homo": homo, "lumo": lumo, "homo_lumo_gap": lumo - homo}
