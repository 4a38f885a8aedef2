"""Properties of the crystal that a potential makes: lattice, elasticity, phonons, vacancy, surfaces, other structures.

The phonons at X and L are those of the cubic cell doubled along all axes: both are commensurate with it, so that the
forces after a displacement of one atom give them exactly, whatever the range of the potential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from ase import Atoms
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from ase.units import GPa, J, _amu, _e, m
from scipy.optimize import minimize_scalar

from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Floats
from defectdb.learn.potential.output.calculator import PotentialCalculator, frames_of_atoms
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.neighbours import neighbours
from defectdb.learn.potential.physics.potential import Model

_STRAIN = 1e-4
_DISPLACEMENT = 1e-3  # angstrom
_FORCE_TOLERANCE = 2e-3  # eV/angstrom
_THz = np.sqrt(_e / _amu) * 1e10 / (2 * np.pi) / 1e12  # root of eV/(angstrom^2 amu) as a frequency


@dataclass(frozen=True, slots=True)
class Property:
    """One property: value and unit, its reference from density functional theory, and experiment; None where unknown.

    ``counted``: whether it is one of those that the mean relative error is over.
    """

    name: str
    value: float
    unit: str
    reference: float | None
    experiment: float | None
    counted: bool


_DFT = MappingProxyType({
    "Cu": {
        "a0": 3.631, "E_coh": 3.700, "C11": 177.0, "C12": 130.0, "C44": 83.0, "E_vacancy": 1.07, "gamma_111": 1.36,
        "gamma_100": 1.51, "gamma_110": 1.57, "X_T": 5.05, "X_L": 7.12, "L_T": 3.38, "L_L": 7.27,
        "E_hcp-E_fcc": 7.3, "E_bcc-E_fcc": 34.4, "B": 139.8, "dB/dp": 5.06,
    },
})  # fmt: skip
"""Density functional theory (PBE): from the same level of theory as the configurations that potentials learn from."""

_EXPERIMENT = MappingProxyType({
    "Cu": {
        "a0": 3.615, "E_coh": 3.49, "C11": 168.4, "C12": 121.4, "C44": 75.4, "E_vacancy": 1.28, "X_T": 5.13,
        "X_L": 7.38, "L_T": 3.42, "L_L": 7.30, "B": 137.0,
    },
})  # fmt: skip
"""Measured: Kittel's tables; Svensson, Brockhouse and Rowe, Phys. Rev. 155, 619 (1967), for the phonons."""

_UNITS: Mapping[str, str] = MappingProxyType({
    "a0": "angstrom", "E_coh": "eV", "B": "GPa", "dB/dp": "", "C11": "GPa", "C12": "GPa", "C44": "GPa",
    "E_vacancy": "eV", "gamma_111": "J/m^2", "gamma_100": "J/m^2", "gamma_110": "J/m^2", "X_T": "THz", "X_L": "THz",
    "L_T": "THz", "L_L": "THz", "E_hcp-E_fcc": "meV/atom", "E_bcc-E_fcc": "meV/atom",
})  # fmt: skip
PROPERTIES = tuple(_UNITS)
"""All properties, in the order of their table."""

COUNTED = tuple(name for name in _UNITS if name not in ("B", "dB/dp", "E_hcp-E_fcc", "E_bcc-E_fcc"))
"""The thirteen properties that the mean relative error is over."""


def properties(potential: Model, element: str) -> list[Property]:
    """All properties of the face-centred cubic crystal. Raises SelectionError for a potential that binds none."""
    crystal = Crystal(potential, element)
    values = {
        "a0": crystal.a0, "E_coh": -crystal.energy, **crystal.elastic(),
        "dB/dp": birch_murnaghan(crystal.equation_of_state())[1], "E_vacancy": crystal.vacancy(),
        **crystal.surfaces(), **crystal.phonons(), **crystal.others(),
    }  # fmt: skip
    dft, measured = _DFT.get(element, {}), _EXPERIMENT.get(element, {})
    return [
        Property(name, float(values[name]), unit, dft.get(name), measured.get(name), name in COUNTED)
        for name, unit in _UNITS.items()
    ]


def birch_murnaghan(curve: pl.DataFrame) -> tuple[float, float]:
    """Bulk modulus (GPa) and its derivative by pressure, from a fit to volumes and energies per atom.

    Birch, Phys. Rev. 71, 809 (1947), as ase fits it.
    """
    state = EquationOfState(curve["volume"].to_numpy(), curve["energy"].to_numpy(), eos="birchmurnaghan")
    state.fit()
    _, modulus, derivative, _ = state.eos_parameters
    return float(modulus / GPa), float(derivative)


def mean_relative_error(found: list[Property]) -> tuple[float, float] | None:
    """Mean and largest relative error of the counted properties with a reference; None where there is none."""
    errors = [abs(p.value / p.reference - 1.0) for p in found if p.counted and p.reference]
    return (float(np.mean(errors)), max(errors)) if errors else None


def properties_table(found: list[Property]) -> pl.DataFrame:
    """The properties as rows: property, value, unit, reference, experiment, relative error."""
    schema = {"reference": pl.Float64, "experiment": pl.Float64, "relative_error": pl.Float64}
    return pl.DataFrame(
        [
            {
                "property": p.name, "value": p.value, "unit": p.unit, "reference": p.reference,
                "experiment": p.experiment,
                "relative_error": None if not p.reference else p.value / p.reference - 1.0,
            }
            for p in found
        ],
        schema_overrides=schema,
    )  # fmt: skip


def stored_rows(found: list[Property]) -> pl.DataFrame:
    """The properties as rows of ``potential_properties`` without their model."""
    rows = [
        {
            "property": p.name, "value": p.value, "unit": p.unit, "reference": p.reference,
            "source": "DFT (PBE)" if p.reference is not None else "no reference",
        }
        for p in found
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"reference": pl.Float64})


class Crystal:
    """The face-centred cubic crystal of a potential at its lattice constant.

    Raises SelectionError for a potential that binds none.
    """

    def __init__(self, potential: Model, element: str) -> None:
        self.potential, self.element = potential, element
        tried = np.linspace(2.8, min(6.6, 1.3 * potential.cutoff), 60)
        energies = self._predict(*(bulk(element, "fcc", a=a) for a in tried)).energies
        valleys = 1 + np.flatnonzero((energies[1:-1] < energies[:-2]) & (energies[1:-1] <= energies[2:]))
        if not len(valleys):
            raise SelectionError(
                f"the potential binds no face-centred cubic crystal between {tried[0]:.1f} and {tried[-1]:.1f} angstrom"
            )
        self.a0, self.energy = self._lowest("fcc", float(tried[valleys[energies[valleys].argmin()]]))

    def _predict(self, *structures: Any) -> Any:
        frames = frames_of_atoms(list(structures), self.potential.cutoff)
        return predict(self.potential, frames, neighbours(frames, self.potential.cutoff))

    def _lowest(self, kind: str, guess: float) -> tuple[float, float]:
        """Lattice constant (angstrom) and energy per atom (eV) of a cubic structure."""
        found = minimize_scalar(
            lambda a: float(self._predict(bulk(self.element, kind, a=a)).energies[0]),
            bounds=(0.97 * guess, 1.03 * guess), method="bounded", options={"xatol": 1e-9},
        )  # fmt: skip
        return float(found.x), float(found.fun)

    def elastic(self) -> dict[str, float]:
        """Bulk modulus and elastic constants, GPa, from stresses under small strains."""
        cell = bulk(self.element, "fcc", a=self.a0, cubic=True)
        strained = []
        for matrix in (np.diag([1.0, 0, 0]), np.array([[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]])):
            for sign in (1.0, -1.0):
                moved = cell.copy()
                moved.set_cell(cell.cell[:] @ (np.eye(3) + sign * _STRAIN * matrix), scale_atoms=True)
                strained.append(moved)
        stress = self._predict(*strained).stresses
        along, shear = (stress[0] - stress[1]) / (2 * _STRAIN), (stress[2] - stress[3]) / (2 * _STRAIN)
        c11, c12, c44 = along[0] / GPa, (along[1] + along[2]) / (2 * GPa), shear[3] / GPa
        return {"B": (c11 + 2 * c12) / 3, "C11": c11, "C12": c12, "C44": c44}

    def equation_of_state(self, points: int = 13) -> pl.DataFrame:
        """Volume (angstrom^3 per atom), energy (eV per atom) and pressure (GPa) from 0.9 to 1.1 times the volume."""
        edges = self.a0 * np.cbrt(np.linspace(0.9, 1.1, points))
        found = self._predict(*(bulk(self.element, "fcc", a=a) for a in edges))
        pressure = -found.stresses[:, :3].mean(axis=1) / GPa
        return pl.DataFrame({"volume": edges**3 / 4, "energy": found.energies, "pressure": pressure})

    def _relaxed(self, atoms: Atoms) -> float:
        atoms.calc = PotentialCalculator(self.potential, self.element)
        FIRE(atoms, logfile=None).run(fmax=_FORCE_TOLERANCE, steps=300)
        return float(atoms.get_potential_energy())

    def vacancy(self) -> float:
        """Formation energy of a vacancy in 108 sites, relaxed at constant volume, eV."""
        atoms = bulk(self.element, "fcc", a=self.a0, cubic=True).repeat(3)
        del atoms[0]
        return self._relaxed(atoms) - len(atoms) * self.energy

    def surfaces(self) -> dict[str, float]:
        """Energies of the relaxed low-index surfaces, J/m^2."""
        slabs = {
            "gamma_111": fcc111(self.element, (1, 1, 12), a=self.a0),
            "gamma_100": fcc100(self.element, (1, 1, 12), a=self.a0),
            "gamma_110": fcc110(self.element, (1, 1, 16), a=self.a0),
        }
        found = {}
        for name, slab in slabs.items():
            slab.center(vacuum=8.0, axis=2)
            slab.pbc = True
            area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
            found[name] = (self._relaxed(slab) - len(slab) * self.energy) / (2 * area) / (J / m**2)
        return found

    def phonons(self) -> dict[str, float]:
        """Frequencies at X and L, transverse and longitudinal, THz; negative where unstable."""
        atoms = bulk(self.element, "fcc", a=self.a0, cubic=True).repeat(2)
        moved = []
        for axis in range(3):
            for sign in (1.0, -1.0):
                one = atoms.copy()
                one.positions[0, axis] += sign * _DISPLACEMENT
                moved.append(one)
        forces = self._predict(*moved).forces.reshape(6, len(atoms), 3)
        constants = -(forces[0::2] - forces[1::2]) / (2 * _DISPLACEMENT)  # [axis moved, atom, axis]
        places = atoms.positions - atoms.positions[0]
        found = {}
        for name, q in (("X", np.array([1.0, 0, 0])), ("L", np.array([0.5, 0.5, 0.5]))):
            phase = np.cos(2 * np.pi * (places @ q) / self.a0)
            dynamic = np.einsum("ajb,j->ab", constants, phase) / float(atoms.get_masses()[0])
            values, vectors = np.linalg.eigh((dynamic + dynamic.T) / 2)
            along: Floats = np.abs(vectors.T @ (q / np.linalg.norm(q)))
            frequency = np.sign(values) * np.sqrt(np.abs(values)) * _THz
            longitudinal = int(along.argmax())
            found[f"{name}_L"] = float(frequency[longitudinal])
            found[f"{name}_T"] = float(np.delete(frequency, longitudinal).mean())
        return found

    def others(self) -> dict[str, float]:
        """Energies of the hexagonal close-packed and body-centred crystals above the face-centred one, meV/atom."""
        near = self.a0 / np.sqrt(2)
        hexagonal = bulk(self.element, "hcp", a=near, c=near * np.sqrt(8 / 3))
        hexagonal.calc = PotentialCalculator(self.potential, self.element)
        FIRE(FrechetCellFilter(hexagonal), logfile=None).run(fmax=1e-4, steps=300)
        hcp = float(hexagonal.get_potential_energy()) / 2
        _, bcc = self._lowest("bcc", self.a0 * 0.794)
        return {"E_hcp-E_fcc": 1e3 * (hcp - self.energy), "E_bcc-E_fcc": 1e3 * (bcc - self.energy)}
