"""Encode a data set for a conditional network: points as standardised rows, and one vector for all of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectdb.engine.problem import Problem

_MAX_POINTS = 64  # points read; of more, so many spread evenly over the first variable
_RIDGE_SHARE = 1e-3  # of sums' mean square: how little point values may explain


def features(variables: int) -> int:
    """Features of every point."""
    return 3 * variables + 1


def point_features(x: Tensor, y: Tensor) -> Tensor:
    """Points [set, point, feature] in single precision from ``x`` [variable, point] and values ``y`` [set, point].

    Features: every variable over these points with mean zero and variance one, the same for the value, and, alike
    at all points, where the variables lie and how far they spread, on a logarithmic scale: exp(-x) is another curve
    over [0, 1] than over [3, 14]. Nothing depends on the order of the points.
    """
    middle, spread = x.mean(1, keepdim=True), x.std(1, correction=0, keepdim=True)
    range_of_x = torch.cat([middle.asinh(), (spread + 1e-6).log()]).expand(-1, x.shape[1])
    at = torch.cat([(x - middle) / spread.clamp(min=1e-12), range_of_x]).T.expand(len(y), -1, -1)
    level = y - y.mean(1, keepdim=True)
    level = level / level.std(1, correction=0, keepdim=True).clamp(min=1e-300)
    return torch.cat([at, level.unsqueeze(2)], dim=2).clamp(-6.0, 6.0).float()


def network_points(problem: Problem) -> Tensor:
    """The problem's own points, [1, point, feature].

    Of sums over pairs the values at the points are not known: the smallest that give the sums are read (ridge
    regression). An extreme is read at its row's first point.
    """
    x, y = problem.x, problem.y
    if problem.groups is not None:
        x = x[:, problem.groups[:, 0]]
    if problem.mixing is not None:
        gram = problem.mixing @ problem.mixing.T
        ridge = _RIDGE_SHARE * gram.diagonal().mean() * torch.eye(len(y), dtype=y.dtype, device=y.device)
        y = problem.mixing.T @ torch.linalg.solve(gram + ridge, y)
    if x.shape[1] > _MAX_POINTS:
        rank = torch.linspace(0, x.shape[1] - 1, _MAX_POINTS, device=x.device).round().long()
        rows = x[0].argsort(stable=True)[rank]
        x, y = x[:, rows], y[rows]
    return point_features(x, y.unsqueeze(0))


class SetEncoder(nn.Module):
    """Encode a set of points as one vector, whatever their number and order: mean and maximum over features.

    Zaheer et al., 'Deep Sets', NeurIPS 2017, arXiv 1703.06114.
    """

    def __init__(self, variables: int, hidden: int, width: int) -> None:
        super().__init__()
        self.point = nn.Sequential(
            nn.Linear(features(variables), hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.whole = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, width), nn.Tanh()
        )

    def forward(self, points: Tensor) -> Tensor:
        """[set, width] of points [set, point, feature]."""
        each = self.point(points)
        vector: Tensor = self.whole(torch.cat([each.mean(1), each.amax(1)], dim=1))
        return vector
