"""Sparse sums, quotients and functions of sums of small functions that come near the data.

Forward selection with a beam: every step projects all library functions off the ones chosen so far and takes those
that explain most of what is left (orthogonal least squares: Chen, Billings & Luo, Int. J. Control 50, 1873 (1989)). A
quotient a / (1 + b) is linear as well: y = a - b y. What is found starts the fit of its constants.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from defectdb.engine.fitting.batched_linear import coefficients, dot, orthonormal
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.candidates import Candidates
from defectdb.engine.seeds.small_functions import FunctionSet, products, small_functions

_BEAM_PRODUCTS = 80_000_000  # products of one beam step: states x functions x rows
_TABLE_VALUES = 4_000_000  # numbers that a library's values may take
_BEAM_STATES = 300  # states of a beam
_SUMS_KEPT = 16  # chosen sums of every number of terms, by error alone and by error against length
_POLYNOMIAL_OPERATORS = ("mul", "square", "cube")
_NEGLIGIBLE_SHARE = 1e-9  # summands smaller than this share of the data are left out
_EXACT_SHARE = 1e-24
_LITERAL_DISTANCE = 1e-7  # coefficients as near to a literal as this are it
_LOG_ERROR_PER_TOKEN = 0.3  # error (its logarithm) that a token must save
_INVERSES: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.log, "log": torch.exp, "sqrt": torch.square, "square": torch.sqrt, "inv": torch.reciprocal,
}  # fmt: skip
"""Outer functions and what undoes them on the data."""

Names = list[str]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Chosen sums of functions.

    ``columns`` [sum, term]: rows of the functions summed.
    ``error`` [sum]: weighted squared error.
    """

    columns: Tensor
    error: Tensor


def sparse_seeds(
    problem: Problem,
    grammar: Grammar,
    *,
    size: int = 6,
    limit: int = 12_000,
    beyond: Tensor | None = None,
    until: float = math.inf,
) -> Candidates:
    """Sums, quotients of sums and functions of sums that come near the data, with their constants.

    ``size`` tokens and ``limit`` functions bound the library; functions must be finite at ``beyond`` [variable,
    point] too. Nothing new is begun after ``until`` (seconds of the monotonic clock).
    """
    nothing = Candidates.of(
        torch.zeros(0, grammar.max_length, dtype=torch.long, device=problem.x.device), grammar
    )
    if problem.groups is not None or not {"c", "add", "mul"} <= set(grammar.index):
        return nothing
    bricks = _bricks(problem, grammar, size, limit, beyond)
    if not len(bricks):
        return nothing
    found: list[tuple[Names, list[float]]] = []
    for part in (*_families(bricks, grammar), bricks):
        if not len(part):
            continue
        for search in _searches(part, problem, grammar):
            if time.monotonic() > until:
                break
            found += search()
    rows = [(names, theta) for names, theta in found if len(names) <= grammar.max_length]
    rows = [(names, theta) for names, theta in rows if names.count("c") <= grammar.max_constants]
    return _candidates(rows, grammar, problem.x.device)


def _searches(
    part: FunctionSet, problem: Problem, grammar: Grammar
) -> Iterator[Callable[[], list[tuple[Names, list[float]]]]]:
    """The searches to make with one part of the library: sums, and where rows are not sums quotients and functions."""
    yield partial(_sums, part, problem, grammar)
    if problem.mixing is None:
        yield partial(_quotients, part, problem, grammar)
        for name, undo in _INVERSES.items():
            yield partial(_inside, name, undo(problem.y), part, problem, grammar)


def _families(bricks: FunctionSet, grammar: Grammar) -> Iterator[FunctionSet]:
    """The powers and products of the variables alone, then all the smallest functions: few enough to look closely."""
    polynomial = [
        grammar.index[name] for name in (*_POLYNOMIAL_OPERATORS, *grammar.variables) if name in grammar.index
    ]
    allowed = torch.zeros(len(grammar.tokens), dtype=torch.bool, device=bricks.tokens.device)
    allowed[[PAD, *polynomial]] = True
    yield bricks[allowed[bricks.tokens].all(1).nonzero().squeeze(1)]
    yield bricks[(bricks.size <= 3).nonzero().squeeze(1)]


def _bricks(problem: Problem, grammar: Grammar, size: int, limit: int, beyond: Tensor | None) -> FunctionSet:
    points = problem.x if beyond is None else torch.cat([problem.x, beyond], dim=1)
    room = max(1, min(limit, _TABLE_VALUES // points.shape[1]))
    found = small_functions(grammar, points, size, room)
    small = found[slice(max(1, int((room / 2) ** 0.5)))]
    whole = FunctionSet.cat([found, products(small, grammar)]).distinct()
    values = whole.values[:, : problem.x.shape[1]]
    if problem.mixing is not None:
        values = values @ problem.mixing.T
    return FunctionSet(whole.tokens, whole.size, values, whole.nesting).distinct()


def _columns(values: Tensor, problem: Problem) -> Tensor:
    return values if problem.root is None else values * problem.root


def _sums(bricks: FunctionSet, problem: Problem, grammar: Grammar) -> list[tuple[Names, list[float]]]:
    """Sums; coefficients are found again by every fit, so only the forms are given."""
    columns, target = _columns(bricks.values, problem), _columns(problem.y, problem)
    found: list[tuple[Names, list[float]]] = []
    for choice in _beam(columns, target, bricks.size, problem, terms=problem.max_terms):
        beta = _solved(columns, target, choice, problem)
        for row, scales in zip(_texts(bricks, choice.columns, grammar), beta.tolist(), strict=True):
            kept = [names for names, scale in zip(row, scales, strict=False) if scale]
            if kept:
                found.append((_added(kept), []))
    return found


def _quotients(bricks: FunctionSet, problem: Problem, grammar: Grammar) -> list[tuple[Names, list[float]]]:
    """a / (1 + b): y = a - y b, with the functions times y as further columns."""
    if "div" not in grammar.index or "1" not in grammar.index:
        return []
    n = len(bricks)
    columns = _columns(torch.cat([bricks.values, bricks.values * problem.y]), problem)
    target = _columns(problem.y, problem)
    found = []
    for choice in _beam(columns, target, torch.cat([bricks.size, bricks.size]), problem, terms=3):
        texts = _texts(bricks, choice.columns % n, grammar)
        upper = (choice.columns < n).tolist()
        for row, high, beta in zip(
            texts, upper, _solved(columns, target, choice, problem).tolist(), strict=True
        ):
            terms = [term for term in zip(row, beta, high, strict=False) if term[1]]
            above = [(names, b) for names, b, up in terms if up]
            below = [(names, -b) for names, b, up in terms if not up]
            offset = beta[-1] if problem.offset else 0.0
            if not below or not (above or offset):
                continue
            top, theta = _scaled_sum(above, offset, grammar)
            bottom, more = _scaled_sum(below, 0.0, grammar)
            found.append((["div", *top, "add", "1", *bottom], [*theta, *more]))
    return found


def _inside(
    name: str, target: Tensor, bricks: FunctionSet, problem: Problem, grammar: Grammar
) -> list[tuple[Names, list[float]]]:
    """name(offset + sum): a sum for what the outer function was applied to."""
    if name not in grammar.index or not bool(torch.isfinite(target).all()):
        return []
    flat = replace(problem, y=target, offset=True)
    columns, target = _columns(bricks.values, flat), _columns(target, flat)
    found = []
    for choice in _beam(columns, target, bricks.size, flat, terms=3):
        solved = _solved(columns, target, choice, flat).tolist()
        for row, beta in zip(_texts(bricks, choice.columns, grammar), solved, strict=True):
            terms = [(names, b) for names, b in zip(row, beta, strict=False) if b]
            for offset in (beta[-1], 0.0) if terms else ():
                inner, theta = _scaled_sum(terms, offset, grammar)
                found.append(([name, *inner], theta))
    return found


def _beam(columns: Tensor, target: Tensor, cost: Tensor, problem: Problem, terms: int) -> list[_Choice]:
    """The best sums of 1, 2 ... ``terms`` columns [function, point], for each number of them."""
    if problem.offset:
        one = problem.y.new_ones(len(target)) if problem.root is None else problem.root
        one = one / one.norm()
        columns = columns - (columns @ one).unsqueeze(1) * one
        target = target - (target @ one) * one
    columns = columns / columns.norm(dim=1, keepdim=True).clamp(min=1e-300)
    total = float(target.square().sum())
    width = max(4, min(_BEAM_STATES, _BEAM_PRODUCTS // columns.numel()))
    rest, left = target.unsqueeze(0), columns.new_ones(1, len(columns))  # [state, point], [state, function]
    basis = columns.new_zeros(1, 0, len(target))
    chosen = torch.zeros(1, 0, dtype=torch.long, device=columns.device)
    found = []
    for _ in range(min(terms, len(target) - 2)):
        gain = torch.where(left > 1e-9, (rest @ columns.T).square() / left.clamp(min=1e-9), 0.0)
        error = (rest.square().sum(1, keepdim=True) - gain).clamp(min=1e-26 * total)
        state, column = _best(error, cost, chosen, width)
        chosen = torch.cat([chosen[state], column.unsqueeze(1)], dim=1)
        fresh = columns[column]
        for _ in range(2):  # twice is enough (Kahan)
            fresh = fresh - ((basis[state] @ fresh.unsqueeze(2)) * basis[state]).sum(1)
        fresh = fresh / fresh.norm(dim=1, keepdim=True).clamp(min=1e-300)
        basis = torch.cat([basis[state], fresh.unsqueeze(1)], dim=1)
        rest = rest[state] - (rest[state] * fresh).sum(1, keepdim=True) * fresh
        left = left[state] - (fresh @ columns.T).square()
        found.append(_Choice(chosen, rest.square().sum(1)))
        if float(found[-1].error.min()) < _EXACT_SHARE * total:
            break
    return [_shortlist(choice, cost) for choice in found]


def _best(error: Tensor, cost: Tensor, chosen: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The next states, each set of columns once: half by error alone, half by error against length."""
    length = cost[chosen].sum(1, keepdim=True) + cost
    scores = [(error.log() + price * length).reshape(-1) for price in (0.0, _LOG_ERROR_PER_TOKEN)]
    flat = torch.cat([s.topk(min(len(s), 3 * width), largest=False).indices for s in scores]).unique()
    state, column = flat // len(cost), flat % len(cost)
    whole = torch.cat([chosen[state], column.unsqueeze(1)], dim=1).sort(dim=1).values
    _, group = torch.unique(whole, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(flat), device=flat.device)
    first = first.scatter_reduce(0, group, torch.arange(len(flat), device=flat.device), "amin")
    ranks = [s[flat[first]].argsort()[: max(1, width // 2)] for s in scores]
    kept = first[torch.cat(ranks).unique()]
    return state[kept], column[kept]


def _shortlist(choice: _Choice, cost: Tensor) -> _Choice:
    length = cost[choice.columns].sum(1)
    ranks = [
        (choice.error.log() + price * length).argsort()[:_SUMS_KEPT] for price in (0.0, _LOG_ERROR_PER_TOKEN)
    ]
    rows = torch.cat(ranks).unique()
    return _Choice(choice.columns[rows], choice.error[rows])


def _solved(columns: Tensor, target: Tensor, choice: _Choice, problem: Problem) -> Tensor:
    """Coefficients [sum, term] of the chosen columns, the offset's last where there is one; 0 for negligible ones and
    for columns that depend on those before them.
    """
    chosen = [columns[which].unsqueeze(1) for which in choice.columns.T]  # each [sum, 1, point]
    if problem.offset:
        one = torch.ones_like(target) if problem.root is None else problem.root
        chosen.append(one.expand_as(chosen[0]))
    sizes = torch.cat([column.norm(dim=2) for column in chosen], dim=1).clamp(min=1e-300)  # [sum, term]
    basis, triangle, _ = orthonormal(
        [column / size.view(-1, 1, 1) for column, size in zip(chosen, sizes.T, strict=True)]
    )
    rest, parts = target.expand_as(chosen[0]), []
    for direction in basis:
        part = dot(direction, rest)
        rest = torch.addcmul(rest, part.unsqueeze(2), direction, value=-1)
        parts.append(part)
    share = coefficients(triangle, parts).squeeze(2)
    return torch.where(share.abs() > _NEGLIGIBLE_SHARE * target.norm(), share / sizes, 0.0)


def _texts(bricks: FunctionSet, rows: Tensor, grammar: Grammar) -> list[list[Names]]:
    """Prefix names of the functions at ``rows`` [sum, term]."""
    tokens = bricks.tokens[rows].tolist()
    return [[[grammar.tokens[t] for t in term if t] for term in line] for line in tokens]


def _added(terms: list[Names]) -> Names:
    whole = terms[-1]
    for term in reversed(terms[:-1]):
        whole = ["add", *term, *whole]
    return whole


def _scaled_sum(
    terms: list[tuple[Names, float]], offset: float, grammar: Grammar
) -> tuple[Names, list[float]]:
    """offset + sum of coefficient * function, and its constants in order; coefficients of one are left out."""
    parts, theta = [], []
    if offset:
        literal = f"{offset:.0f}"
        exact = (
            literal in grammar.index
            and float(literal) > 0.0
            and abs(offset - float(literal)) < _LITERAL_DISTANCE
        )
        parts.append([literal if exact else "c"])
        theta += [] if exact else [offset]
    for names, scale in terms:
        unscaled = abs(scale - 1.0) < _LITERAL_DISTANCE
        parts.append([*([] if unscaled else ["mul", "c"]), *names])
        theta += [] if unscaled else [scale]
    return _added(parts), theta


def _candidates(rows: list[tuple[Names, list[float]]], grammar: Grammar, device: torch.device) -> Candidates:
    unique = {tuple(names): theta for names, theta in rows}
    width = max((len(theta) for theta in unique.values()), default=0)
    tokens = [grammar.encode(names) for names in unique]
    values = [[*theta, *[math.nan] * (width - len(theta))] for theta in unique.values()]
    return Candidates.of(
        torch.tensor(tokens, dtype=torch.long, device=device).view(len(unique), grammar.max_length),
        grammar,
        torch.tensor(values, dtype=torch.float64, device=device).view(len(unique), width),
    )
