"""The domain over which a formula must be finite, bounded and smooth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from defectdb.engine.safety.between_points import Resolution
from defectdb.engine.safety.poles import has_pole
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Expression

MAX_ROUGHNESS = 1.6  # total variation between the data points, as a multiple of the data's own
MAX_JUMP = 0.1  # change from a data point to its close surroundings, as a fraction of the data's range
_NEAR_DISTANCES = (
    1e-7,
    1e-6,
    1e-5,
    1e-4,
    3e-4,
    1e-3,
    3e-3,
)  # distances looked at, as fractions of the largest
_SAME_DISTANCE = 1e-6  # distances nearer than this share of the largest are one distance
MAX_OVERSHOOT = 0.25  # how far beyond the data's range a formula may swing, as a fraction of that range
MAX_DRIFT = 0.5  # the same, of the whole range allowed, for the tail beyond the data: slow laws go on


@dataclass(frozen=True, slots=True)
class Domain:
    """The domain over which a formula must be finite, bounded and smooth.

    ``grid`` [variable, point]: points inside the data's range first, then the tail up to the cutoff.
    ``n_inside``: points inside the data's range.
    ``low``, ``high`` (units of the target): bounds of the value.
    ``roughness`` (units of the target): bound of the total variation.
    ``tail`` (units of the target): bound of the absolute value at the last point; infinite for none.
    ``near`` (units of the variable): distance below which two grid points are neighbours.
    ``jump`` (units of the target): bound of the change between neighbours.
    ``resolution``: what the data resolve between their points; None for no such demand.
    ``one_sign``: whether no denominator may have both signs on the grid; for several variables, where there is no path
    from point to point.
    """

    grid: Tensor
    n_inside: int
    low: float
    high: float
    roughness: float
    tail: float = math.inf
    near: float = 0.0
    jump: float = math.inf
    resolution: Resolution | None = None
    one_sign: bool = False

    @classmethod
    def of(
        cls, x: Tensor, y: Tensor, *, cutoff: float | None = None, decay: bool = False, points: int = 128
    ) -> Domain:
        """The domain of one-variable data: [min x, max x] and beyond it up to ``cutoff``.

        ``decay`` demands that the value vanish at the cutoff (to 2 % of the data's range).
        """
        order = x.argsort(stable=True)
        xs, ys = x[order], y[order]
        index = _distinct_indices(xs)
        count = torch.bincount(index).to(x)
        distinct, means = (torch.zeros_like(count).index_add_(0, index, v) / count for v in (xs, ys))
        spread = float(means.max() - means.min()) or max(abs(float(means[0])), 1.0)
        low, high = float(xs[0]), float(xs[-1])
        largest = max(abs(low), abs(high))
        even = _uneven(low, high, points).to(x)
        # Poles and spikes hide beside the data points that they serve: look closely there, at every scale.
        steps = largest * torch.tensor(_NEAR_DISTANCES, dtype=x.dtype, device=x.device)
        beside = (distinct.unsqueeze(1) + torch.cat([-steps, steps.new_zeros(1), steps])).flatten()
        inside = torch.cat([even, beside[(beside >= low) & (beside <= high)]]).sort().values
        grid, n_inside = inside, len(inside)
        if cutoff is not None and cutoff > high:
            grid = torch.cat(
                [inside, torch.linspace(high, cutoff, points // 2, dtype=x.dtype, device=x.device)]
            )
        margin = MAX_OVERSHOOT * spread
        roughness = MAX_ROUGHNESS * float(means.diff().abs().sum()) + 0.1 * spread
        tail = 0.02 * spread if decay else math.inf
        bottom, top = float(means.min()) - margin, float(means.max()) + margin
        near, jump = 1.01 * largest * _NEAR_DISTANCES[-1], MAX_JUMP * spread
        track = torch.searchsorted(inside, torch.cat([even, distinct]).unique()).clamp(max=n_inside - 1)
        resolution = Resolution.of(distinct, means, inside, track, _noise(ys, index, means))
        return cls(grid.unsqueeze(0), n_inside, bottom, top, roughness, tail, near, jump, resolution)

    @classmethod
    def between(cls, x: Tensor, points: int = 256) -> Self:
        """Where data of any kind only ask for values: at their points ``x`` [variable, point] and between them.

        Over one variable on a grid, where no pole may be either; over several half-way between points taken in pairs.
        """
        free = (-math.inf, math.inf, math.inf)
        if len(x) == 1:
            low, high = float(x.min()), float(x.max())
            grid = torch.cat([x[0], _uneven(low, high, points).to(x)]).unique()
            return cls(grid.unsqueeze(0), len(grid), *free)
        shuffled = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0)).to(x.device)
        return cls(torch.cat([x, (x + x[:, shuffled]) / 2], dim=1), 0, *free)

    def to(self, device: torch.device | str) -> Self:
        """The same domain on another device."""
        resolution = None if self.resolution is None else self.resolution.to(device)
        return replace(self, grid=self.grid.to(device), resolution=resolution)

    def permits(self, expression: Expression, constants: Sequence[float], variables: Sequence[str]) -> bool:
        """Whether one formula obeys, its values on the grid and what it divides by; ``variables`` name the grid's."""
        here = self.to("cpu")
        env = dict(zip(variables, here.grid.numpy(), strict=True))
        values = np.broadcast_to(evaluate_numpy(expression, env, constants), here.grid.shape[1:])
        if not bool(here.holds(torch.from_numpy(values.copy()).unsqueeze(0))):
            return False
        looked_at = self.n_inside > 0 or self.one_sign
        return not (looked_at and has_pole(expression, constants, env, anywhere=self.one_sign))

    def holds(self, values: Tensor) -> Tensor:
        """Which formulas obey, bool [formula], from their values on the grid [formula, point]."""
        ok = torch.isfinite(values).all(1)
        inside = values[:, : self.n_inside] if self.n_inside else values
        ok &= (inside.amin(1) >= self.low) & (inside.amax(1) <= self.high)
        drift = MAX_DRIFT * (self.high - self.low)
        ok &= (values.amin(1) >= self.low - drift) & (values.amax(1) <= self.high + drift)
        ok &= values[:, : self.n_inside].diff(dim=1).abs().sum(1) <= self.roughness
        if math.isfinite(self.jump):
            close = self.grid[0, : self.n_inside].diff() <= self.near
            ok &= (values[:, : self.n_inside].diff(dim=1).abs() * close).amax(1) <= self.jump
        if self.resolution is not None:
            ok &= self.resolution.holds(inside)
        if math.isfinite(self.tail):
            ok &= values[:, -1].abs() <= self.tail
        return ok


def _uneven(low: float, high: float, points: int) -> Tensor:
    """Points [point] from ``low`` to ``high``, off an even grid by irregular parts of a step.

    On an even grid an oscillation of the grid's own frequency would look like a constant.
    """
    index = torch.arange(points, dtype=torch.float64)
    index[1:-1] += 0.7 * ((index[1:-1] * 0.6180339887498949) % 1.0 - 0.5)
    return low + (high - low) * index / (points - 1)


def _distinct_indices(xs: Tensor) -> Tensor:
    """Index [point] of every sorted distance among the distinct ones; lattices repeat distances to round-off."""
    apart = xs.diff() > _SAME_DISTANCE * torch.maximum(xs[-1].abs(), xs[0].abs())
    return torch.cat([apart.new_zeros(1), apart]).long().cumsum(0)


def _noise(ys: Tensor, index: Tensor, means: Tensor) -> float:
    """Noise of the data: differences at equal points, or half the median step."""
    step = 0.5 * float(means.diff().abs().median()) if len(means) > 1 else 0.0
    high, low = (
        torch.zeros_like(means).scatter_reduce(0, index, ys, how, include_self=False)
        for how in ("amax", "amin")
    )
    return max(step, float((high - low).amax()))
