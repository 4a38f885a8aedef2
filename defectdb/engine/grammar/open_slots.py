"""The operand slots of growing formulas that no token fills yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class OpenSlots:
    """Stacks of open operand slots, one stack for every formula of a batch, and what the formulas hold so far.

    The top of a stack is the slot that the next token fills.

    ``numbers`` [slot]: 0, 1, 2 ...
    ``count`` [batch]: open slots; 0 for a finished formula.
    ``length`` [batch]: tokens written.
    ``n_constants`` [batch]: fitted constants among them.
    ``has_variable`` [batch]: whether a variable is among them.
    ``depth`` [batch, slot]: edges from the root.
    ``trigonometric`` [batch, slot]: trigonometric functions around the slot.
    ``exponential`` [batch, slot]: exponential functions around the slot.
    ``parent`` [batch, slot]: token index of the operator whose operand it is.
    ``not_constant`` [batch, slot]: whether a bare constant or number is refused there.
    """

    numbers: Tensor
    count: Tensor
    length: Tensor
    n_constants: Tensor
    has_variable: Tensor
    depth: Tensor
    trigonometric: Tensor
    exponential: Tensor
    parent: Tensor
    not_constant: Tensor

    @classmethod
    def of(cls, batch: int, max_length: int, device: torch.device | str) -> OpenSlots:
        """Stacks with the root's slot alone."""
        slots = max_length + 2
        row = torch.zeros(batch, dtype=torch.long, device=device)
        field = torch.zeros(batch, slots, dtype=torch.long, device=device)
        return cls(
            numbers=torch.arange(slots, device=device), count=torch.ones_like(row), length=row, n_constants=row.clone(),
            has_variable=row.bool(), depth=field, trigonometric=field.clone(), exponential=field.clone(),
            parent=field.clone(), not_constant=field.bool(),
        )  # fmt: skip

    @property
    def top(self) -> Tensor:
        """The slot [batch] that the next token fills; 0 for finished formulas."""
        return (self.count - 1).clamp(min=0)
