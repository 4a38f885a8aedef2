"""The range in which a kernel of lattice sums must be finite, bounded and falling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from defectdb.engine.safety.domain import MAX_OVERSHOOT, Domain
from defectdb.learn.pairs.distance_classes import SAME_DISTANCE, nearest

if TYPE_CHECKING:
    from defectdb.learn.pairs.kernel_task import LatticeTask


FALL = 3
"""Behind the data a kernel falls at least with this power of the distance: elastic and dipolar tails just do."""

NOTHING = 1e-5
"""Share of the data's range that counts as nothing."""


@dataclass(frozen=True, slots=True)
class LatticeDomain(Domain):
    """A domain behind whose data the kernel falls from what it was in their last third.

    A tail that stays adds nearly the same to every pair of one cell, so the data cannot tell it from an error of the
    host's energy; in another cell it adds something else.
    """

    def holds(self, values: Tensor) -> Tensor:
        """Which formulas obey, bool [formula], from their values on the grid [formula, point]."""
        inside, behind = self.grid[0, : self.n_inside], self.grid[0, self.n_inside :]
        third = inside >= inside[-1] - (inside[-1] - inside[0]) / 3
        before = values[:, : self.n_inside][:, third].abs().amax(1, keepdim=True)
        bound = before * (inside[-1] / behind) ** FALL + NOTHING * (self.high - self.low)
        falls = (values[:, self.n_inside :].abs() <= bound).all(1)
        return Domain.holds(self, values) & falls


def lattice_domain(task: LatticeTask) -> LatticeDomain:
    """Where the kernel behind sums must be finite and quiet: it is near the sum, shared among the nearest images."""
    close = nearest(task)
    shared = (task.mixing * (task.r <= close[:, None] + SAME_DISTANCE)).sum(1)
    reach = max(task.cutoff, float(task.r.max()))
    plain = Domain.of(torch.from_numpy(close), torch.from_numpy(task.y / shared), cutoff=reach, decay=True)
    fields = {name: getattr(plain, name) for name in Domain.__dataclass_fields__}
    margin = MAX_OVERSHOOT * float(np.ptp(task.y / shared))  # what ends at zero may pass it
    fields |= {"low": min(plain.low, -margin), "high": max(plain.high, margin)}
    return LatticeDomain(**fields)
