"""Which distances to compute next: where formulas disagree, weighted by how often the distances occur.

What is not known of a kernel is a covariance over distances: that of the front's formulas, which agree where they were
fitted, and that of a Gaussian process that knows the computed distances and nothing of formulas. A calculation at one
distance takes away what is correlated with it; chosen is, again and again, what takes away most of the squared error of
all placements together (active learning after Cohn, Neural Netw. 9, 1071 (1996)). So a batch spreads by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.expressions.arrays import Floats

LENGTH = 1.2
"""Distance over which values of a kernel are correlated, angstrom: about the step between shells."""

FALLS = 2.0
"""Power of the distance with which a kernel's size is expected to fall."""

_NOISE = 0.02
"""Error of a calculation and of what no function of the distance can say, as a share of the kernel's size."""


@dataclass(frozen=True, eq=False)
class Unknown:
    """One kernel's candidates.

    Attributes:
        r: distance of every candidate [candidate], angstrom
        share: share of all placements of the label that have this distance [candidate]
        known_r, known_y: computed distances [row], angstrom, and values there, eV
        formulas: values of the front's formulas [formula, candidate], eV
        weight: of every formula [formula]
    """

    r: Floats
    share: Floats
    known_r: Floats
    known_y: Floats
    formulas: Floats
    weight: Floats


@dataclass(frozen=True)
class Pick:
    """One chosen candidate.

    Attributes:
        kernel, candidate: its places
        doubt: standard deviation of what is known of its value before the calculation, eV
        gain: share of the whole squared error that the calculation is expected to take away
    """

    kernel: int
    candidate: int
    doubt: float
    gain: float


def size_of(known_r: Floats, known_y: Floats) -> float | None:
    """Size of a kernel at the unit distance of 1 angstrom, if it fell with r^-FALLS; None where nothing is known."""
    if not len(known_r):
        return None
    return float(np.sqrt(np.mean((known_y * known_r**FALLS) ** 2)))


def covariance(unknown: Unknown, size: float) -> tuple[Floats, Floats]:
    """What is not known at the candidates [candidate, candidate] in eV^2, and the noise of a calculation, variance."""
    r, known = unknown.r, unknown.known_r
    noise_of = (_NOISE * size * r**-FALLS) ** 2 + 1e-12
    found = _process(r, r, size)
    if len(known):
        across, own = _process(r, known, size), _process(known, known, size)
        own[np.diag_indices_from(own)] += (_NOISE * size * known**-FALLS) ** 2 + 1e-12
        found = found - across @ np.linalg.solve(own, across.T)
    if len(unknown.formulas) > 1:
        weight = unknown.weight / unknown.weight.sum()
        apart = unknown.formulas - weight @ unknown.formulas
        found = found + (weight[:, None] * apart).T @ apart
    return np.asarray(found, dtype=np.float64), np.asarray(noise_of, dtype=np.float64)


def _process(a: Floats, b: Floats, size: float) -> Floats:
    """Covariance [a, b] of a process whose size falls with the distance."""
    near = np.exp(-0.5 * ((a[:, None] - b[None, :]) / LENGTH) ** 2)
    return np.asarray(size**2 * (a[:, None] * b[None, :]) ** -FALLS * near, dtype=np.float64)


def choose(unknowns: Sequence[Unknown], budget: int) -> list[Pick]:
    """The candidates to compute, the most useful first; at most one calculation of each."""
    sizes = [size_of(u.known_r, u.known_y) for u in unknowns]
    largest = max((s for s in sizes if s is not None), default=1.0)
    states = [covariance(u, largest if s is None else s) for u, s in zip(unknowns, sizes, strict=True)]
    whole = sum(float(u.share @ np.diag(c)) for u, (c, _) in zip(unknowns, states, strict=True)) or 1.0
    open_ = [np.ones(len(u.r), dtype=bool) for u in unknowns]
    picks: list[Pick] = []
    while len(picks) < budget and any(o.any() for o in open_):
        gains = [
            np.where(o, _gains(u, *state), -1.0) for u, state, o in zip(unknowns, states, open_, strict=True)
        ]
        kernel = int(np.argmax([g.max(initial=-1.0) for g in gains]))
        candidate = int(gains[kernel].argmax())
        left, noise = states[kernel]
        doubt = float(np.sqrt(max(left[candidate, candidate], 0.0)))
        picks.append(Pick(kernel, candidate, doubt, float(gains[kernel][candidate]) / whole))
        column = left[:, candidate]
        rest = left - np.outer(column, column) / (left[candidate, candidate] + noise[candidate])
        states[kernel] = (rest, noise)
        open_[kernel][candidate] = False
    return picks


def _gains(unknown: Unknown, left: Floats, noise: Floats) -> Floats:
    """Squared error [candidate] that a calculation of each takes away, eV^2."""
    return np.asarray((unknown.share @ left**2) / (np.diag(left) + noise), dtype=np.float64)


def nearest_known(r: float, known: Floats) -> float | None:
    """Distance to the nearest computed distance, angstrom; None where there is none."""
    return float(np.abs(known - r).min()) if len(known) else None
