"""Potentials of fixed form, published or refitted to the same configurations, to compare learned ones with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from defectdb.expressions.expression import from_prefix
from defectdb.learn.potential.fitting.fit import Fitted, PotentialLoss, fit
from defectdb.learn.potential.physics.potential import Formula, Potential, Window


@dataclass(frozen=True, slots=True)
class Baseline:
    """A fixed form.

    ``name``: how tables call it.
    ``potential``: formulas with constants to start from, or as published.
    ``fitted``: whether constants are fitted.
    ``source``: where form and constants come from.
    """

    name: str
    potential: Potential
    fitted: bool
    source: str


def formula(prefix: str, *constants: float) -> Formula:
    """A formula of prefix tokens and its constants."""
    return Formula(from_prefix(prefix.split()), constants)


_SUTTON_CHEN = "Sutton and Chen, Philos. Mag. Lett. 61, 139 (1990)"
_CU = {"n": 9.0, "m": 6.0, "eps": 1.2382e-2, "c": 39.432, "a": 3.61}


def baselines(window: Window, scale: float = 1.0) -> list[Baseline]:
    """Sutton and Chen's potential of copper as published and refitted, Gupta's form, exp-Gauss-root.

    ``scale``: how much longer distances are than in copper; starting constants follow it.
    """
    c = _CU
    published = Potential(
        formula("mul c0 pow div c1 r c2", c["eps"], c["a"], c["n"]),
        formula("pow div c0 r c1", c["a"], c["m"]),
        formula("mul c0 sqrt rho", -c["c"] * c["eps"]),
        Window(window.cutoff, min(0.5, window.width)),
    )
    length = c["a"] * scale
    powers = Potential(
        formula("mul c0 pow r neg c1", c["eps"] * length ** c["n"], c["n"]),
        formula("pow r neg c0", c["m"]),
        formula("mul c0 sqrt rho", -c["c"] * c["eps"] * length ** (c["m"] / 2)),
        window,
    )
    gupta = Potential(
        formula("mul c0 exp neg mul c1 r", 2700.0, 3.5 / scale), formula("exp neg mul c0 r", 2.1 / scale),
        formula("mul c0 sqrt rho", -25.0), window,
    )  # fmt: skip
    gauss = Potential(
        formula("mul c0 exp neg mul c1 r", 1300.0, 3.2 / scale),
        formula("exp neg mul c0 square sub r c1", 0.45 / scale**2, 0.25 * scale),
        formula("mul c0 sqrt rho", -6.0), window,
    )  # fmt: skip
    return [
        Baseline("Sutton-Chen, published", published, False, _SUTTON_CHEN),
        Baseline("Sutton-Chen, refitted", powers, True, _SUTTON_CHEN),
        Baseline("Gupta", gupta, True, "Gupta, Phys. Rev. B 23, 6265 (1981); Cleri and Rosato, ibid. 48, 22 (1993)"),
        Baseline("exp, Gauss, root", gauss, True, "two constants of phi, two of rho, one of F"),
    ]  # fmt: skip


def fitted_baselines(
    forms: Sequence[Baseline], loss: PotentialLoss
) -> list[tuple[Baseline, Fitted[Potential]]]:
    """The forms with the constants that fit these configurations best; those that are not fitted as they are."""
    return [(form, fit(form.potential, loss, iterations=60 if form.fitted else 0)) for form in forms]
