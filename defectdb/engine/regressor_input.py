"""Checked float64 arrays from a caller's lists, arrays and data frames, and the names of their columns."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from defectdb.errors import SelectionError, UsageError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import names_variable

MAX_VARIABLES = 100
AGGREGATES = ("sum", "min", "max")
"""What points can make of their group."""


class NoNumbersError(SelectionError, TypeError):
    """Data of which some entries are no numbers."""


def matrix_of(X: ArrayLike) -> Floats:
    """[row, variable] in float64; a vector is one variable.

    Raises SelectionError for other shapes, values that are not finite, no rows and more than MAX_VARIABLES variables.
    """
    x = _numbers(X, "X")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise SelectionError(f"X must be [row, variable], not {x.shape}")
    rows, variables = x.shape
    if not rows:
        raise SelectionError(f"0 sample(s) (shape={x.shape}) while a minimum of 1 is required: X has no rows")
    if not variables:
        raise SelectionError(
            f"0 feature(s) (shape={x.shape}) while a minimum of 1 is required: X has no columns"
        )
    if variables > MAX_VARIABLES:
        raise SelectionError(f"X must be [row, variable] with 1 to {MAX_VARIABLES} variables, not {x.shape}")
    if not np.isfinite(x).all():
        raise SelectionError("X holds NaN or infinite values (inf); leave those rows out")
    return x


def vector_of(y: ArrayLike, name: str, rows: int | None = None) -> Floats:
    """[row] in float64; one column counts as a vector. Raises SelectionError for other shapes and lengths."""
    if y is None:
        raise SelectionError(f"a fit requires y to be passed, but the target {name} is None")
    values = _numbers(y, name)
    if values.ndim == 2 and values.shape[1] == 1:
        _warn_of_column(name)
        values = values[:, 0]
    if values.ndim != 1 or (rows is not None and len(values) != rows):
        wanted = "one value for every row" if rows is None else f"{rows} values, one for every row"
        raise SelectionError(f"{name} must be {wanted}, not {values.shape}")
    if not np.isfinite(values).all():
        raise SelectionError(f"{name} holds NaN or infinite values (inf); leave those rows out")
    return values


def _warn_of_column(name: str) -> None:
    """Say that a column was taken as a vector, by scikit-learn's warning where that library is loaded."""
    loaded = sys.modules.get("sklearn.exceptions")
    kind: type[Warning] = UserWarning if loaded is None else loaded.DataConversionWarning
    text = f"A column-vector {name} was passed when a 1d array was expected: it is read as [row]"
    warnings.warn(text, kind, stacklevel=4)


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
            expected, names = len(self.variables), ", ".join(self.variables)
            reshape = "Reshape your data to [row, variable]: " if np.ndim(X) == 1 else ""
            raise SelectionError(
                f"{reshape}{x.shape[1]} columns for a formula of {expected} ({names}): X has {x.shape[1]} features, "
                f"but SymbolicRegressor is expecting {expected} features as input"
            )
        return x


def _labels(X: Any) -> tuple[str, ...]:
    """A data frame's column names; none where there are none or not all are texts, as scikit-learn has it."""
    names = list(getattr(X, "columns", ()))
    return tuple(names) if names and all(isinstance(name, str) for name in names) else ()


def _numbers(values: ArrayLike, name: str) -> Floats:
    if hasattr(values, "toarray"):
        raise SelectionError(f"{name} is sparse, and sparse data are not supported; give {name}.toarray()")
    try:
        array = np.asarray(values)
        if array.dtype.kind != "c":
            return array.astype(np.float64)
    except ValueError as cause:
        raise SelectionError(f"{name} must hold numbers: {cause}") from cause
    except TypeError as cause:
        raise NoNumbersError(f"{name} must hold numbers: {cause}") from cause
    raise SelectionError(f"{name} holds complex numbers (Complex data not supported); give real ones")
