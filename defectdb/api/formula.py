"""One stored formula in a notebook: a function, and text in every notation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from defectdb.expressions.evaluation import evaluate_numpy, to_latex, to_sympy
from defectdb.expressions.expression import Expression
from defectdb.expressions.texts import to_c_function, to_infix, to_python
from defectdb.query.polars_math import to_polars

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, repr=False)
class Formula:
    """One stored formula: call it with its variables (angstrom) for values in eV.

    ``formula_id``: its row of table formulas.
    ``material``, ``pair_label``, ``target``: what it was learned for.
    ``expression``, ``constants``: the formula.
    """

    formula_id: int
    material: str
    pair_label: str
    target: str
    expression: Expression
    constants: tuple[float, ...]

    def __call__(self, **variables: ArrayLike) -> NDArray[Any]:
        """Values in eV: ``formula(r=3.19, dz=0)``; NaN outside the formula's domain."""
        return evaluate_numpy(self.expression, variables, self.constants)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return to_infix(self.expression, self.constants, digits=5)

    def __repr__(self) -> str:
        return f"<formula {self.formula_id}, {self.pair_label} {self.target} of {self.material}: {self}>"

    @property
    def latex(self) -> str:
        """LaTeX mathematics, the constants rounded to five digits."""
        return to_latex(self.expression, self.constants)

    @property
    def sympy(self) -> Any:
        """A sympy expression."""
        return to_sympy(self.expression, self.constants)

    @property
    def polars(self) -> pl.Expr:
        """A polars expression over columns named like the variables."""
        return to_polars(self.expression, self.constants)

    @property
    def python(self) -> str:
        """Source of a plain Python function."""
        return to_python(self.expression, self.constants)

    @property
    def c(self) -> str:
        """Source of a C99 function."""
        return to_c_function(self.expression, self.constants)

    def _repr_latex_(self) -> str:
        return f"${self.latex}$"
