"""Which formulas are looked for: the networks of pair term, density and embedding."""

from __future__ import annotations

from defectdb.engine.equation_learner.networks import Network
from defectdb.learn.potential.physics.potential import DENSITY, EMBEDDING, PAIR

_PAIR = (
    "exp",
    "power",
    "gauss",
    "gauss_at",
    "wave",
    "cosine",
    "bell",
    "quotient",
    "step",
    "parabola",
    "shifted",
)
_DENSITY = ("exp", "power", "gauss", "gauss_at", "bell", "quotient", "wave", "parabola")
_EMBEDDING = (
    "root",
    "rising_power",
    "identity",
    "square",
    "saturating",
    "logarithm",
    "ratio",
    "root_ratio",
    "log",
)


def networks(shortest: float, cutoff: float, slots: tuple[int, int, int] = (2, 2, 2)) -> tuple[Network, ...]:
    """Networks for distances from ``shortest`` to ``cutoff`` (angstrom); the first amplitude of rho is 1.

    F is made of functions that are nothing at no density.
    """
    r = (("r",), (shortest,), (cutoff,))
    return (
        Network(PAIR, *r, units=_PAIR, slots=slots[0]),
        Network(DENSITY, *r, units=_DENSITY, slots=slots[1], unit_amplitude=True),
        Network(EMBEDDING, ("rho",), (0.0,), (1.0,), units=_EMBEDDING, slots=slots[2], products=False),
    )
