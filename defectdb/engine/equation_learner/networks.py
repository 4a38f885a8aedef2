"""Equation learner networks: which formulas there can be, and each as a point in a box.

A network is a sum of slots, each an amplitude times one unit or the product of two; a connection that is closed takes
its slot away. All choices and all constants together are numbers from 0 to 1, on which a tree search moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defectdb.engine.equation_learner.units import UNITS, Unit, call
from defectdb.expressions.arrays import Flags, Floats
from defectdb.expressions.expression import Constant, Expression, Variable

OPEN, PRODUCT_FROM = 0.5, 1.0 - 1.0 / 3.0
"""A slot whose gate is above the first is open; one whose product number is above the second is a product."""
MOST_CONSTANTS = 3
"""Constants of one unit at the most."""


@dataclass(frozen=True, slots=True)
class Network:
    """The formulas of one function.

    ``name``: the function, for people.
    ``variables``: its inputs.
    ``low``, ``high`` [variable]: between which values the inputs lie.
    ``units``: names of the units that it may hold.
    ``slots``: summands at the most; the first is always open.
    ``unit_amplitude``: whether the first amplitude is 1 instead of a constant, where the scale is another's.
    ``products``: whether a slot may be the product of two units.
    ``offset``: whether a constant is added.
    """

    name: str
    variables: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    units: tuple[str, ...]
    slots: int = 2
    unit_amplitude: bool = False
    products: bool = True
    offset: bool = False

    @property
    def size(self) -> int:
        """Numbers that one formula of it takes."""
        return self.slots * _slot_size(self)


@dataclass(frozen=True, slots=True)
class Term:
    """One open slot: its units and the variable that each reads."""

    units: tuple[Unit, ...]
    inputs: tuple[int, ...]

    @property
    def n_constants(self) -> int:
        """Constants of its units."""
        return sum(len(unit.ranges) for unit in self.units)


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """One function of a structure.

    ``expression``: with constants c0, c1 ... of its own.
    ``start`` [k]: first guesses of the constants.
    ``linear`` [k]: which of them are amplitudes, in which the function is linear.
    """

    expression: Expression
    start: Floats
    linear: Flags


Structure = tuple[tuple[Term, ...], ...]
"""The open slots of every network."""


def _slot_size(network: Network) -> int:
    # gate, two kinds, whether it is a product, two inputs, constants of two units
    return 4 + 2 * (len(network.variables) > 1) + 2 * MOST_CONSTANTS


def decoded(networks: Sequence[Network], point: Floats) -> tuple[Structure, list[Built]]:
    """The structure of a point in the box, and its functions with the constants that the point says."""
    structure: list[tuple[Term, ...]] = []
    functions: list[Built] = []
    at = 0
    for network in networks:
        numbers = point[at : at + network.size].reshape(network.slots, -1)
        at += network.size
        terms: list[Term] = []
        shares: list[Floats] = []
        for slot, row in enumerate(numbers):
            if slot and row[0] <= OPEN:
                continue
            term = _term(network, row)
            if any(_alike(term, other) for other in terms):
                continue  # two slots of the same units without constants would be one written twice
            terms.append(term)
            shares.append(row[-2 * MOST_CONSTANTS :])
        structure.append(tuple(terms))
        functions.append(built(network, tuple(terms), shares))
    return tuple(structure), functions


def _alike(a: Term, b: Term) -> bool:
    return a.n_constants == 0 and a == b


def _term(network: Network, row: Floats) -> Term:
    names = network.units
    kinds = [UNITS[names[min(int(row[1 + i] * len(names)), len(names) - 1)]] for i in range(2)]
    product = network.products and row[3] > PRODUCT_FROM
    several = len(network.variables)
    inputs = [min(int(row[4 + i] * several), several - 1) for i in range(2)] if several > 1 else [0, 0]
    if not product:
        return Term((kinds[0],), (inputs[0],))
    pairs = sorted(zip(kinds, inputs, strict=True), key=lambda pair: (pair[0].name, pair[1]))
    return Term(tuple(k for k, _ in pairs), tuple(i for _, i in pairs))


def built(network: Network, terms: Sequence[Term], shares: Sequence[Floats]) -> Built:
    """One function: amplitudes and units with numbered constants, and their first guesses."""
    start: list[float] = []
    linear: list[bool] = []
    total: Expression | None = None
    for number, (term, share) in enumerate(zip(terms, shares, strict=True)):
        body: Expression | None = None
        if number or not network.unit_amplitude:
            body = Constant(len(start))
            start.append(1.0)
            linear.append(True)
        for i, (unit, place) in enumerate(zip(term.units, term.inputs, strict=True)):
            leaves = [Constant(len(start) + k) for k in range(len(unit.ranges))]
            for k, bounds in enumerate(unit.ranges):
                start.append(
                    bounds.value(
                        float(share[i * MOST_CONSTANTS + k]), network.low[place], network.high[place]
                    )
                )
                linear.append(False)
            factor = unit.build(Variable(network.variables[place]), leaves)
            body = factor if body is None else call("mul", body, factor)
        assert body is not None
        total = body if total is None else call("add", total, body)
    assert total is not None
    if network.offset:
        total = call("add", total, Constant(len(start)))
        start.append(0.0)
        linear.append(True)
    return Built(total, np.array(start), np.array(linear, dtype=np.bool_))


def encoded(networks: Sequence[Network], point: Floats, constants: Sequence[Floats]) -> Floats:
    """The same point with the constants of its functions moved to these values, kept inside the box."""
    out, at = point.copy(), 0
    for network, values in zip(networks, constants, strict=True):
        numbers = out[at : at + network.size].reshape(network.slots, -1)
        at += network.size
        seen: list[Term] = []
        k = 0
        for slot, row in enumerate(numbers):
            if slot and row[0] <= OPEN:
                continue
            term = _term(network, row)
            if any(_alike(term, other) for other in seen):
                continue
            k += int(bool(seen) or not network.unit_amplitude)
            seen.append(term)
            for i, (unit, place) in enumerate(zip(term.units, term.inputs, strict=True)):
                for j, bounds in enumerate(unit.ranges):
                    share = bounds.share(float(values[k]), network.low[place], network.high[place])
                    row[len(row) - 2 * MOST_CONSTANTS + i * MOST_CONSTANTS + j] = share
                    k += 1
    return out


def structure_text(structure: Structure) -> str:
    """A structure for people: ``exp*power + gauss | exp | root``."""
    return " | ".join(
        " + ".join("*".join(unit.name for unit in term.units) for term in terms) for terms in structure
    )
