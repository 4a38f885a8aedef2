"""Write a potential for other programs: a setfl table (pair_style eam/alloy), LAMMPS lines, LaTeX.

A setfl file holds F at even steps of the density, and rho and r phi at even steps of the distance (Foiles, Baskes and
Daw, Phys. Rev. B 33, 7983, 1986; LAMMPS reads it as eam/alloy).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from defectdb.db.potentials.models import StoredPotential
from defectdb.errors import SelectionError, UnknownNameError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import to_latex
from defectdb.expressions.texts import to_infix
from defectdb.learn.potential.physics.guards import faults
from defectdb.learn.potential.physics.potential import Potential
from defectdb.learn.potential.stored import potential_of
from defectdb.version import __version__

FORMATS = ("setfl", "lammps", "latex")
POINTS = 10_000
_MOST_DENSITY = 4.0
"""Tables end at so many times the density that atoms had in the data: LAMMPS goes on straight beyond them, silently."""
_FCC = 12
_SHORTEST = 0.05  # angstrom; below it tables repeat their first value


def exported(stored: StoredPotential, form: str) -> str:
    """The text of a file. Raises UnknownNameError for another format, SelectionError for what no table holds."""
    writers = MappingProxyType({"setfl": setfl, "lammps": lammps, "latex": latex})
    if form not in writers:
        raise UnknownNameError("format of potentials", form, list(FORMATS))
    return writers[form](stored)


def demand_exportable(stored: StoredPotential, potential: Potential, density_end: float) -> None:
    """Raise SelectionError for a potential that must not be run, or has no values up to the end of its table."""
    wrong = faults(potential, stored.density_max)
    if wrong:
        raise SelectionError(f"potential {stored.model_id} is not exported: {'; '.join(wrong)}")
    with np.errstate(all="ignore"):
        ends = potential.embedded(np.linspace(0.0, density_end, 2000, dtype=np.float64))
    if not (np.isfinite(ends[0]).all() and np.isfinite(ends[1][1:]).all()):
        raise SelectionError(
            f"potential {stored.model_id} is not exported: F has no value at densities up to {density_end:.4g}, "
            f"{_MOST_DENSITY:g} times that of its data"
        )


def density_end(stored: StoredPotential) -> float:
    """Where density tables end: at least four times the largest density of the data."""
    return _MOST_DENSITY * stored.density_max


def setfl(stored: StoredPotential) -> str:
    """The table of a potential for eam/alloy, with as many points as keep forces to 1e-6 eV/angstrom."""
    potential, end = potential_of(stored), density_end(stored)
    demand_exportable(stored, potential, end)
    element, z = stored.material_id, atomic_numbers[stored.material_id]
    dr, drho = stored.cutoff / (POINTS - 1), end / (POINTS - 1)
    r = dr * np.arange(POINTS)
    inner = np.maximum(r, _SHORTEST)
    with np.errstate(all="ignore"):
        phi, rho = potential.pair_term(inner)[0], potential.density(inner)[0]
        f = potential.embedded(drho * np.arange(POINTS, dtype=np.float64))[0]
    r_phi = np.nan_to_num(r * _bounded(phi), nan=0.0)
    rho = _bounded(rho)
    texts = [f"{role} = {to_infix(tree, constants)}" for role, (tree, constants) in stored.formulas.items()]
    head = [
        f"{element} potential {stored.model_id} (version {stored.version}), written by defectdb {__version__}",
        texts[0],
        "; ".join(texts[1:]),
        f"1 {element}",
        f"{POINTS} {drho:.17g} {POINTS} {dr:.17g} {stored.cutoff:.17g}",
        f"{z} {atomic_masses[z]:.4f} {_lattice_constant(potential):.6f} fcc",
    ]  # fmt: skip
    return "\n".join([*head, *_columns(f), *_columns(rho), *_columns(r_phi)]) + "\n"


def _bounded(values: Floats) -> Floats:
    """Values without infinities: what a table holds where formulas grow beyond all numbers."""
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=1e12, neginf=-1e12), -1e12, 1e12)


def _columns(values: Floats) -> Iterable[str]:
    """Lines of five numbers each."""
    for start in range(0, len(values), 5):
        yield " ".join(f"{v: .16e}" for v in values[start : start + 5])


def _lattice_constant(potential: Potential) -> float:
    """A lattice constant for the header, which no program computes with: where twelve neighbours bind best."""
    r = np.linspace(1.8, min(4.0, potential.window.cutoff), 400)
    with np.errstate(all="ignore"):
        phi, rho = potential.pair_term(r)[0], potential.density(r)[0]
        energy = 0.5 * _FCC * phi + potential.embedded(np.maximum(_FCC * rho, 0.0))[0]
    return float(r[int(np.nanargmin(energy))] * math.sqrt(2.0))


def lammps(stored: StoredPotential) -> str:
    """Lines for a LAMMPS input that read the setfl table."""
    demand_exportable(stored, potential_of(stored), density_end(stored))
    element = stored.material_id
    mass = atomic_masses[atomic_numbers[element]]
    date = datetime.now(UTC).date().isoformat()
    return (
        f"# {element}, potential {stored.model_id}, written by defectdb {__version__} on {date}\n"
        "# units metal; write the table with: defectdb potential export --to setfl\n"
        "units metal\natom_style atomic\n"
        f"pair_style eam/alloy\npair_coeff * * {element}.eam.alloy {element}\nmass 1 {mass:.4f}\n"
    )


def latex(stored: StoredPotential) -> str:
    """The formulas as a LaTeX environment."""
    names = {"phi": r"\varphi(r)", "rho": r"\rho(r)", "F": r"F(\rho)"}
    lines = [
        f"  {names[role]} &= {to_latex(tree, constants)}"
        for role, (tree, constants) in stored.formulas.items()
    ]
    return "\\begin{align}\n" + " \\\\\n".join(lines) + "\n\\end{align}\n"
