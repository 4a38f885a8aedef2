"""Token matrices to node tables: children, heights, top-level summands, and rows sorted by height and
operator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from defectdb.learn.segvae.grammar import PAD, Grammar
from defectdb.learn.segvae.programs import Group, Programs


def count_constants(tokens: Tensor, grammar: Grammar) -> Tensor:
    """Fitted constants of every sequence, [formula]."""
    return (tokens == grammar.constant).sum(1)


def children(tokens: Tensor, arity: Tensor) -> tuple[Tensor, Tensor]:
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
    """Positions of the top-level summands [formula, term], which of them exist, and the nodes split."""
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


def build(tokens: Tensor, grammar: Grammar, *, max_terms: int = 1, plain: Tensor | None = None) -> Programs:
    """The node table of complete prefix sequences [formula, position].

    All must have the same number of fitted constants (see ``count_constants``). ``max_terms`` > 1 splits
    every formula at its top-level additions and subtractions into that many summands at the most; ``plain``
    [formula] marks those without an offset.
    """
    device = tokens.device
    n = len(tokens)
    arity = torch.tensor(grammar.arity, device=device)[tokens]
    child, height = children(tokens, arity)
    leaf_row, numbers = _leaf_rows(grammar, device)
    first_constant = len(grammar.variables) + len(numbers)
    is_constant = tokens == grammar.constant
    k = int(is_constant[0].sum()) if n else 0
    order = is_constant.long().cumsum(1) - 1
    lines = torch.arange(n, device=device).unsqueeze(1)
    row_of = torch.where(is_constant, first_constant + lines * k + order, leaf_row[tokens])
    terms, mask, split = _term_positions(tokens, child, _splitting(grammar, max_terms, device), max_terms)
    holds = _holds_constant(tokens, child, arity, is_constant) & ~split  # adjoints start at the summands
    key = (height * len(grammar.tokens) + tokens) * 2 + holds.long()
    flat = (arity > 0).reshape(-1).nonzero().squeeze(1)
    sorted_keys, permutation = key.reshape(-1)[flat].sort(stable=True)
    first_row = first_constant + n * k
    positions = flat[permutation]
    row_of.view(-1)[positions] = torch.arange(len(flat), device=device) + first_row
    groups = _groups(sorted_keys, positions, row_of, child, grammar, first_row)
    return Programs(
        len(grammar.variables), numbers, first_constant, n, k, first_row + len(flat), groups,
        row_of[:, 0], row_of.gather(1, terms), mask, plain,
    )  # fmt: skip


def _leaf_rows(grammar: Grammar, device: torch.device) -> tuple[Tensor, Tensor]:
    """The table's row of every variable and literal number [token] (-1 for others), and the numbers' values."""
    rows = torch.full((len(grammar.tokens),), -1, dtype=torch.long, device=device)
    for row, name in enumerate(grammar.variables):
        if name in grammar.index:
            rows[grammar.index[name]] = row
    for row, token in enumerate(grammar.leaf_values):
        rows[token] = len(grammar.variables) + row
    return rows, torch.tensor(list(grammar.leaf_values.values()), dtype=torch.float64, device=device)


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
        first = first_row + at
        name = grammar.tokens[token]
        owners = positions[at:stop] // length
        groups.append(Group(name, first, first + plain, first_row + stop, rows, owners))
        at = stop
    return tuple(groups)


def term_roots(tokens: Tensor, grammar: Grammar, max_terms: int) -> tuple[Tensor, Tensor]:
    """The first token of every top-level summand [formula, term] and which summands exist."""
    arity = torch.tensor(grammar.arity, device=tokens.device)[tokens]
    child, _ = children(tokens, arity)
    terms, mask, _ = _term_positions(tokens, child, _splitting(grammar, max_terms, tokens.device), max_terms)
    return tokens.gather(1, terms), mask


def _splitting(grammar: Grammar, max_terms: int, device: torch.device) -> Tensor:
    """Which tokens join summands, bool [token]."""
    splits = torch.zeros(len(grammar.tokens), dtype=torch.bool, device=device)
    for name in ("add", "sub"):
        if max_terms > 1 and name in grammar.index:
            splits[grammar.index[name]] = True
    return splits
