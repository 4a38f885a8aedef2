"""Numbers of a formula to the nats that they take: what a constant's precision costs, and what a round number."""

from __future__ import annotations

import math


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
