"""How much each error counts in a fit: every source the same, energies and forces alike, low energies most.

Datasets and kinds of configurations can count more or less than that: ``factors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.errors import UnknownNameError
from defectdb.expressions.arrays import Floats
from defectdb.learn.potential.fitting.tables import Weights
from defectdb.learn.potential.physics.frames import Frames


@dataclass(frozen=True, slots=True)
class Scales:
    """What size of error counts the same.

    ``energy``: share of the spread (standard deviation) of a source's energies per atom.
    ``force`` (eV/angstrom): error of a force component that counts as much as that error of an energy.
    ``rise`` (eV per atom): height above the lowest energy of a source at which errors count half.
    ``strong`` (eV/angstrom): size of a force from which its error counts in proportion to it.
    """

    energy: float = 0.025
    force: float = 0.05
    rise: float = 0.3
    strong: float = 2.0


_LEAST_SPREAD = 0.01  # eV per atom


_KIND = "config_type:"


def factors(frames: Frames, chosen: Sequence[tuple[str, float]]) -> Floats:
    """How many times the squared errors of every configuration count, [m].

    ``chosen``: name of a dataset or ``config_type:NAME``, and its factor; where both fit they multiply, and of two
    factors of one name the later counts. Raises UnknownNameError for a name that no configuration has.
    """
    found = np.ones(len(frames))
    sources = np.array(frames.sources)[frames.source]
    kinds = np.array(frames.config_type)
    for name, factor in dict(chosen).items():
        is_kind = name.startswith(_KIND)
        have, wanted = (kinds, name.removeprefix(_KIND)) if is_kind else (sources, name)
        own = have == wanted
        if not own.any():
            kind = "config_type" if is_kind else "dataset"
            known = sorted(set(have.tolist()) - {""})
            raise UnknownNameError(f"{kind} among the configurations to learn from", wanted, known)
        found[own] *= factor
    return found


def weights(frames: Frames, scales: Scales, factor: Floats | None = None) -> Weights:
    """Scales of the errors of all configurations; what a source does not have counts nothing.

    ``factor`` [m]: how many times the squared errors of every configuration count beside this.
    """
    m, n = len(frames), len(frames.positions)
    energy, force = np.full(m, np.inf), np.full(n, np.inf)
    per_atom = frames.energies / frames.counts
    atom_source = frames.source[frames.frame_of_atom]
    known = np.isfinite(frames.forces).all(axis=1)
    rows = m + 3 * n
    for source in np.unique(frames.source):
        own, atoms = frames.source == source, (atom_source == source) & known
        above = (per_atom[own] - per_atom[own].min()) / scales.rise
        height = np.zeros(m)
        height[own] = above
        spread = max(float(per_atom[own].std()), _LEAST_SPREAD)
        part = scales.energy * spread * (1.0 + above)
        energy[own] = part * _normal(1.0 / (1.0 + above), rows)
        if not atoms.any():
            continue
        size = np.linalg.norm(frames.forces[atoms], axis=1)
        share = (1.0 + size / scales.strong) * (1.0 + height[frames.frame_of_atom[atoms]])
        force[atoms] = scales.force * share * _normal(np.repeat(1.0 / share, 3), rows)
    if factor is not None:
        energy, force = energy / np.sqrt(factor), force / np.sqrt(factor)[frames.frame_of_atom]
    return Weights(energy, force)


def _normal(relative: Floats, rows: int) -> float:
    """Factor that makes a block of errors count like a quarter of all rows, whatever its length."""
    return float(np.sqrt(4.0 * np.sum(relative**2) / rows))
