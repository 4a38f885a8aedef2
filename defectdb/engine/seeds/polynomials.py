"""Polynomials as skeletons to try first."""

from __future__ import annotations

from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar


def polynomial_seeds(grammar: Grammar, degree: int = 9) -> Tensor:
    """Polynomials that the grammar can write, int64 [formula, position].

    In Horner's form with free coefficients and with all coefficients one, degree 2 upwards, and sums of two
    of them in different variables.
    """
    single = [
        _horner(name, leaf, power)
        for name in grammar.variables
        for leaf in ("c", "1")
        for power in range(2, degree + 1)
    ]
    double = [
        ["add", *_horner(a, "c", m), *_horner(b, "c", n)]
        for a in grammar.variables for b in grammar.variables if a != b
        for m in (2, 3, 4) for n in (1, 2, 3)
    ]  # fmt: skip
    return grammar.encode_all([*single, *double])


def _horner(name: str, leaf: str, degree: int) -> list[str]:
    """x * (leaf + x * (leaf + ... x)) in prefix tokens."""
    return ["mul", name, "add", leaf] * (degree - 1) + [name]
