"""Reject curves that swing or oscillate between data points more than the data can resolve.

A formula is free between the points. One that oscillates faster than they are spaced can pass through all of them and
mean nothing (aliasing: Shannon, Proc. IRE 37, 10 (1949)); so can one with a deep well where no point is. Both are
refused here, from values on a dense grid, for all formulas at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

MAX_DEVIATION = 0.5
"""How far a curve may leave the interval spanned by its values at two neighbouring points, as a share of their
difference; or up to the chords of the intervals beside, which bound a curve that bends one way only. A cosine passes
with 2.6 points a period, wherever they lie."""

MAX_TURNS = 2
"""Extrema between two neighbouring points; over all of them together there is one for every interval (Nyquist)."""

MAX_BENDS = 4
"""Inflections between two neighbouring points: a fast ripple on a steep slope bends where it does not turn."""

_NO_CHORD = 1e9  # an interval at the end has a chord on one side only
_ROUND_OFF_SHARE = 1e-7  # changes below this share of the data's range are rounding, not turns


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the points of one variable resolve.

    ``nodes`` [node]: data points, as indices of the grid.
    ``track`` [step]: points along which extrema are counted, as indices of the grid.
    ``interval`` [point]: interval between data points that each grid point lies in.
    ``turn_interval`` [step - 2, interval]: the same for the inner steps, one-hot.
    ``reach`` [2, point]: how far the chords of the intervals beside go there, as a share of their rise.
    ``rise`` [interval] (units of the target): the data's own differences.
    ``noise`` (units of the target): deviation that is always allowed.
    ``flat`` (units of the target): changes that count as none.
    ``widths`` [step - 1] (units of the variable): distances between the steps.
    """

    nodes: Tensor
    track: Tensor
    interval: Tensor
    turn_interval: Tensor
    reach: Tensor
    rise: Tensor
    noise: float
    flat: float
    widths: Tensor

    @classmethod
    def of(cls, nodes: Tensor, means: Tensor, grid: Tensor, track: Tensor, noise: float) -> Resolution | None:
        """The resolution of distinct sorted points [node] with mean values [node]; None for fewer than four.

        ``grid`` [point] holds the points among others, ``track`` [step] indexes it.
        """
        if len(nodes) < 4:
            return None
        last = len(nodes) - 2
        interval = (torch.searchsorted(nodes, grid, right=True) - 1).clamp(0, last)
        turn_interval = torch.nn.functional.one_hot(interval[track[1:-1]], last + 1).to(means.dtype)
        width = nodes.diff()
        before, after = _beside(width)
        left = (grid - nodes[interval]) / before[interval]
        right = (nodes[interval + 1] - grid) / after[interval]
        left[interval == 0], right[interval == last] = _NO_CHORD, _NO_CHORD
        reach = torch.stack([left, right])
        flat = _ROUND_OFF_SHARE * float(means.max() - means.min())
        indices = torch.searchsorted(grid, nodes).clamp(max=len(grid) - 1)  # means of equal points round
        return cls(
            indices,
            track,
            interval,
            turn_interval,
            reach,
            means.diff().abs(),
            noise,
            flat,
            grid[track].diff(),
        )

    def to(self, device: torch.device | str) -> Resolution:
        """The same on another device."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {name: p.to(device) for name, p in parts.items() if isinstance(p, Tensor)}
        return replace(self, **moved)

    def holds(self, values: Tensor) -> Tensor:
        """Which curves [formula, grid point] the data resolve, bool [formula]."""
        return (
            self._deviates_little(values) & self._has_few_extrema(values) & self._has_few_inflections(values)
        )

    def _deviates_little(self, values: Tensor) -> Tensor:
        at = values[:, self.nodes]
        rise = torch.maximum(at.diff(dim=1).abs(), self.rise)
        before, after = _beside(rise)
        chords = torch.minimum(
            before[:, self.interval] * self.reach[0], after[:, self.interval] * self.reach[1]
        )
        room = torch.maximum(MAX_DEVIATION * rise[:, self.interval], chords) + self.noise
        high = torch.maximum(at[:, 1:], at[:, :-1])[:, self.interval]
        low = torch.minimum(at[:, 1:], at[:, :-1])[:, self.interval]
        return ((values <= high + room) & (values >= low - room)).all(1)

    def _has_few_extrema(self, values: Tensor) -> Tensor:
        change = values[:, self.track].diff(dim=1)
        change = torch.where(change.abs() > self.flat, change, 0.0)
        turns = (change[:, 1:] * change[:, :-1] < 0).to(values) @ self.turn_interval
        return (turns.amax(1) <= MAX_TURNS) & (turns.sum(1) <= len(self.nodes) - 1)

    def _has_few_inflections(self, values: Tensor) -> Tensor:
        slope = values[:, self.track].diff(dim=1) / self.widths
        bend = slope.diff(dim=1)
        rounding = self.flat / torch.minimum(self.widths[1:], self.widths[:-1])
        bend = torch.where(bend.abs() > rounding, bend, 0.0)
        turns = (bend[:, 1:] * bend[:, :-1] < 0).to(values) @ self.turn_interval[1:]
        return turns.amax(1) <= MAX_BENDS


def _beside(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values of the intervals before and after each [..., interval]; at the ends those of the only neighbour."""
    before = torch.cat([values[..., 1:2], values[..., :-1]], dim=-1)
    after = torch.cat([values[..., 1:], values[..., -2:-1]], dim=-1)
    return before, after
