"""Atomic numbers of the elements that a network knows."""

from __future__ import annotations

import polars as pl

from defectdb.errors import UsageError
from defectdb.expressions.arrays import Integers

SYMBOLS = (
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K",
    "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr",
    "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I",
    "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb",
    "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr",
    "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu",
)  # fmt: skip
"""Symbols of the elements 1 to 94."""


def atomic_numbers(symbols: pl.Series) -> Integers:
    """Atomic number of every symbol, 0 where there is none. Raises UsageError for what is no element up to Pu."""
    strange = sorted(set(symbols.drop_nulls()) - set(SYMBOLS))
    if strange:
        raise UsageError(
            f"{', '.join(map(repr, strange))} is no element from H to Pu: the network has no place for it"
        )
    numbers: Integers = symbols.replace_strict(
        SYMBOLS, range(1, len(SYMBOLS) + 1), default=0, return_dtype=pl.Int64
    ).to_numpy()
    return numbers
