"""Checked float64 arrays from a caller's lists, arrays and data frames, and the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from defectdb.errors import SelectionError, UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import names_variable

MAX_VARIABLES = 6
AGGREGATES = ("sum", "min", "max")
"""What points can make of their group."""


def matrix_of(X: ArrayLike) -> Floats:
    """[row, variable] in float64. Raises SelectionError for other shapes and more than six variables."""
    x = _numbers(X, "X")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not 1 <= x.shape[1] <= MAX_VARIABLES:
        raise SelectionError(f"X must be [row, variable] with 1 to {MAX_VARIABLES} variables, not {x.shape}")
    return x


def vector_of(y: ArrayLike, name: str, rows: int | None = None) -> Floats:
    """[row] in float64; one column counts as a vector. Raises SelectionError for other shapes and lengths."""
    values = _numbers(y, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or (rows is not None and len(values) != rows):
        wanted = "one value for every row" if rows is None else f"{rows} values, one for every row"
        raise SelectionError(f"{name} must be {wanted}, not {values.shape}")
    return values


def groups_of(groups: ArrayLike, points: int, rows: int | None = None) -> NDArray[np.int64]:
    """Group numbers [point], all from 0 to the largest (or ``rows`` - 1). Raises SelectionError where one is absent."""
    row = np.asarray(groups)
    if row.shape != (points,) or row.dtype.kind not in "iu" or not points or row.min() < 0:
        raise SelectionError(f"groups must be {points} whole numbers from 0, one for every row of X")
    last = int(row.max()) if rows is None else rows - 1
    if len(np.unique(row)) != last + 1 or row.max() != last:
        raise SelectionError(
            f"every group from 0 to {last} needs a row of X, and none may be numbered higher"
        )
    return row.astype(np.int64)


def points_in_rows(groups: ArrayLike | None, points: int, rows: int, aggregate: str) -> dict[str, Any]:
    """Options of a ``Problem`` that make rows from groups of points; none where rows are points."""
    if groups is None:
        return {}
    row = groups_of(groups, points, rows)
    if aggregate == "sum":
        mixing = np.zeros((rows, points))
        mixing[row, np.arange(points)] = 1.0
        return {"mixing": torch.from_numpy(mixing)}
    order = np.argsort(row, kind="stable")
    count = np.bincount(row)
    within = np.minimum(np.arange(count.max()), count[:, None] - 1)
    table = order[(np.cumsum(count) - count)[:, None] + within]
    return {"groups": torch.from_numpy(table), "extreme": aggregate}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a regressor was fitted to.

    ``variables`` [variable]: their names in formulas.
    ``labels`` [variable]: their names in data frames, in the same order; none where the data had no names.
    """

    variables: tuple[str, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, X: ArrayLike, variables: Sequence[str] | None) -> Columns:
        """The columns of the data, called ``variables`` if given, else as in a data frame, else x, or x1, x2 ...

        Raises UsageError for as many variables as there are no columns, SelectionError for names that no variable can
        have.
        """
        count, labels = matrix_of(X).shape[1], _labels(X)
        if variables is not None:
            if len(variables) != count:
                raise UsageError(f"{len(variables)} variable names for {count} columns")
            return cls(tuple(variables), labels or tuple(variables))
        if not labels:
            return cls(("x",) if count == 1 else tuple(f"x{i + 1}" for i in range(count)), ())
        odd = [name for name in labels if not names_variable(name)]
        if odd:
            raise SelectionError(
                f"no variable can be called {', '.join(map(repr, odd))}: up to 16 small letters, digits and "
                "_, a letter first, no operator's name nor c, c0, c1 ...; rename the columns or give variables=(...)"
            )
        if len(set(labels)) < count:
            raise SelectionError(f"columns need names of their own, not {', '.join(labels)}")
        return cls(labels, labels)

    def select(self, X: ArrayLike) -> Floats:
        """The variables' values [row, variable]: a data frame's columns by name, an array's in their order.

        Raises SelectionError for missing columns and another number of them.
        """
        own = _labels(X)
        if own and self.labels:
            wanted = self.variables if set(self.variables) <= set(own) else self.labels
            missing = [name for name in wanted if name not in own]
            if missing:
                raise SelectionError(
                    f"the columns {', '.join(map(repr, own))} lack {', '.join(map(repr, missing))}, "
                    "from which the formula was learned"
                )
            X = X[list(wanted)]  # type: ignore[index, call-overload]
        x = matrix_of(X)
        if x.shape[1] != len(self.variables):
            names = ", ".join(self.variables)
            raise SelectionError(f"{x.shape[1]} columns for a formula of {len(self.variables)} ({names})")
        return x


def _labels(X: Any) -> tuple[str, ...]:
    """A data frame's column names; none where there are none or not all are texts, as scikit-learn has it."""
    names = list(getattr(X, "columns", ()))
    return tuple(names) if names and all(isinstance(name, str) for name in names) else ()


def _numbers(values: ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise SelectionError(f"{name} must hold numbers: {cause}") from cause
