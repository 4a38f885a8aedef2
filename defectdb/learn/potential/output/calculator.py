"""A potential as an ASE calculator, so that ase's optimisers, dynamics and phonons run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from defectdb.errors import InputDataError
from defectdb.learn.potential.physics.energies import predict
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import neighbours
from defectdb.learn.potential.physics.potential import Model
from defectdb.learn.potential.stored import potential_of


class PotentialCalculator(Calculator):  # type: ignore[misc]
    """Energies (eV, from free atoms), forces (eV/angstrom) and stress (eV/angstrom^3) of a potential.

    ``element``: the only one that it knows. Directions that are not periodic are open.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "energies", "forces", "stress"]

    def __init__(self, potential: Model, element: str) -> None:
        super().__init__()
        self.potential, self.element = potential, element

    @classmethod
    def from_database(
        cls, path: str | Path, *, model_id: int | None = None, material: str | None = None
    ) -> PotentialCalculator:
        """The calculator of a stored potential: the active one, or that of ``model_id``."""
        from defectdb.db import open_database
        from defectdb.db.potentials.models import stored_potential

        with open_database(path, read_only=True) as db:
            stored = stored_potential(db, model_id=model_id, material=material)
        return cls(potential_of(stored), stored.material_id)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Compute all properties of ``atoms``. Raises InputDataError for another element."""
        super().calculate(atoms, properties, system_changes)
        if set(self.atoms.numbers.tolist()) - {atomic_numbers[self.element]}:
            raise InputDataError(
                f"the potential is one of {self.element}; these atoms are {self.atoms.get_chemical_formula()}"
            )
        frames = frames_of_atoms([self.atoms], self.potential.cutoff)
        found = predict(self.potential, frames, neighbours(frames, self.potential.cutoff))
        self.results = {
            "energy": float(found.energies[0]), "energies": found.atom_energies, "forces": found.forces,
        }  # fmt: skip
        if self.atoms.cell.rank == 3 and bool(self.atoms.pbc.all()):
            self.results["stress"] = found.stresses[0]


def frames_of_atoms(structures: list[Any], cutoff: float) -> Frames:
    """Structures of ase as configurations without numbers; open directions get vacuum of two cutoffs."""
    cells = np.array([_closed(atoms, cutoff) for atoms in structures])
    counts = [len(atoms) for atoms in structures]
    m, n = len(structures), sum(counts)
    return Frames(
        ids=[f"structure {i + 1}" for i in range(m)], cells=cells,
        positions=np.concatenate([np.asarray(atoms.positions, dtype=np.float64) for atoms in structures]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), energies=np.zeros(m),
        forces=np.full((n, 3), np.nan), stresses=np.full((m, 6), np.nan), source=np.zeros(m, dtype=np.int64),
        sources=("structures",), atoms_zero=(True,), config_type=[""] * m, split=[""] * m,
    )  # fmt: skip


def _closed(atoms: Any, cutoff: float) -> Any:
    """The cell; a vector along which the structure is open is replaced by one longer than all atoms and two cutoffs."""
    cell = np.array(atoms.cell[:], dtype=np.float64)
    if bool(atoms.pbc.all()):
        return cell
    complete = atoms.cell.complete()[:]
    extent = float(np.ptp(atoms.positions, axis=0).max(initial=0.0)) if len(atoms) else 0.0
    for axis in range(3):
        if not atoms.pbc[axis]:
            normal = np.cross(complete[axis - 2], complete[axis - 1])
            cell[axis] = normal / np.linalg.norm(normal) * (np.sqrt(3) * extent + 2.0 * cutoff + 1.0)
    return cell
