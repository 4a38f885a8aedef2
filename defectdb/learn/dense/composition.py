"""The functions of a composition from which a mean-field formula is chosen.

Electrons are shared by all defects of a dense structure. What they cost is a polynomial in the concentrations, and the
distance from a closed shell: |q|, where q is what donors give less what acceptors take.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from defectdb.expressions.arrays import Floats, Integers
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, Number, Variable
from defectdb.schema.labels import count_variable

GREATEST = 3
"""Largest number of electrons that one defect is taken to give or take."""


@dataclass(frozen=True)
class Library:
    """Functions without constants whose weighted sum a formula may be.

    Attributes:
        trees: the functions
        groups: those of one group share a prior [function]; 0 has none
    """

    trees: tuple[Expression, ...]
    groups: Integers

    def values(self, variables: Mapping[str, Floats]) -> Floats:
        """The functions' values [structure, function]."""
        n = len(next(iter(variables.values())))
        columns = [np.zeros(n) + evaluate_numpy(tree, variables, ()) for tree in self.trees]
        return np.stack(columns, axis=1) if columns else np.zeros((n, 0))


def _product(trees: Sequence[Expression]) -> Expression:
    whole = trees[0]
    for tree in trees[1:]:
        whole = Call("mul", (whole, tree))
    return whole


def _per_site(trees: Sequence[Expression]) -> Expression:
    """A product of numbers of defects that grows with the cell: of two over the sites, of three over their square."""
    whole = _product(trees)
    for _ in trees[1:]:
        whole = Call("div", (whole, Variable("sites")))
    return whole


def electron_counts(kinds: Sequence[str]) -> list[tuple[int, ...]]:
    """Whole-number vectors a of q = a.n that are tried, [kind] each: a donor against an acceptor among the vacancies.

    A substitution counts the valence electrons that it brings. Of one or two kinds all signs are tried.
    """
    if len(kinds) < 2:
        return [(1,) * len(kinds)]
    steps = [(a, b) for a in range(1, GREATEST + 1) for b in range(1, GREATEST + 1) if gcd(a, b) == 1]
    if len(kinds) == 2:
        return [(a, -b) for a, b in steps]
    given = [_valence(kind) for kind in kinds]
    vacancies = [i for i, kind in enumerate(kinds) if given[i] is None]
    shifted = any(given)
    found: list[tuple[int, ...]] = []
    for i, j in itertools.combinations(vacancies, 2):
        donor, acceptor = (i, j) if _host_valence(kinds[i]) > _host_valence(kinds[j]) else (j, i)
        for a, b in _all_steps() if shifted else steps:
            vector = [given[k] or 0 for k in range(len(kinds))]
            vector[donor], vector[acceptor] = a, -b
            found.append(tuple(vector))
    return found or [tuple(g or 0 for g in given)]


def _host_valence(kind: str) -> int:
    return _VALENCE.get(kind.partition("_")[2], 0)


def _all_steps() -> list[tuple[int, int]]:
    return [(a, b) for a in range(GREATEST + 1) for b in range(GREATEST + 1)]


_VALENCE = {
    "H": 1, "Li": 1, "B": 3, "C": 4, "N": 5, "O": 6, "F": 7, "Al": 3, "Si": 4, "P": 5, "S": 6, "Cl": 7, "Ga": 3,
    "Ge": 4, "As": 5, "Se": 6, "Br": 7, "In": 3, "Sn": 4, "Sb": 5, "Te": 6, "I": 7, "Ti": 4, "V": 5, "Cr": 6, "Mn": 7,
    "Fe": 8, "Co": 9, "Ni": 10, "Zr": 4, "Nb": 5, "Mo": 6, "Tc": 7, "Ru": 8, "Hf": 4, "Ta": 5, "W": 6, "Re": 7, "Os": 8,
}  # fmt: skip


def _valence(kind: str) -> int | None:
    """Electrons that a substitution brings; None for a vacancy, 0 where an element is not known."""
    new, _, old = kind.partition("_")
    if new == "Vac":
        return None
    if new not in _VALENCE or old not in _VALENCE:
        return 0
    return _VALENCE[new] - _VALENCE[old]


def _weighted(vector: Sequence[int], kinds: Sequence[str]) -> Expression:
    """q = a.n as a tree."""
    terms: list[Expression] = []
    for a, kind in zip(vector, kinds, strict=True):
        variable: Expression = Variable(count_variable(kind))
        if a:
            terms.append(variable if a == 1 else Call("mul", (Number(float(a)), variable)))
    whole = terms[0]
    for term in terms[1:]:
        whole = Call("add", (whole, term))
    return whole


def energy_library(kinds: Sequence[str]) -> Library:
    """Mean-field energies: products of two and three concentrations, and |q|. All of them grow with the cell."""
    counts: list[Expression] = [Variable(count_variable(kind)) for kind in kinds]
    squares = [_per_site(t) for t in itertools.combinations_with_replacement(counts, 2)]
    cubes = [_per_site(t) for t in itertools.combinations_with_replacement(counts, 3)]
    shells = [Call("abs", (_weighted(v, kinds),)) for v in electron_counts(kinds) if any(v)]
    groups = [1] * len(squares) + [2] * len(cubes) + [3 + i for i in range(len(shells))]
    return Library((*squares, *cubes, *shells), np.array(groups))
