"""Neighbours of a formula: the same point of the box with one slot opened, closed or made of other units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defectdb.engine.equation_learner.networks import MOST_CONSTANTS, OPEN, PRODUCT_FROM, Network
from defectdb.expressions.arrays import Floats

_GATE, _PRODUCT = 0, 3  # places in the numbers of a slot
_KINDS = (1, 2)
_CHOICES = (0.2, 0.25, 0.15, 0.4)  # close, multiply or part, other constants, another unit
_CONSTANTS = (slice(-2 * MOST_CONSTANTS, -MOST_CONSTANTS), slice(-MOST_CONSTANTS, None))


def varied(networks: Sequence[Network], point: Floats, generator: np.random.Generator) -> Floats:
    """A neighbour of ``point``: one slot of one function changed, all else as it is."""
    out = point.copy()
    which = int(generator.integers(len(networks)))
    start = sum(network.size for network in networks[:which])
    network = networks[which]
    rows = out[start : start + network.size].reshape(network.slots, -1)
    slot = int(generator.integers(network.slots))
    row, fresh = rows[slot], generator.random(rows.shape[1])
    if slot and row[_GATE] <= OPEN:
        row[:] = fresh
        row[_GATE] = 1.0
        return out
    choice = int(generator.choice(4, p=_CHOICES))
    if choice == 0 and slot:
        row[_GATE] = 0.0
        return out
    units = _units(network, row)
    new = (float(fresh[_KINDS[0]]), fresh[_CONSTANTS[0]])
    at = int(generator.integers(len(units)))
    if choice == 1 and network.products:  # times a unit, or one of the two alone
        units = [*units, new] if len(units) == 1 else [units[at]]
    elif choice == 2:  # the same units from other constants
        units = [(kind, fresh[place]) for (kind, _), place in zip(units, _CONSTANTS, strict=False)]
    else:
        units[at] = new
    _write(network, row, units)
    return out


def _units(network: Network, row: Floats) -> list[tuple[float, Floats]]:
    """The kind of every unit of a slot, as the number that stands for it, and its constants."""
    if not (network.products and row[_PRODUCT] > PRODUCT_FROM):
        return [(float(row[_KINDS[0]]), row[_CONSTANTS[0]].copy())]
    kinds = sorted((float(row[k]) for k in _KINDS), key=lambda kind: _name(network, kind))
    return [(kind, row[place].copy()) for kind, place in zip(kinds, _CONSTANTS, strict=True)]


def _write(network: Network, row: Floats, units: list[tuple[float, Floats]]) -> None:
    """Put units into a slot; those of a product have their constants in the order of their names."""
    row[_PRODUCT] = float(len(units) > 1)
    ordered = sorted(units, key=lambda unit: _name(network, unit[0]))
    for (kind, constants), place, number in zip(ordered, _CONSTANTS, _KINDS, strict=False):
        row[number], row[place] = kind, constants


def _name(network: Network, kind: float) -> str:
    return network.units[min(int(kind * len(network.units)), len(network.units) - 1)]
