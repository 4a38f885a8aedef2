"""Interaction laws of the field as skeletons: baselines to compare with, and seeds of every search."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.expressions.expression import Expression, from_prefix


@dataclass(frozen=True, slots=True)
class Law:
    """One law of the field.

    ``name``: its name.
    ``prefix``: skeleton in ``r`` with constants ``c0, c1 ...``; coefficients of the summands and an offset are free
    besides. Decays are written with a minus sign: the fits' random starts are mostly positive.
    ``meaning``: where it comes from.
    """

    name: str
    prefix: str
    meaning: str

    @property
    def skeleton(self) -> Expression:
        """The skeleton as a tree."""
        return from_prefix(self.prefix.split())


_POWER, _AS_EXPONENTIAL = "pow r c0", "exp neg mul c0 log r"

LAWS: tuple[Law, ...] = (
    Law("inverse distance", "inv r", "Coulomb tail"),
    Law("elastic 1/r^2", "inv square r", "elastic dipoles in a thin sheet"),
    Law("dipolar 1/r^3", "inv cube r", "parallel electric dipoles"),
    Law("power law", _AS_EXPONENTIAL, "r to a free power"),
    Law("exponential", "exp neg mul c0 r", "overlap of decaying defect states"),
    Law("Gaussian", "exp neg mul c0 square r", "overlap of localised densities"),
    Law("Yukawa", "div exp neg mul c0 r r", "screened Coulomb interaction"),
    Law("Morse", "square sub 1 exp neg mul c0 sub r c1", "anharmonic well; Phys. Rev. 34, 57 (1929)"),
    Law("Lennard-Jones", "add square cube square inv r cube square inv r", "12-6 potential"),
    Law("RKKY (2D)", "div cos mul c0 r square r", "2D RKKY far field; Phys. Rev. B 11, 2025 (1975)"),
    Law("Friedel (2D)", "div cos add mul c0 r c1 square r", "Friedel oscillation with a phase in 2D"),
    Law(
        "damped oscillation",
        "mul exp neg mul c0 r cos add mul c1 r c2",
        "oscillation under an exponential envelope",
    ),
)
"""Skeletons whose constants are fitted by the same machinery as every other candidate."""


def law_seeds(grammar: Grammar) -> Tensor:
    """The laws as token rows [formula, position] in every variable of a grammar, those that it can write.

    Powers as such where it has them.
    """
    texts = [
        _POWER if law.prefix == _AS_EXPONENTIAL and "pow" in grammar.index else law.prefix for law in LAWS
    ]
    return grammar.encode_all(
        [variable if name == "r" else name for name in text.split()]
        for variable in grammar.variables
        for text in texts
    )
