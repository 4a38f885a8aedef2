"""The functions of a composition of which a law of gaps is made, each a formula without constants.

Whether a kind of defect is there, few of it, many of it, an odd number: at high density a gap is mostly electron
counting. Regimes are told apart with tanh and exp, which are 0 and 1 to double precision at whole numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression, complexity, from_prefix, number_text
from defectdb.schema.labels import count_variable

STEEP = 20
"""tanh(20 n) is 0 for none and 1 for one and more."""

ELECTRONS = ((1, 1), (1, 2), (2, 1), (2, 3), (1, 3), (3, 1))
"""Electrons that a vacancy of the one kind takes and one of the other gives; two counts that are tried in turn."""


@dataclass(frozen=True)
class Function:
    """One function that a law may add, times a constant.

    Attributes:
        tree: the formula, without constants
        values: its value [structure]
    """

    tree: Expression
    values: Floats

    @property
    def tokens(self) -> int:
        """Length of the formula."""
        return complexity(self.tree)


def function_of(text: str, variables: Mapping[str, Floats]) -> Function:
    """The function of these prefix tokens."""
    tree = from_prefix(text.split())
    n = len(next(iter(variables.values())))
    return Function(tree, np.zeros(n) + evaluate_numpy(tree, variables, ()))


def counting_texts(kinds: Sequence[str], sites: float) -> list[list[str]]:
    """Of every kind: its concentration, whether it is there, a concentration that saturates, odd numbers."""
    one = number_text(float(f"{1 / sites:.2g}"))
    found = []
    for kind in kinds:
        n = count_variable(kind)
        found.append(
            [
                f"div {n} sites",
                f"tanh mul {STEEP} {n}",
                f"div {n} add {n} mul {one} sites",
                f"cos mul {pi!r} {n}",
            ]
        )
    return found


def electron_texts(kinds: Sequence[str]) -> list[str]:
    """Of charges q = a n_1 - b n_2 of two kinds of vacancies: |q| per site, whether it is 0, its sign."""
    vacancies = [count_variable(kind) for kind in kinds if kind.startswith("Vac_")]
    if len(vacancies) != 2:
        vacancies = [count_variable(kind) for kind in kinds][:2] if len(kinds) == 2 else []
    found = []
    for a, b in ELECTRONS if vacancies else ():
        first, second = (f"mul {k} {n}" if k > 1 else n for k, n in zip((a, b), vacancies, strict=True))
        q = f"sub {first} {second}"
        found += [f"div abs {q} sites", f"abs tanh mul {STEEP} {q}", f"tanh {q}"]
    return found


def product_texts(groups: Sequence[Sequence[str]]) -> list[str]:
    """Products of the functions of two kinds, and squares of concentrations."""
    found = [f"square {texts[0]}" for texts in groups]
    for first, second in itertools.combinations(groups, 2):
        found += [f"mul {a} {b}" for a in first for b in second]
    return found


def regime_texts(metal: str, other: str) -> list[str]:
    """1 in one regime of two kinds of vacancies and 0 elsewhere: none of the first without and with the second, none,
    exactly one, exactly two, more; one and more, two and more.
    """
    some = f"tanh mul {STEEP} {metal}"
    here = f"tanh mul {STEEP} {other}"
    none = f"sub 1 {some}"
    exactly = [f"exp neg square mul {STEEP} sub {metal} {k}" for k in (1, 2)]
    more = [f"div add 1 tanh mul {2 * STEEP} sub {metal} {k} 2" for k in ("1.5", "2.5")]
    return [f"mul {none} sub 1 {here}", f"mul {none} {here}", none, *exactly, *more, some]


def usable(functions: Sequence[Function]) -> list[Function]:
    """The functions that vary, are finite, and are not another shorter one times a constant plus a constant."""
    kept: list[Function] = []
    directions: list[Floats] = []
    for function in sorted(functions, key=lambda f: f.tokens):
        centred = function.values - function.values.mean()
        size = float(np.sqrt(centred @ centred))
        if not np.isfinite(size) or size < 1e-9:
            continue
        direction = centred / size
        if directions and float(np.abs(np.stack(directions) @ direction).max()) > 1 - 1e-9:
            continue
        kept.append(function)
        directions.append(direction)
    return kept
