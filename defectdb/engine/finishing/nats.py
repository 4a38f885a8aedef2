"""Description length, in nats, of residuals, constants and round numbers."""

from __future__ import annotations

import math

from scipy.optimize import minimize_scalar


def nats_of(loss: float, n_rows: int, huber: float) -> float:
    """Nats of ``n_rows`` rows which a formula leaves at this mean ``loss``, up to what all formulas have in common.

    The least over s of -log likelihood for errors of density exp(-loss / (2 s^2)) / Z(s), to which least loss is
    maximum likelihood: without ``huber`` Gaussian, n/2 log(loss). With it Z(s) = s sqrt(2 pi) erf(huber / (s sqrt 2)) +
    2 s^2 / huber exp(-huber^2 / (2 s^2)), whose tails are exponential: n log(loss) where they make up most of it.
    """
    loss = max(loss, 1e-300)
    if not huber or not math.isfinite(loss):
        return 0.5 * n_rows * math.log(loss)

    def per_row(log_variance: float) -> float:
        s = math.exp(0.5 * log_variance)
        inside = s * math.sqrt(2 * math.pi) * math.erf(huber / (s * math.sqrt(2)))
        tails = 2 * s * s / huber * math.exp(-0.5 * (huber / s) ** 2)
        return 0.5 * loss / (s * s) + math.log(inside + tails)

    # the mean loss is s^2 of a Gaussian and 2 s^2 of an exponential
    ends = (math.log(loss / 3), math.log(loss) + 0.1)
    least = minimize_scalar(per_row, bounds=ends, method="bounded", options={"xatol": 1e-9})
    return n_rows * (float(least.fun) - 0.5 * (1 + math.log(2 * math.pi)))


def nats_of_constant(value: float, information: float) -> float:
    """log |c| + 1/2 log(I / 3) for a constant c of Fisher information I, and nothing where that is negative.

    How often the step sqrt(12 / I) that suits its precision goes into its size, twice over for the sign; a constant
    that cannot be told from zero takes nothing (Bartlett, Desmond & Ferreira, IEEE Trans. Evol. Comput. 2023).
    """
    if not information * value * value > 0:
        return 0.0
    return max(0.0, 0.5 * math.log(information / 3) + math.log(abs(value)))


def nats_of_number(number: float) -> float:
    """log(1 + |n|) for a whole number n; twice as large and a bit more for halves, four times and two for quarters."""
    for doublings in range(3):
        scaled = number * 2**doublings
        if scaled.is_integer():
            break
    return doublings * math.log(2) + math.log(1 + abs(scaled))
