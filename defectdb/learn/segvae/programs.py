"""Token matrices to node tables, evaluated and differentiated for all formulas at once.

The nodes of all formulas are laid out in one table sorted by height and operator, so that one tensor
operation per (height, operator) evaluates that operator everywhere, into a contiguous slice. One reverse
sweep gives the derivatives with respect to every fitted constant, because a constant's adjoint at a point is
its derivative there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from defectdb.schema.operators import OPERATORS


class TorchMathematics:
    """The operators' functions on float64 tensors; NaN outside a domain."""

    def sqrt(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)

    def exp(self, x: Tensor) -> Tensor:
        return torch.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, torch.log(x), torch.nan)

    def sin(self, x: Tensor) -> Tensor:
        return torch.sin(x)

    def cos(self, x: Tensor) -> Tensor:
        return torch.cos(x)

    def tanh(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def abs(self, x: Tensor) -> Tensor:
        return torch.abs(x)

    def pow(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.pow(x, y)


# operator -> (adjoint of the result, result, operands) -> adjoints of the operands
_DERIVATIVES: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "add": lambda g, _v, _x, _y: (copy := g.clone(), copy),
    "sub": lambda g, _v, _x, _y: (g.clone(), -g),
    "mul": lambda g, _v, x, y: (g * y, g * x),
    "div": lambda g, v, _x, y: (g / y, -g * v / y),
    "pow": lambda g, v, x, y: (g * y * torch.pow(x, y - 1), g * v * torch.log(x)),
    "neg": lambda g, _v, _x: (-g,),
    "inv": lambda g, v, _x: (-g * v * v,),
    "square": lambda g, _v, x: (2 * g * x,),
    "cube": lambda g, _v, x: (3 * g * x * x,),
    "sqrt": lambda g, v, _x: (0.5 * g / v,),
    "exp": lambda g, v, _x: (g * v,),
    "log": lambda g, _v, x: (g / x,),
    "sin": lambda g, _v, x: (g * torch.cos(x),),
    "cos": lambda g, _v, x: (-g * torch.sin(x),),
    "tanh": lambda g, v, _x: (g * (1 - v * v),),
    "abs": lambda g, _v, x: (g * torch.sign(x),),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one operator at one height: rows [start, stop) of the table, from ``active`` on with
    constants.

    ``operands`` are the rows that they read, ``owners`` [node] the formulas that they belong to.
    """

    operator: str
    start: int
    active: int
    stop: int
    operands: tuple[Tensor, ...]
    owners: Tensor


@dataclass(frozen=True, slots=True)
class Programs:
    """A batch of formulas as one node table.

    Rows: the variables, the literal numbers, the constants (formula by formula, ``n_constants`` each), then
    the operators' nodes. ``terms`` [formula, term] are the rows of every formula's top-level summands (row 0
    where there are fewer, see ``term_mask``): value = sum of the terms, or, with free coefficients, any
    combination. ``plain`` [formula] marks formulas that do without the problem's offset (None: none does).
    """

    n_variables: int
    numbers: Tensor
    first_constant: int
    n_formulas: int
    n_constants: int
    n_rows: int
    groups: tuple[Group, ...]
    roots: Tensor
    terms: Tensor
    term_mask: Tensor
    plain: Tensor | None = None

    def values(self, x: Tensor, theta: Tensor) -> Tensor:
        """The node table [row, start, point] at ``x`` [variable, point] for constants [formula, start, k]."""
        starts, points = theta.shape[1], x.shape[1]
        table = x.new_empty(self.n_rows, starts, points)
        table[: self.n_variables] = x.unsqueeze(1)
        table[self.n_variables : self.first_constant] = self.numbers.view(-1, 1, 1)
        stop = self.first_constant + self.n_formulas * self.n_constants
        table[self.first_constant : stop] = theta.transpose(1, 2).reshape(-1, starts, 1)
        mathematics = TorchMathematics()
        for group in self.groups:
            operands = (table.index_select(0, rows) for rows in group.operands)
            table[group.start : group.stop] = OPERATORS[group.operator].apply(mathematics, *operands)
        return table

    def derivatives(self, table: Tensor, seeds: Tensor) -> Tensor:
        """d(sum of seed * term)/d(constant), [formula, k, start, point]; ``seeds`` [formula, term, start]."""
        adjoint = torch.zeros_like(table)
        rows = self.terms[self.term_mask]
        adjoint[rows] = seeds[self.term_mask].unsqueeze(2).expand(-1, -1, table.shape[2])
        for group in reversed(self.groups):
            if group.active == group.stop:
                continue
            skip = group.active - group.start
            operands = tuple(rows[skip:] for rows in group.operands)
            here = slice(group.active, group.stop)
            inputs = (table.index_select(0, rows) for rows in operands)
            for rows, change in zip(
                operands, _DERIVATIVES[group.operator](adjoint[here], table[here], *inputs), strict=True
            ):
                adjoint.index_copy_(0, rows, change)
        stop = self.first_constant + self.n_formulas * self.n_constants
        block = adjoint[self.first_constant : stop]
        return block.view(self.n_formulas, self.n_constants, *table.shape[1:])
