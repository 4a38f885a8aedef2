"""A stored potential as one that computes."""

from __future__ import annotations

from defectdb.db.potentials.models import StoredPotential
from defectdb.learn.potential.physics.potential import Formula, Potential, Window


def potential_of(stored: StoredPotential) -> Potential:
    """The stored formulas as a potential that computes."""
    parts = {role: Formula(*found) for role, found in stored.formulas.items()}
    return Potential(parts["phi"], parts["rho"], parts["F"], Window(stored.cutoff, stored.window_width))
