"""Evaluate and differentiate a batch of formulas at once, from one table of their nodes.

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

from defectdb.expressions.operators import OPERATORS


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


Derivative = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# operator -> for every operand: (adjoint of the result, result, operands) -> adjoint of that operand
_DERIVATIVES: dict[str, tuple[Derivative, ...]] = {
    "add": (lambda g, _v, _x, _y: g.clone(), lambda g, _v, _x, _y: g.clone()),
    "sub": (lambda g, _v, _x, _y: g.clone(), lambda g, _v, _x, _y: -g),
    "mul": (lambda g, _v, _x, y: g * y, lambda g, _v, x, _y: g * x),
    "div": (lambda g, _v, _x, y: g / y, lambda g, v, _x, y: -g * v / y),
    "pow": (lambda g, _v, x, y: g * y * torch.pow(x, y - 1), lambda g, v, x, _y: g * v * torch.log(x)),
    "damped": (
        lambda g, v, _x, _y: -g * v,
        lambda g, _v, x, y: -g * torch.exp(-x) * torch.sin(y),
    ),
    "neg": (lambda g, _v, _x, _y: -g,),
    "inv": (lambda g, v, _x, _y: -g * v * v,),
    "square": (lambda g, _v, x, _y: 2 * g * x,),
    "cube": (lambda g, _v, x, _y: 3 * g * x * x,),
    "sqrt": (lambda g, v, _x, _y: 0.5 * g / v,),
    "exp": (lambda g, v, _x, _y: g * v,),
    "log": (lambda g, _v, x, _y: g / x,),
    "sin": (lambda g, _v, x, _y: g * torch.cos(x),),
    "cos": (lambda g, _v, x, _y: -g * torch.sin(x),),
    "tanh": (lambda g, v, _x, _y: g * (1 - v * v),),
    "abs": (lambda g, _v, x, _y: g * torch.sign(x),),
}
# which operands' values each derivative reads: gathering the others would be wasted
_READS: dict[str, tuple[str, ...]] = {
    "mul": ("y", "x"), "div": ("y", "y"), "pow": ("xy", "x"), "damped": ("", "xy"), "square": ("x",), "cube": ("x",),
    "log": ("x",), "sin": ("x",), "cos": ("x",), "abs": ("x",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one operator at one height: consecutive rows of the node table.

    ``operator``: its name.
    ``start``, ``stop``: first row, and one past the last.
    ``operands``: for every operand the rows [node] that it is read from.
    ``owners`` [node]: the formulas that the nodes belong to.
    ``active``: for every operand the rows, from and to, of the nodes in which it holds constants.
    ``adjoint_rows``: for every operand these operands' rows [node] among the adjoints.
    """

    operator: str
    start: int
    stop: int
    operands: tuple[Tensor, ...]
    owners: Tensor
    active: tuple[tuple[int, int], ...] = ()
    adjoint_rows: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Programs:
    """A batch of formulas as one table of nodes.

    Its rows are the variables, the literal numbers, the nodes without constants, the constants (formula by formula) and
    the nodes that hold constants. A formula's value is the sum of its summands times coefficients; the additions that
    join them have no row.

    ``n_variables``: rows of variables.
    ``numbers`` [number]: values of the literal numbers.
    ``first_constant``: row of the first constant.
    ``n_formulas``: formulas.
    ``n_constants``: constants of each of them.
    ``n_rows``: rows of the table.
    ``fixed``: groups of nodes without constants, in order of evaluation.
    ``groups``: groups of nodes that hold constants, in order of evaluation.
    ``terms`` [formula, term]: rows of the top-level summands; 0 where there are fewer.
    ``term_mask`` [formula, term]: which summands there are.
    ``roots`` [root]: the summands that hold constants, as positions in the flattened [formula, term].
    ``no_offset`` [formula]: which formulas do without the problem's offset; None: none does.
    """

    n_variables: int
    numbers: Tensor
    first_constant: int
    n_formulas: int
    n_constants: int
    n_rows: int
    fixed: tuple[Group, ...]
    groups: tuple[Group, ...]
    terms: Tensor
    term_mask: Tensor
    roots: Tensor
    no_offset: Tensor | None = None

    def table(self, x: Tensor, starts: int) -> Tensor:
        """A node table [row, start, point] at ``x`` [variable, point], filled in as far as no constant matters."""
        table = x.new_empty(self.n_rows, starts, x.shape[1])
        table[: self.n_variables] = x.unsqueeze(1)
        table[self.n_variables : self.n_variables + len(self.numbers)] = self.numbers.view(-1, 1, 1)
        if self.fixed:
            once = table[: self.first_constant, :1].contiguous()
            _evaluate(self.fixed, once)
            table[: self.first_constant] = once
        return table

    def values(self, x: Tensor, theta: Tensor, table: Tensor | None = None) -> Tensor:
        """The node table [row, start, point] at ``x`` [variable, point] for constants [formula, start, k].

        ``table``, from an earlier call with the same ``x``, is written over.
        """
        table = self.table(x, theta.shape[1]) if table is None else table
        stop = self.first_constant + self.n_formulas * self.n_constants
        table[self.first_constant : stop] = theta.transpose(1, 2).reshape(-1, theta.shape[1], 1)
        _evaluate(self.groups, table)
        return table

    def combined(self, table: Tensor, beta: Tensor, *, offset: bool) -> Tensor:
        """Values of the formulas, [formula, start, point], from their node table: coefficients times summands.

        ``beta`` [formula, column, start] are the coefficients and, with ``offset``, last the offset.
        """
        values = table.new_zeros(self.n_formulas, *table.shape[1:])
        for term in range(self.terms.shape[1]):
            share = beta[:, term].unsqueeze(2) * table[self.terms[:, term]]
            values = torch.where(self.term_mask[:, term].view(-1, 1, 1), values + share, values)
        return values + beta[:, -1].unsqueeze(2) if offset else values

    def derivatives(self, table: Tensor, seeds: Tensor) -> Tensor:
        """d(sum of seed * term)/d(constant), [formula, k, start, point]; ``seeds`` [formula, term, start]."""
        adjoint = torch.empty_like(table[self.first_constant :])  # every row has one parent, which writes it
        rows = self.terms.view(-1).index_select(0, self.roots) - self.first_constant
        share = seeds.flatten(0, 1).index_select(0, self.roots)
        adjoint.index_copy_(0, rows, share.unsqueeze(2).expand(-1, -1, table.shape[2]))
        for group in reversed(self.groups):
            reads = _READS.get(group.operator, ("", ""))
            for side, (start, stop) in enumerate(group.active):
                if start == stop:
                    continue
                part = slice(start - group.start, stop - group.start)
                x, y = (
                    table.index_select(0, group.operands[i][part]) if name in reads[side] else table
                    for i, name in enumerate("xy")
                )
                above = adjoint[start - self.first_constant : stop - self.first_constant]
                change = _DERIVATIVES[group.operator][side](above, table[start:stop], x, y)
                adjoint.index_copy_(0, group.adjoint_rows[side], change)
        count = self.n_formulas * self.n_constants
        return adjoint[:count].view(self.n_formulas, self.n_constants, *table.shape[1:])


def _evaluate(groups: tuple[Group, ...], table: Tensor) -> None:
    """Fill the groups' rows of a node table in."""
    mathematics = TorchMathematics()
    for group in groups:
        operands = (table.index_select(0, rows) for rows in group.operands)
        table[group.start : group.stop] = OPERATORS[group.operator].apply(mathematics, *operands)
