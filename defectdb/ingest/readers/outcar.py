"""Read energies, levels and convergence from one OUTCAR."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from defectdb.ingest.readers.cif import StructureFileError
from defectdb.ingest.readers.electrons import outcar_charge
from defectdb.ingest.readers.vasprun import Run, spin_levels

_END = b"General timing and accounting informations for this job"
_ELECTRONS = b"aborting loop because EDIFF is reached"
_IONS = b"reached required accuracy"
_FIRST_CYCLE = re.compile(rb"-+ Iteration +\d+\( +1\)")
_CYCLE = re.compile(rb"-+ Iteration +\d+\( *(\d+)\)")
_VERSION_5 = re.compile(rb"^ *vasp\.[1-5]\.", re.MULTILINE)
_NONCOLLINEAR = re.compile(rb"^ +LNONCOLLINEAR *= *T", re.MULTILINE)
_RELAXERS = (1, 2, 3)  # values of IBRION that relax the ions until EDIFFG is met
_FERMI = re.compile(rb"E-fermi\s*:\s*(-?\d+\.\d+)")
_STATES = re.compile(rb"^ +\d+ +(-?\d+\.\d+) +(-?\d+\.\d+) *\r?$", re.MULTILINE)
_K_POINT = re.compile(rb"^ *k-point +\d+ *:.*$", re.MULTILINE)
_SPIN = re.compile(rb"^ *spin component +[12] *\r?$", re.MULTILINE)


def read_outcar(data: bytes, occupied: float, n_atoms: int) -> Run:
    """The run in the bytes of an OUTCAR of so many atoms; it holds no structure.

    Levels are there where VASP printed the bands (NWRITE and version decide). Raises StructureFileError for a
    file that ends early, and whatever pymatgen raises on one that lacks a part.
    """
    if _END not in data:
        raise StructureFileError("ends before the run did: no final timing")
    if (why := _unconverged(data)) is not None:
        return Run({}, unconverged=why)
    outcar = _parse(data)
    if outcar.final_energy is None:
        raise StructureFileError("holds no energy")
    energy = float(outcar.final_energy)
    if not np.isfinite(energy):
        raise StructureFileError("holds no finite energy")
    numbers = {"energy": energy, "energy_per_atom": energy / n_atoms}
    if fermi := _FERMI.findall(data):
        numbers["fermi_level"] = float(fermi[-1])  # pymatgen gives the first one where spins are paired
    if outcar.spin and outcar.total_mag is not None:
        numbers["total_mag"] = float(outcar.total_mag)
    found, remarks = spin_levels(_bands(data), occupied)
    numbers |= found
    if charge := outcar_charge(data):
        numbers["charge"] = charge
    return Run({name: value for name, value in numbers.items() if np.isfinite(value)}, remarks=remarks)


def _unconverged(data: bytes) -> str | None:
    """What did not converge: the electrons of the last ionic step, or the ions of a relaxation."""
    if b"soft stop encountered" in data:
        return "the run was stopped by a STOPCAR"
    last = 0
    for cycle in _FIRST_CYCLE.finditer(data):
        last = cycle.start()
    if data.find(_ELECTRONS, last) < 0 or (_VERSION_5.search(data) and _used_all_cycles(data, last)):
        return "the electrons did not converge"
    relaxes = _setting(data, b"IBRION") in _RELAXERS and _setting(data, b"NSW") > 1
    if relaxes and _IONS not in data:
        return "the ions did not converge"
    return None


def _used_all_cycles(data: bytes, last: int) -> bool:
    """Whether the ionic step that starts at byte ``last`` took all NELM electronic steps: VASP 5 says in either case
    that it stopped because EDIFF was reached."""
    cycles = [int(n) for n in _CYCLE.findall(data, last)]
    most = _setting(data, b"NELM")
    return bool(cycles) and 0 < most <= max(cycles)


def _setting(data: bytes, name: bytes) -> int:
    """An integer of the list of settings, 0 where it is not printed."""
    found = re.search(rb"^ +" + name + rb" *= *(-?\d+)", data, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _parse(data: bytes) -> Any:
    from pymatgen.io.vasp.outputs import Outcar

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "OUTCAR"
        path.write_bytes(data)
        return Outcar(path)


def _bands(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The last printed states by spin (k-points, bands, [energy, occupation of one electron per state]).

    Empty where none are printed or the k-points differ in their bands.
    """
    start = data.rfind(b"E-fermi")
    if start < 0:
        return {}
    parts = _SPIN.split(data[start:])
    blocks = parts[1:3] if len(parts) > 2 else parts[:1]
    channels = {}
    for name, block in zip(("up", "down"), blocks, strict=False):
        states = [
            np.array([[float(energy), float(full)] for energy, full in _STATES.findall(_until_gap(points))])
            for points in _K_POINT.split(block)[1:]
        ]
        if not states or not len(states[0]) or len({len(found) for found in states}) > 1:
            return {}
        channels[name] = np.stack(states)
    if len(channels) == 1 and not _NONCOLLINEAR.search(data):
        channels["up"][..., 1] /= 2  # both spins in one state
    return channels


def _until_gap(text: bytes) -> bytes:
    """The lines of one k-point: to the first empty line after its rows, or to the rule that closes the list."""
    return re.split(rb"\n *\r?\n|\n *-{20,}", text.lstrip(b"\r\n"), maxsplit=1)[0]
