"""Close connections that a network does not need: a smoothed root of the amplitudes as a penalty, then exact zeros.

The penalty is L1/2 smoothed near zero (Wu et al., Neural Networks 50, 72, 2014; Kim et al., IEEE Trans. Neural Netw.
Learn. Syst. 32, 4166, 2021). What it made small is taken out whole and stays out where the error on rows that were not
fitted does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.engine.equation_learner.least_squares import Objective, minimise
from defectdb.engine.equation_learner.networks import Built, Network, Term, built
from defectdb.expressions.arrays import Flags, Floats

_SMOOTH = 1e-2  # share of an amplitude's size at the start below which the penalty is smooth


@dataclass(frozen=True, slots=True, eq=False)
class Penalised:
    """A sum of squares with a penalty of the amplitudes' roots.

    ``objective``: the sum of squares. ``linear`` [k]: which constants are amplitudes.
    ``size`` [k]: their sizes at the start. ``weight``: of the penalty, in units of the sum of squares.
    """

    objective: Objective
    linear: Flags
    size: Floats
    weight: float

    def residuals(self, constants: Floats) -> Floats | None:
        """Residuals [row], then one of every amplitude."""
        errors = self.objective.residuals(constants)
        return None if errors is None else np.concatenate([errors, self._penalty(constants)[0]])

    def both(self, constants: Floats) -> tuple[Floats, Floats] | None:
        """Residuals and their derivatives."""
        found = self.objective.both(constants)
        if found is None:
            return None
        values, slopes = self._penalty(constants)
        rows = np.zeros((len(values), len(constants)))
        rows[np.arange(len(values)), np.flatnonzero(self.linear)] = slopes
        return np.concatenate([found[0], values]), np.concatenate([found[1], rows])

    def _penalty(self, constants: Floats) -> tuple[Floats, Floats]:
        """Numbers whose squares are the smoothed roots of the amplitudes, and their derivatives."""
        relative = constants[self.linear] / self.size[self.linear]
        inner = relative**2 + _SMOOTH**2
        value = np.sqrt(self.weight) * inner**0.125
        slope = np.sqrt(self.weight) * 0.25 * relative * inner ** (0.125 - 1.0) / self.size[self.linear]
        return value, slope


def shrunk(
    objective: Objective, constants: Floats, linear: Flags, share: float = 0.05, iterations: int = 20
) -> Floats:
    """The constants under the penalty, whose weight is this share of the sum of squares."""
    now = objective.residuals(constants)
    if now is None or not linear.any():
        return constants
    size = np.maximum(np.abs(constants), 1e-12)
    weight = share * float(now @ now) / int(linear.sum())
    return minimise(Penalised(objective, linear, size, weight), constants, iterations=iterations).constants


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """One function after closing: open slots, function, constants."""

    terms: tuple[Term, ...]
    function: Built
    constants: Floats


def closed(
    network: Network,
    terms: Sequence[Term],
    constants: Floats,
    objective_of: Callable[[Built], Objective],
    validation: Callable[[Built, Floats], float],
    growth: float = 0.01,
) -> Sparse:
    """Close slots one after another, weakest under the penalty first, while ``validation`` grows by no more than
    ``growth`` (a share) in each step; constants are fitted anew every time.
    """
    here = _function(network, tuple(terms), constants)
    value = validation(here.function, here.constants)
    while len(here.terms) > 1:
        sizes = _strengths(
            network, here, shrunk(objective_of(here.function), here.constants, here.function.linear)
        )
        for slot in np.argsort(sizes):
            fewer = _without(network, here, int(slot))
            if fewer is None:
                continue
            end = minimise(objective_of(fewer.function), fewer.constants, iterations=30).constants
            new = validation(fewer.function, end)
            if new <= value * (1.0 + growth):
                here, value = Sparse(fewer.terms, fewer.function, end), new
                break
        else:
            return here
    return here


def _function(network: Network, terms: tuple[Term, ...], constants: Floats) -> Sparse:
    function = built(network, terms, [np.full(6, 0.5)] * len(terms))
    return Sparse(terms, Built(function.expression, constants, function.linear), constants)


def _blocks(network: Network, terms: Sequence[Term]) -> list[slice]:
    """Where every slot's constants stand: its amplitude first, if it has one."""
    blocks, at = [], 0
    for number, term in enumerate(terms):
        count = term.n_constants + int(number > 0 or not network.unit_amplitude)
        blocks.append(slice(at, at + count))
        at += count
    return blocks


def _strengths(network: Network, here: Sparse, penalised: Floats) -> Floats:
    """What the penalty left of every slot's amplitude, as a share; infinite for one without."""
    left = []
    for number, block in enumerate(_blocks(network, here.terms)):
        if number == 0 and network.unit_amplitude:
            left.append(np.inf)
        else:
            left.append(
                abs(float(penalised[block.start])) / max(abs(float(here.constants[block.start])), 1e-300)
            )
    return np.array(left)


def _without(network: Network, here: Sparse, slot: int) -> Sparse | None:
    if slot == 0 and network.unit_amplitude:
        return None
    blocks = _blocks(network, here.terms)
    keep = np.ones(len(here.constants), dtype=np.bool_)
    keep[blocks[slot]] = False
    terms = tuple(term for i, term in enumerate(here.terms) if i != slot)
    return _function(network, terms, here.constants[keep])
