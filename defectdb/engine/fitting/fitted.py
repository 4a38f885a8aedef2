"""The result of fitting a batch of formulas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Fit:
    """Best constants found, formula by formula.

    ``theta`` [formula, k]: fitted constants inside the skeletons, padded with 0.
    ``beta`` [formula, column]: coefficients of the summands and, last, the offset.
    ``sse`` [formula]: weighted sum of squared errors, or of Huber losses where the problem has ``huber`` (units of
    ``y`` squared); infinite where the formula cannot be evaluated.
    ``cut_off`` [formula]: whether the clock ended the fit before its last iteration; None where nothing looked at it.
    """

    theta: Tensor
    beta: Tensor
    sse: Tensor
    cut_off: Tensor | None = None

    def to(self, device: torch.device | str) -> Fit:
        """The same on another device."""
        cut_off = None if self.cut_off is None else self.cut_off.to(device)
        return Fit(self.theta.to(device), self.beta.to(device), self.sse.to(device), cut_off)
