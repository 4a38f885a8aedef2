"""The data of a symbolic regression: points, target values, weights, and how points make rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectdb.errors import SelectionError

Residuals = TypeVar("Residuals", Tensor, NDArray[np.float64])


def loss_of(residual: Residuals, huber: float) -> Residuals:
    """Loss of every residual (units of ``y`` squared): its square, and beyond ``huber`` (units of ``y``; 0: none is
    beyond) huber (2 |residual| - huber), which goes on as a line (Huber, Ann. Math. Stat. 1964).
    """
    if not huber:
        return residual * residual
    size = abs(residual)
    near = size.clip(max=huber)
    loss: Residuals = near * (2 * size - near)
    return loss


@dataclass(frozen=True)
class Problem:
    """The data that formulas must reproduce.

    ``x`` [variable, point]: the variables.
    ``y`` [row]: the target.
    ``weight`` [row]: weights; or [start, row] for one set per start, or [formula, 1, row].
    ``mixing`` [row, point]: factors by which points add up to rows (a sum over pairs); None where they do not.
    ``groups`` [row, member]: points of which each row is the extreme (a gap is its pairs' smallest), short rows filled
    with one of their own; None where rows are no extremes. Without ``mixing`` and ``groups`` rows are points.
    ``extreme``: "min" or "max".
    ``offset``: whether formulas have a free constant beside their summands.
    ``max_terms``: summands with free coefficients, at the most.
    ``huber`` (units of ``y``): residuals beyond it count linearly instead of squared; 0 for least squares.
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

        ``x`` [variable, point] or [point], ``y`` [row], ``weight`` [row] (default: ones).

        Raises SelectionError on NaN and infinity, on shapes that do not fit, on negative or vanishing
        weights, on sums and extremes of points that are not there, on other extremes than "min" and "max", on a
        negative ``huber`` and where no variable varies over the rows of some weight.
        """
        x, y = torch.atleast_2d(x).double(), y.double()
        weight = torch.ones_like(y) if weight is None else weight.double()
        if x.dim() != 2 or y.dim() != 1:
            raise SelectionError(
                f"variables of shape {tuple(x.shape)} and values of shape {tuple(y.shape)}; "
                "give [variable, point] and [row]"
            )
        if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
            raise SelectionError("the data hold NaN or infinite values; leave those rows out")
        problem = cls(x, y, weight, **options)  # type: ignore[arg-type]
        problem._check_rows()
        problem._check_weight()
        if problem.mixing is not None:
            problem = replace(problem, mixing=problem.mixing.double())
        seen = x[:, weight > 0] if problem.pointwise else x
        if bool((seen == seen[:, :1]).all()):
            raise SelectionError(
                "no variable varies over these rows: there is nothing to learn but a constant"
            )
        return problem

    def _check_rows(self) -> None:
        """Raise SelectionError unless points make up as many rows as there are values, in a known way."""
        points, mixing, groups = self.x.shape[1], self.mixing, self.groups
        if mixing is not None and groups is not None:
            raise SelectionError("rows are sums of points (mixing) or extremes (groups), not both")
        joint = mixing if groups is None else groups
        if joint is not None and joint.dim() != 2:
            raise SelectionError(
                f"points are joined by an array of shape {tuple(joint.shape)}; give mixing [row, point] or groups "
                "[row, member]"
            )
        rows = points if joint is None else len(joint)
        if rows != len(self.y):
            raise SelectionError(f"{rows} rows of variables for {len(self.y)} values")
        if not rows:
            raise SelectionError("no rows: there is nothing to learn from")
        if mixing is not None and (mixing.shape[1] != points or not bool(torch.isfinite(mixing).all())):
            raise SelectionError(
                f"mixing has the shape {tuple(mixing.shape)}; give finite numbers [row, point] for {points} points"
            )
        if groups is not None and (
            groups.is_floating_point()
            or not groups.numel()
            or int(groups.min()) < 0
            or int(groups.max()) >= points
        ):
            raise SelectionError(f"groups must be numbers of points, from 0 to {points - 1}, [row, member]")
        if self.extreme not in ("min", "max"):
            raise SelectionError(f"unknown extreme {self.extreme!r}; try min, max")
        if not (math.isfinite(self.huber) and self.huber >= 0):
            raise SelectionError(
                f"huber is {self.huber}; give a finite size of residuals in units of y, or 0 for least squares"
            )

    def _check_weight(self) -> None:
        """Raise SelectionError unless there is a weight for every row, none negative and one at least positive."""
        weight = self.weight
        if weight.shape != self.y.shape:
            raise SelectionError(
                f"weights of shape {tuple(weight.shape)} for {len(self.y)} values; give one weight for each"
            )
        if not (torch.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise SelectionError("weights must be finite, not negative, and not all zero")

    @cached_property
    def n_rows(self) -> int:
        """Rows that count: those of some weight."""
        return int((self.weight > 0).sum())

    def total(self, residual: Tensor) -> Tensor:
        """Weighted loss [...] of residuals [..., row]; infinite where a row of some weight has no value."""
        each = torch.where(self.weight > 0, self.weight * loss_of(residual, self.huber), 0.0)
        total = each.sum(-1)
        return torch.where(torch.isfinite(total), total, torch.inf)

    def mean(self, values: Tensor, among: Tensor | None = None) -> float:
        """Weighted mean of ``values`` [row], over the rows ``among`` [row] alone if given; NaN where there are none.

        Rows of no weight do not count, whatever they hold.
        """
        some = self.weight > 0 if among is None else (self.weight > 0) & among
        if not bool(some.any()):
            return math.nan
        return float((values[some] * self.weight[some]).sum() / self.weight[some].sum())

    @property
    def reach(self) -> float:
        """The largest size of a variable, or 1: nonlinear constants are looked for on this scale.

        Of sums the first points count alone: the images farther away follow.
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
        """Row values [..., row] from values at the points [..., point]."""
        if self.groups is not None:
            return self.deciding(values)[0]
        return values if self.mixing is None else values @ self.mixing.T

    def deciding(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' extremes and the points that have them, both [..., row], from values [..., point]."""
        assert self.groups is not None
        grouped = values[..., self.groups]
        extreme, member = grouped.min(-1) if self.extreme == "min" else grouped.max(-1)
        points = self.groups.expand_as(grouped).gather(-1, member.unsqueeze(-1)).squeeze(-1)
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
        spread = (self.weight * (self.y - mean).square()).sum(-1).sqrt()
        return torch.maximum(spread, (1e-3 * self.weight * self.y.square()).sum(-1).sqrt() * 1e-3)

    @cached_property
    def root(self) -> Tensor | None:
        """Square roots of the weights; None where all of them are one."""
        return None if bool((self.weight == 1).all()) else self.weight.sqrt()

    @property
    def n_columns(self) -> int:
        """Linear coefficients: the terms, then the offset if there is one."""
        return self.max_terms + int(self.offset)
