"""The solution archive: the best fitted skeletons of every complexity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from defectdb.engine.fitting.fitted import Fit

ALIKE = 1e-6
"""Formulas whose errors differ by less than this share are one formula written twice."""


@dataclass(slots=True)
class Archive:
    """Fitted skeletons.

    ``tokens`` [formula, position]: the skeletons.
    ``fit``: their constants and errors.
    ``complexity`` [formula]: tokens of the finished formulas.
    ``source`` [formula]: where they come from, by number.
    ``born`` [formula]: the generation that found them.
    ``no_offset`` [formula]: whether they do without the problem's offset.
    """

    tokens: Tensor
    fit: Fit
    complexity: Tensor
    source: Tensor
    born: Tensor
    no_offset: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor) -> Archive:
        fit = Fit(self.fit.theta[rows], self.fit.beta[rows], self.fit.sse[rows])
        return Archive(
            self.tokens[rows],
            fit,
            self.complexity[rows],
            self.source[rows],
            self.born[rows],
            self.no_offset[rows],
        )

    def to(self, device: torch.device | str) -> Archive:
        """The same on another device."""
        fit = Fit(*(block.to(device) for block in (self.fit.theta, self.fit.beta, self.fit.sse)))
        rest = (block.to(device) for block in (self.complexity, self.source, self.born, self.no_offset))
        return Archive(self.tokens.to(device), fit, *rest)

    def joined(self, other: Archive) -> Archive:
        """Both, this one's rows first."""
        width = max(self.fit.theta.shape[1], other.fit.theta.shape[1])
        theta = [pad(a.fit.theta, (0, width - a.fit.theta.shape[1])) for a in (self, other)]
        fit = Fit(
            torch.cat(theta), torch.cat([self.fit.beta, other.fit.beta]), torch.cat([self.fit.sse, other.fit.sse])
        )  # fmt: skip
        return Archive(
            torch.cat([self.tokens, other.tokens]),
            fit,
            torch.cat([self.complexity, other.complexity]),
            torch.cat([self.source, other.source]),
            torch.cat([self.born, other.born]),
            torch.cat([self.no_offset, other.no_offset]),
        )

    def best(self, per_complexity: int, max_complexity: int) -> Archive:
        """The ``per_complexity`` lowest errors of every complexity, each distinct error once, at its
        simplest.
        """
        error = self.fit.sse
        rows = (torch.isfinite(error) & (self.complexity <= max_complexity)).nonzero().squeeze(1)
        rows = rows[error[rows].argsort(stable=True)]
        fresh = torch.ones_like(rows, dtype=torch.bool)
        fresh[1:] = error[rows[1:]] > error[rows[:-1]] * (1 + ALIKE)
        group = fresh.long().cumsum(0)  # equal but for rounding, which must not decide between them
        order = self.complexity[rows].argsort(stable=True)
        order = order[group[order].argsort(stable=True)]
        leads = torch.ones_like(fresh)
        leads[1:] = group[order].diff() > 0
        rows = rows[order[leads]]
        rows = rows[self.complexity[rows].argsort(stable=True)]
        level = self.complexity[rows]
        counts = torch.bincount(level, minlength=1)
        first = counts.cumsum(0) - counts
        rank = torch.arange(len(rows), device=rows.device) - first[level]
        return self[rows[rank < per_complexity]]

    def lowest(self, max_complexity: int) -> Tensor:
        """Lowest error at or below every complexity, [complexity], infinite below the simplest formula."""
        best = self.fit.sse.new_full((max_complexity + 1,), torch.inf)
        return best.scatter_reduce(0, self.complexity, self.fit.sse, "amin").cummin(0).values

    def reached(self) -> tuple[tuple[int, float], ...]:
        """The complexities at which the lowest error falls, simplest first, each with that error."""
        if not len(self):
            return ()
        lowest = self.lowest(int(self.complexity.max()))
        at = (lowest[1:] < lowest[:-1]).nonzero().squeeze(1) + 1
        return tuple(zip(at.tolist(), lowest[at].tolist(), strict=True))

    def worst(self, per_complexity: int, max_complexity: int) -> Tensor:
        """The error to beat at every complexity, [complexity]: the last kept where full, else infinite."""
        highest = self.fit.sse.new_zeros(max_complexity + 1)
        highest = highest.scatter_reduce(0, self.complexity, self.fit.sse, "amax")
        full = torch.bincount(self.complexity, minlength=max_complexity + 1) >= per_complexity
        return torch.where(full, highest, torch.inf)

    def merit(self) -> Tensor:
        """Fitness [formula] in (0, 1]: root of the lowest error at its complexity or below, relative to its own."""
        lowest = self.lowest(int(self.complexity.max()))[self.complexity]
        return ((lowest + 1e-300) / (self.fit.sse + 1e-300)).sqrt()
