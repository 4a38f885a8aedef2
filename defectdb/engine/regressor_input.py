"""What a caller hands over (lists, arrays, data frames) to checked float64 arrays and the names of its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from defectdb.errors import SelectionError
from defectdb.expressions.arrays import Floats
from defectdb.expressions.expression import names_variable

MAX_VARIABLES = 6


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


def column_names(X: Any, count: int) -> tuple[str, ...]:
    """A data frame's own names where every one may be a variable's, else x, or x1, x2 ..."""
    own = tuple(str(name) for name in getattr(X, "columns", ()))
    if len(own) == count and len(set(own)) == count and all(map(names_variable, own)):
        return own
    return ("x",) if count == 1 else tuple(f"x{i + 1}" for i in range(count))


def _numbers(values: ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise SelectionError(f"{name} must hold numbers: {cause}") from cause
