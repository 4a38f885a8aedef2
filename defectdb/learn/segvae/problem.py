"""What the formulas must reproduce: points, values, weights, and how points add up to rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from defectdb.errors import SelectionError


@dataclass(frozen=True)
class Problem:
    """What the formulas must reproduce.

    ``x`` [variable, point]; ``y`` [row]; ``weight`` [row], or [start, row] for one set per start, or
    [formula, 1, row]; ``mixing`` [row, point] adds point values up into rows (a sum over pairs); ``groups``
    [row, place] names the points of which each row is the ``extreme``, "min" or "max" (a gap is its pairs'
    smallest), short rows filled with one of their own; without either, rows are points. ``offset`` adds a free
    constant; ``max_terms`` free coefficients at the most. ``huber``: residuals beyond it (in units of ``y``) count
    linearly instead of squared; 0 for plain least squares.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    mixing: Tensor | None = None
    groups: Tensor | None = None
    extreme: str = "min"
    offset: bool = True
    max_terms: int = 3
    huber: float = 0.0

    @classmethod
    def of(cls, x: Tensor, y: Tensor, weight: Tensor | None = None, **options: object) -> Problem:
        """A checked problem in float64.

        Raises SelectionError on NaN and infinity, on shapes that do not fit, on negative or vanishing
        weights and where no variable varies.
        """
        x, y = torch.atleast_2d(x).double(), y.double()
        weight = torch.ones_like(y) if weight is None else weight.double()
        if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
            raise SelectionError("the data hold NaN or infinite values; leave those rows out (--where)")
        problem = cls(x, y, weight, **options)  # type: ignore[arg-type]
        joint = problem.mixing if problem.groups is None else problem.groups
        rows = x.shape[1] if joint is None else len(joint)
        if rows != len(y) or (problem.mixing is not None and problem.mixing.shape[1] != x.shape[1]):
            raise SelectionError(f"{rows} rows of variables for {len(y)} values")
        if not (torch.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise SelectionError("weights must be finite, not negative, and not all zero")
        if not rows or bool((x == x[:, :1]).all()):
            raise SelectionError(
                "no variable varies over these rows: there is nothing to learn but a constant"
            )
        return problem

    @property
    def reach(self) -> float:
        """The largest size of a variable, or 1: nonlinear constants are looked for on this scale.

        Of sums the first points count alone: the images far behind them follow.
        """
        size = self.x.abs().amax(0)
        if self.mixing is not None:
            size = torch.where(self.mixing > 0, size, torch.inf).amin(1)
            size = size[torch.isfinite(size)]
        return max(1.0, float(size.amax())) if len(size) else 1.0

    def to(self, device: torch.device | str) -> Problem:
        """The same problem on another device."""
        mixing, groups = (None if block is None else block.to(device) for block in (self.mixing, self.groups))
        x, y, weight = (block.to(device) for block in (self.x, self.y, self.weight))
        return replace(self, x=x, y=y, weight=weight, mixing=mixing, groups=groups)

    @property
    def pointwise(self) -> bool:
        """Whether rows are points, nothing summed and no extreme taken."""
        return self.mixing is None and self.groups is None

    def rows_of(self, values: Tensor) -> Tensor:
        """What values at the points [..., point] make of the rows, [..., row]."""
        if self.groups is not None:
            return self.deciding(values)[0]
        return values if self.mixing is None else values @ self.mixing.T

    def deciding(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' extremes and the points that have them, both [..., row], from values [..., point]."""
        assert self.groups is not None
        grouped = values[..., self.groups]
        extreme, place = grouped.min(-1) if self.extreme == "min" else grouped.max(-1)
        points = self.groups.expand_as(grouped).gather(-1, place.unsqueeze(-1)).squeeze(-1)
        return extreme, points

    def scale(self) -> Tensor:
        """Size of what there is to explain, [start] or scalar: the data's norm, or its norm about the mean.

        With an offset the mean is explained already, and must not hide summands that cancel one another.
        """
        if not self.offset or not self.pointwise:
            return (self.weight * self.y.square()).sum(-1).sqrt()
        mean = (self.weight * self.y).sum(-1, keepdim=True) / self.weight.sum(-1, keepdim=True).clamp(
            min=1e-300
        )
        plain = (self.weight * (self.y - mean).square()).sum(-1).sqrt()
        return torch.maximum(plain, (1e-3 * self.weight * self.y.square()).sum(-1).sqrt() * 1e-3)

    @cached_property
    def root(self) -> Tensor | None:
        """Square roots of the weights; None where all of them are one."""
        return None if bool((self.weight == 1).all()) else self.weight.sqrt()

    @property
    def n_columns(self) -> int:
        """Linear coefficients: the terms, then the offset if there is one."""
        return self.max_terms + int(self.offset)


@dataclass(frozen=True, slots=True)
class Fit:
    """Best constants found, formula by formula.

    ``theta`` [formula, k] (padded with 0), ``beta`` [formula, column] coefficients of the terms and, last,
    the offset; ``sse`` [formula] weighted sum of squared errors, infinite where the formula cannot be
    evaluated.
    """

    theta: Tensor
    beta: Tensor
    sse: Tensor
