"""Compile token sequences to node tables: rows sorted by height and operator, and the top-level summands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.grammar.token_kinds import token_kinds
from defectdb.engine.programs.programs import Group, Programs
from defectdb.engine.programs.tree_structure import operand_positions, tree_structure

_SIDES = ("none", "first", "both", "second")
"""Which operands of a node hold constants: nodes are sorted in this order, so that each side is one slice."""


def count_constants(tokens: Tensor, grammar: Grammar) -> Tensor:
    """Fitted constants of every sequence, [formula]."""
    return (tokens == grammar.constant).sum(1)


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


def build(
    tokens: Tensor, grammar: Grammar, *, max_terms: int = 1, no_offset: Tensor | None = None
) -> Programs:
    """The node table of complete prefix sequences [formula, position].

    All must have the same number of fitted constants (see ``count_constants``). ``max_terms`` > 1 splits
    every formula at its top-level additions and subtractions into that many summands at the most; ``no_offset``
    [formula] marks those without an offset.
    """
    device = tokens.device
    n = len(tokens)
    facts = _token_rows(grammar, max_terms, device)
    arity, row_of = facts.arity[tokens], facts.rows[tokens]
    is_constant = tokens == grammar.constant
    child, _, height, holds = tree_structure(arity, is_constant)
    terms, mask, split = _term_positions(tokens, child, facts.splits, max_terms)
    operator = (arity > 0) & ~split
    fixed_nodes, held_nodes = operator & ~holds, operator & holds
    counts = torch.stack([is_constant[:1].sum(), fixed_nodes.sum(), held_nodes.sum()])
    k, n_fixed, n_held = counts.tolist()
    first_fixed = len(grammar.variables) + len(facts.numbers)
    first_constant = first_fixed + n_fixed
    order = is_constant.long().cumsum(1) - 1
    row_of = torch.where(
        is_constant, first_constant + torch.arange(n, device=device).unsqueeze(1) * k + order, row_of
    )
    row_table = _RowTable(row_of, child, grammar, first_constant)
    key = (height * len(grammar.tokens) + tokens) * len(_SIDES)
    fixed = row_table.groups(key, fixed_nodes, first_fixed)
    groups = row_table.groups(key + _sides(child, arity, holds), held_nodes, first_constant + n * k)
    rows = torch.where(mask, row_of.gather(1, terms), 0)
    roots = (mask & (rows >= first_constant)).view(-1).nonzero().squeeze(1)
    n_rows = first_constant + n * k + n_held
    return Programs(
        len(grammar.variables), facts.numbers, first_constant, n, k, n_rows, fixed, groups, rows, mask, roots, no_offset
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _TokenRows:
    """Facts about a grammar's tokens that the node table needs.

    ``arity`` [token]: operands.
    ``rows`` [token]: the table's row of variables and literal numbers; -1 for other tokens.
    ``splits`` [token]: whether a token joins summands.
    ``numbers`` [number]: values of the literal numbers.
    """

    arity: Tensor
    rows: Tensor
    splits: Tensor
    numbers: Tensor


@lru_cache(maxsize=32)
def _token_rows(grammar: Grammar, max_terms: int, device: torch.device) -> _TokenRows:
    """Made once for a grammar and a device: sending them there every time would cost more than using them."""
    rows, numbers = _leaf_rows(grammar, device)
    arity = token_kinds(grammar, device).arity
    return _TokenRows(arity, rows, _splitting(grammar, max_terms, device), numbers)


def _leaf_rows(grammar: Grammar, device: torch.device) -> tuple[Tensor, Tensor]:
    """The table's row of every variable and literal number [token] (-1 for others), and the numbers' values."""
    rows = torch.full((len(grammar.tokens),), -1, dtype=torch.long, device=device)
    for row, name in enumerate(grammar.variables):
        if name in grammar.index:
            rows[grammar.index[name]] = row
    for row, token in enumerate(grammar.leaf_values):
        rows[token] = len(grammar.variables) + row
    return rows, torch.tensor(list(grammar.leaf_values.values()), dtype=torch.float64, device=device)


@dataclass(frozen=True, slots=True)
class _RowTable:
    """The node table while its rows are handed out.

    ``row_of`` [formula, position]: the table's row of every token, as far as it is known.
    ``child`` [formula, position, 2]: positions of every token's operands.
    ``grammar``: the formulas' grammar.
    ``first_constant``: row of the first constant.
    """

    row_of: Tensor
    child: Tensor
    grammar: Grammar
    first_constant: int

    def groups(self, key: Tensor, chosen: Tensor, first_row: int) -> tuple[Group, ...]:
        """Rows from ``first_row`` on for the chosen nodes: one group per (height, operator), in order of evaluation."""
        flat = chosen.reshape(-1).nonzero().squeeze(1)
        keys, order = key.reshape(-1)[flat].sort(stable=True)
        positions, rows = flat[order], self.row_of.view(-1)
        rows[positions] = torch.arange(len(flat), device=flat.device) + first_row
        length = self.row_of.shape[1]
        line = positions // length * length
        operand = [rows[line + self.child.view(-1, 2)[positions, side]] for side in (0, 1)]
        found, at = [], 0
        for token, counts in _counts(keys, len(self.grammar.tokens)):
            stop = at + sum(counts)
            operands = tuple(operand[side][at:stop] for side in range(self.grammar.arity[token]))
            owners = positions[at:stop] // length
            found.append(self._group(self.grammar.tokens[token], counts, first_row + at, operands, owners))
            at = stop
        return tuple(found)

    def _group(
        self, name: str, counts: list[int], start: int, operands: tuple[Tensor, ...], owners: Tensor
    ) -> Group:
        none, first, both, _ = counts
        stop = start + sum(counts)
        if none == stop - start:
            return Group(name, start, stop, operands, owners)
        active = ((start, start + first + both), (start + first, stop))[: len(operands)]
        adjoint_rows = tuple(
            rows[begin - start : end - start] - self.first_constant
            for rows, (begin, end) in zip(operands, active, strict=True)
        )
        return Group(name, start, stop, operands, owners, active, adjoint_rows)


def _counts(keys: Tensor, n_names: int) -> Iterator[tuple[int, list[int]]]:
    """Token and, for each of ``_SIDES``, number of nodes of every group, from its nodes' sorted keys."""
    values, counts = torch.unique_consecutive(keys, return_counts=True)
    merged: dict[int, list[int]] = {}
    for value, count in torch.stack([values, counts], dim=1).tolist():
        merged.setdefault(value // len(_SIDES), [0] * len(_SIDES))[value % len(_SIDES)] = count
    for value, sides in sorted(merged.items()):
        yield value % n_names, sides


def _sides(child: Tensor, arity: Tensor, holds: Tensor) -> Tensor:
    """Which operands of every node hold constants to be differentiated, an index into ``_SIDES``."""
    first = holds.gather(1, child[:, :, 0]) & (arity > 0)
    second = holds.gather(1, child[:, :, 1]) & (arity > 1)
    return first.long() + second.long() * (3 - 2 * first.long())


def term_roots(tokens: Tensor, grammar: Grammar, max_terms: int) -> tuple[Tensor, Tensor]:
    """The first token of every top-level summand [formula, term] and which summands exist."""
    facts = _token_rows(grammar, max_terms, tokens.device)
    child = operand_positions(tokens, facts.arity[tokens])
    terms, mask, _ = _term_positions(tokens, child, facts.splits, max_terms)
    return tokens.gather(1, terms), mask


def summand_splits(tokens: Tensor, grammar: Grammar, max_terms: int) -> Tensor:
    """Which tokens join top-level summands that have coefficients of their own, bool [formula, position]."""
    facts = _token_rows(grammar, max_terms, tokens.device)
    return _term_positions(tokens, operand_positions(tokens, facts.arity[tokens]), facts.splits, max_terms)[2]


def _splitting(grammar: Grammar, max_terms: int, device: torch.device) -> Tensor:
    """Which tokens join summands, bool [token]."""
    splits = torch.zeros(len(grammar.tokens), dtype=torch.bool, device=device)
    for name in ("add", "sub"):
        if max_terms > 1 and name in grammar.index:
            splits[grammar.index[name]] = True
    return splits
