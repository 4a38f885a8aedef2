"""Token matrices to node tables, evaluated and differentiated for all formulas at once.

The nodes of all formulas are laid out in one table sorted by height and operator, so that one tensor operation per
(height, operator) evaluates that operator everywhere, into a contiguous slice. One reverse sweep gives the
derivatives with respect to every fitted constant, because a constant's adjoint at a point is its derivative there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from defectdb.learn.segvae.grammar import PAD, Grammar
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


def _abs_derivative(g: Tensor, v: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return (g * torch.sign(x),)


# operator -> (adjoint of the result, result, operands) -> adjoints of the operands
_DERIVATIVES: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "add": lambda g, v, x, y: (copy := g.clone(), copy),
    "sub": lambda g, v, x, y: (g.clone(), -g),
    "mul": lambda g, v, x, y: (g * y, g * x),
    "div": lambda g, v, x, y: (g / y, -g * v / y),
    "pow": lambda g, v, x, y: (g * y * torch.pow(x, y - 1), g * v * torch.log(x)),
    "neg": lambda g, v, x: (-g,),
    "inv": lambda g, v, x: (-g * v * v,),
    "square": lambda g, v, x: (2 * g * x,),
    "cube": lambda g, v, x: (3 * g * x * x,),
    "sqrt": lambda g, v, x: (0.5 * g / v,),
    "exp": lambda g, v, x: (g * v,),
    "log": lambda g, v, x: (g / x,),
    "sin": lambda g, v, x: (g * torch.cos(x),),
    "cos": lambda g, v, x: (-g * torch.sin(x),),
    "tanh": lambda g, v, x: (g * (1 - v * v),),
    "abs": _abs_derivative,
}


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one operator at one height: rows [start, stop) of the table; from ``active`` on they hold constants."""

    operator: str
    start: int
    active: int
    stop: int
    operands: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Programs:
    """A batch of formulas as one node table.

    Rows: the variables, the literal numbers, the constants (formula by formula, ``n_constants`` each), then the
    operators' nodes. ``terms`` [formula, term] are the rows of every formula's top-level summands (row 0 where
    there are fewer, see ``term_mask``): value = sum of the terms, or, with free coefficients, any combination.
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

    def values(self, x: Tensor, theta: Tensor) -> Tensor:
        """The node table [row, start, point] for points ``x`` [variable, point] and constants [formula, start, k]."""
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


def count_constants(tokens: Tensor, grammar: Grammar) -> Tensor:
    """Fitted constants of every sequence, [formula]."""
    return (tokens == grammar.constant).sum(1)


def _children(tokens: Tensor, arity: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of both operands [formula, position, 2] (0 where there is none), and heights."""
    n, length = tokens.shape
    device = tokens.device
    lines = torch.arange(n, device=device)
    stack = torch.zeros(n, length + 1, dtype=torch.long, device=device)
    size = torch.zeros(n, dtype=torch.long, device=device)
    child = torch.zeros(n, length, 2, dtype=torch.long, device=device)
    height = torch.zeros(n, length, dtype=torch.long, device=device)
    for t in range(length - 1, -1, -1):
        here = arity[:, t]
        real = tokens[:, t] != PAD
        first = stack[lines, (size - 1).clamp(min=0)]
        second = stack[lines, (size - 2).clamp(min=0)]
        child[:, t, 0], child[:, t, 1] = first, second
        one = height[lines, first] + 1
        two = torch.maximum(one, height[lines, second] + 1)
        height[:, t] = torch.where(here == 0, 0, torch.where(here == 1, one, two))
        size = size - torch.where(real, here - 1, torch.zeros_like(here))
        top = torch.where(real, size - 1, torch.full_like(size, length))
        stack[lines, top] = t
    return child, height


def _term_positions(
    tokens: Tensor, child: Tensor, splits: Tensor, max_terms: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of at most ``max_terms`` top-level summands [formula, term], which exist, and the nodes split."""
    n = tokens.shape[0]
    lines = torch.arange(n, device=tokens.device)
    terms = torch.zeros(n, max_terms, dtype=torch.long, device=tokens.device)
    count = torch.ones(n, dtype=torch.long, device=tokens.device)
    split = torch.zeros_like(tokens, dtype=torch.bool)
    for _ in range(max_terms - 1):  # replace the first splittable summand by its two operands
        splittable = splits[tokens.gather(1, terms)]
        splittable &= torch.arange(max_terms, device=tokens.device) < count.unsqueeze(1)
        some = splittable.any(1)
        which = splittable.int().argmax(1)
        node = terms[lines, which]
        split[lines, node] |= some
        terms[lines, which] = torch.where(some, child[lines, node, 0], node)
        free = count.clamp(max=max_terms - 1)
        terms[lines, free] = torch.where(some, child[lines, node, 1], terms[lines, free])
        count = count + some.long()
    return terms, torch.arange(max_terms, device=tokens.device) < count.unsqueeze(1), split


def build(tokens: Tensor, grammar: Grammar, *, max_terms: int = 1) -> Programs:
    """The node table of complete prefix sequences [formula, position].

    All must have the same number of fitted constants (see ``count_constants``). ``max_terms`` > 1 splits every
    formula at its top-level additions and subtractions into that many summands at the most.
    """
    device = tokens.device
    n, length = tokens.shape
    arity = torch.tensor(grammar.arity, device=device)[tokens]
    child, height = _children(tokens, arity)
    names = grammar.tokens
    n_vars = len(grammar.variables)
    leaf_row = torch.full((len(names),), -1, dtype=torch.long, device=device)
    for row, name in enumerate(grammar.variables):
        if name in grammar.index:
            leaf_row[grammar.index[name]] = row
    numbers = list(grammar.leaf_values.items())
    for row, (token, _) in enumerate(numbers):
        leaf_row[token] = n_vars + row
    first_constant = n_vars + len(numbers)
    is_constant = tokens == grammar.constant
    k = int(is_constant[0].sum()) if n else 0
    order = is_constant.long().cumsum(1) - 1
    lines = torch.arange(n, device=device).unsqueeze(1)
    row_of = torch.where(is_constant, first_constant + lines * k + order, leaf_row[tokens])
    terms, mask, split = _term_positions(tokens, child, _splitting(grammar, max_terms, device), max_terms)
    holds = _holds_constant(tokens, child, arity, is_constant) & ~split  # adjoints start at the summands
    inner = arity > 0
    key = (height * len(names) + tokens) * 2 + holds.long()
    flat = inner.reshape(-1).nonzero().squeeze(1)
    sorted_keys, permutation = key.reshape(-1)[flat].sort(stable=True)
    first_row = first_constant + n * k
    positions = flat[permutation]
    row_of.view(-1)[positions] = torch.arange(len(flat), device=device) + first_row
    groups = _groups(sorted_keys, positions, row_of, child, grammar, first_row)
    return Programs(
        n_vars, torch.tensor([v for _, v in numbers], dtype=torch.float64, device=device), first_constant, n, k,
        first_row + len(flat), groups, row_of[:, 0], row_of.gather(1, terms), mask,
    )  # fmt: skip


def _holds_constant(tokens: Tensor, child: Tensor, arity: Tensor, is_constant: Tensor) -> Tensor:
    """Which nodes have a fitted constant at or below them, [formula, position]."""
    holds = is_constant.clone()
    lines = torch.arange(tokens.shape[0], device=tokens.device)
    for t in range(tokens.shape[1] - 1, -1, -1):
        below = holds[lines, child[:, t, 0]] & (arity[:, t] > 0)
        below |= holds[lines, child[:, t, 1]] & (arity[:, t] > 1)
        holds[:, t] |= below
    return holds


def _groups(
    keys: Tensor, positions: Tensor, row_of: Tensor, child: Tensor, grammar: Grammar, first_row: int
) -> tuple[Group, ...]:
    """One group per (height, operator) in the order of evaluation."""
    if not len(keys):
        return ()
    n_names, length = len(grammar.tokens), row_of.shape[1]
    values, counts = torch.unique_consecutive(keys, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    merged: dict[int, list[int]] = {}
    for value, count in pairs:
        merged.setdefault(value // 2, [0, 0])[value % 2] = count
    line = positions // length * length
    operand = [row_of.view(-1)[line + child.view(-1, 2)[positions, side]] for side in (0, 1)]
    groups, at = [], 0
    for value, (plain, holding) in sorted(merged.items()):
        token = value % n_names
        stop = at + plain + holding
        rows = tuple(operand[side][at:stop] for side in range(grammar.arity[token]))
        groups.append(
            Group(grammar.tokens[token], first_row + at, first_row + at + plain, first_row + stop, rows)
        )
        at = stop
    return tuple(groups)


def term_roots(tokens: Tensor, grammar: Grammar, max_terms: int) -> tuple[Tensor, Tensor]:
    """The first token of every top-level summand [formula, term] and which summands exist."""
    arity = torch.tensor(grammar.arity, device=tokens.device)[tokens]
    child, _ = _children(tokens, arity)
    terms, mask, _ = _term_positions(tokens, child, _splitting(grammar, max_terms, tokens.device), max_terms)
    return tokens.gather(1, terms), mask


def _splitting(grammar: Grammar, max_terms: int, device: torch.device) -> Tensor:
    """Which tokens join summands, bool [token]."""
    splits = torch.zeros(len(grammar.tokens), dtype=torch.bool, device=device)
    for name in ("add", "sub"):
        if max_terms > 1 and name in grammar.index:
            splits[grammar.index[name]] = True
    return splits
