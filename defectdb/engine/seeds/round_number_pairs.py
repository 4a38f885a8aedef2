"""Pairs of small functions, without fitted constants, that lie nearest the data.

A fit bends with the noise; a law in whole numbers does not. So all pairs of many functions are valued at once,
by matrix products (the squared error of s f g against y is |y|^2 - 2 s (y f).g + s^2 f^2.g^2), and the best few of
every length are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.engine.grammar.decoding import grammar_masks
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.seeds.small_functions import FunctionSet, small_functions

_LEFT_FUNCTIONS, _RIGHT_FUNCTIONS = 1_000, 12_000  # functions on the two sides of a pair
_POLYNOMIAL_FUNCTIONS = 4_000  # functions on both sides where they are polynomials
_SHORT_TOKENS = 5  # tokens below which a first summand may be doubled or halved
_PAIRS_KEPT = 8  # pairs kept of every form and pair of lengths
_SUM_FACTORS = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
_ADDED_NUMBERS = (1.0, -1.0, 2.0, -2.0)  # whole numbers that may stand beside a product
_DIVERGENT_VALUE = 1e9
_BLOCK_FUNCTIONS = 1_000  # functions of one side that are paired at once: some 4 MB for every matrix
_BATCH_FORMULAS = 8_192  # sequences whose masks are made at once
_POLYNOMIAL_OPERATORS = ("add", "sub", "mul", "div", "square", "cube")
_OUTER_FUNCTIONS = ("exp", "log", "sqrt", "square", "inv")

Names = list[str]
Block = tuple[str, float, Tensor, Tensor]
"""Form, number, and [left, right] squared errors and scales. A sum is number * left + scale * right, a product or
quotient stands with its scale beside the number."""

Nearest = tuple[str, float, Tensor, Tensor, Tensor]
"""Form, number, and of every pair [pair] its scale and the rows of both functions."""

Found = tuple[str, float, float, int, int]
"""Form, scale, number, and the rows of both functions."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Functions of one length that stand on one side of a pair.

    ``size``: their tokens.
    ``rows`` [function]: their rows in the set of all functions.
    ``values`` [function, point]: their values.
    """

    size: int
    rows: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class _Goal:
    """What pairs must come near.

    ``outer``: name of the function around the pair; empty for none.
    ``y`` [point]: values of the pair.
    ``weight`` [point]: weights.
    """

    outer: str
    y: Tensor
    weight: Tensor


def nearest_pairs(problem: Problem, grammar: Grammar, until: float = math.inf) -> Tensor:
    """Formulas without fitted constants near the data, int64 [formula, position]: each once, some of every length.

    None for sums over points and extremes, which products do not survive. All obey the grammar. Nothing new is begun
    after ``until`` (seconds of the monotonic clock).
    """
    found: dict[tuple[str, ...], None] = {}
    if problem.pointwise and problem.weight.dim() == 1:
        for few, many in _families(problem, grammar):
            texts = few.names(grammar), many.names(grammar)
            found |= dict.fromkeys(tuple(names) for names in texts[1])
            for goal in _goals(problem, grammar):
                if time.monotonic() > until:
                    break
                for form, scale, number, i, j in _all_nearest(few, many, goal, grammar):
                    names = _written(form, scale, number, texts[0][i], texts[1][j])
                    found[(goal.outer, *names) if goal.outer else tuple(names)] = None
    rows = [
        grammar.encode(names) for names in found
        if len(names) <= grammar.max_length and all(name in grammar.index for name in names)
    ]  # fmt: skip
    tokens = torch.tensor(rows, dtype=torch.long, device=problem.x.device).view(-1, grammar.max_length)
    return torch.cat([part[grammar_masks(part, grammar)[1]] for part in tokens.split(_BATCH_FORMULAS)])


def _all_nearest(few: FunctionSet, many: FunctionSet, goal: _Goal, grammar: Grammar) -> Iterator[Found]:
    rights = list(_sides(many))
    blocks = [
        block for left in _sides(few) for right in rights for block in _nearest(left, right, goal, grammar)
    ]
    if not blocks:
        return
    forms, numbers, *ends = zip(*blocks, strict=True)
    scale, left, right = (torch.cat(end).tolist() for end in ends)  # to the host once, not block by block
    of = [i for i, rows in enumerate(ends[0]) for _ in range(len(rows))]
    for i, s, f, g in zip(of, scale, left, right, strict=True):
        yield forms[i], s, numbers[i], f, g


def _families(problem: Problem, grammar: Grammar) -> Iterator[tuple[FunctionSet, FunctionSet]]:
    """Both sides of the pairs: polynomials and their quotients, then functions of all operators."""
    polynomial = tuple(
        n for n in _POLYNOMIAL_OPERATORS if n in grammar.operators and n not in grammar.forbidden
    )
    if polynomial:
        narrow = replace(grammar, operators=polynomial, required=())
        some = small_functions(narrow, problem.x, 7, _POLYNOMIAL_FUNCTIONS).written_in(narrow, grammar)
        yield some, some
    whole = small_functions(grammar, problem.x, 6, _RIGHT_FUNCTIONS)
    yield whole[slice(_LEFT_FUNCTIONS)], whole


def _sides(some: FunctionSet) -> Iterator[_Side]:
    """The functions by length; single precision is enough for a shortlist."""
    for size in some.size.unique().tolist():
        rows = (some.size == size).nonzero().squeeze(1)
        for part in rows.split(_BLOCK_FUNCTIONS):
            yield _Side(size, part, some.values[part].float())


def _goals(problem: Problem, grammar: Grammar) -> Iterator[_Goal]:
    """The data, and what they are inside an outer function, weighted by how far its argument moves its value."""
    weight = problem.weight / problem.weight.sum()
    yield _Goal("", problem.y.float(), weight.float())
    y = problem.y.double()
    inside = {
        "exp": (y.log(), y), "log": (y.exp(), (-y).exp()), "sqrt": (y.square(), 0.5 / y),
        "square": (y.sqrt(), 2 * y.sqrt()), "inv": (1 / y, y.square()),
    }  # fmt: skip
    for name in _OUTER_FUNCTIONS:
        argument, slope = inside[name]
        if name in grammar.index and bool(torch.isfinite(argument).all() & torch.isfinite(slope).all()):
            yield _Goal(name, argument.float(), (weight * slope.square()).float())


def _nearest(left: _Side, right: _Side, goal: _Goal, grammar: Grammar) -> Iterator[Nearest]:
    """The nearest pairs of every form."""
    for form, number, error, scale in (
        *_sums(left, right, goal, grammar), *_products(left, right, goal, grammar)
    ):  # fmt: skip
        lowest, column = error.min(1)
        best = lowest.topk(min(_PAIRS_KEPT, len(lowest)), largest=False).indices
        partner = column[best]
        yield form, number, _rounded(scale[best, partner], form), left.rows[best], right.rows[partner]


def _rounded(scale: Tensor, form: str) -> Tensor:
    """The sign of a sum's second function; of a product's factor 1, 2 or 1/2 with its sign."""
    size = scale.abs()
    return scale.sign() * (1.0 if form == "add" else 0.5 + 0.5 * (size > 0.75) + (size > 1.5))


def _sums(left: _Side, right: _Side, goal: _Goal, grammar: Grammar) -> Iterator[Block]:
    """number * left + right, and number * left - right."""
    if "add" not in grammar.index:
        return
    w, size = goal.weight, (goal.weight * right.values.square()).sum(1)
    for number in _SUM_FACTORS if not goal.outer and left.size < _SHORT_TOKENS else (1.0, -1.0):
        rest = goal.y - number * left.values
        cross = (w * rest) @ right.values.T
        yield "add", number, (w * rest.square()).sum(1, keepdim=True) - 2 * cross.abs() + size, cross


def _products(left: _Side, right: _Side, goal: _Goal, grammar: Grammar) -> Iterator[Block]:
    """factor * left * right, left / right and right / left; products with a whole number added as well."""
    y, w = goal.y, goal.weight
    total = (w * y.square()).sum()
    for form, f, g in (
        ("mul", left.values, right.values), ("div", left.values, _inverse(right.values)),
        ("over", _inverse(left.values), right.values),
    ):  # fmt: skip
        if ("mul" if form == "mul" else "div") not in grammar.index:
            continue
        even, cross = (w * f.square()) @ g.square().T, (w * y * f) @ g.T
        yield form, 0.0, total - 2 * cross.abs() + even, cross.sgn()
        if goal.outer:
            continue
        scale = cross / even
        factor = _rounded(scale, form)
        yield form, 0.0, total - factor * (2 * cross - factor * even), scale
        for number in _ADDED_NUMBERS if form == "mul" and "add" in grammar.index else ():
            about = cross - number * ((w * f) @ g.T)
            yield form, number, (w * (y - number).square()).sum() - 2 * about.abs() + even, about.sgn()


def _inverse(values: Tensor) -> Tensor:
    """1 / values, where there is none something that lies near nothing."""
    return (1 / values).nan_to_num(nan=_DIVERGENT_VALUE, posinf=_DIVERGENT_VALUE, neginf=_DIVERGENT_VALUE)


def _written(form: str, scale: float, number: float, left: Names, right: Names) -> Names:
    """The pair in prefix names."""
    if form == "add":
        if number == -1.0:
            return ["sub", *right, *left] if scale > 0 else ["neg", "add", *left, *right]
        return ["add" if scale > 0 else "sub", *_scaled(number, left), *right]
    pair = ["div", *right, *left] if form == "over" else [form, *left, *right]
    if not number:
        return _scaled(scale, pair)
    whole = f"{abs(number):.0f}"
    if scale < 0:
        return ["sub", whole, *pair] if number > 0 else ["neg", "add", whole, *pair]
    return ["add", whole, *pair] if number > 0 else ["sub", *pair, whole]


def _scaled(scale: float, names: Names) -> Names:
    """A function times 1, -1, 2, -2, 1/2 or -1/2."""
    if abs(scale) == 1.0:
        return names if scale > 0 else ["neg", *names]
    whole = ["mul", "2", *names] if abs(scale) == 2.0 else ["div", *names, "2"]
    return whole if scale > 0 else ["neg", *whole]
