"""Skeletons to first guesses of their constants: sizes for all, places and frequencies for those that are one.

A constant added to a variable puts something at a place, which lies within the data, and so does one that a variable
divides; one that multiplies a variable inside a sine or cosine is a frequency, and the data's spacing bounds it
(Nyquist); inside an exponential it is a rate, mostly of a decay. Guessing these as what they are finds in a few starts
what log-uniform sizes miss.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.problem import Problem
from defectdb.schema.operators import OPERATORS, Family

_KNOWING = 0.6  # share of the starts in which places and frequencies are guessed as such
_BEYOND = 0.15  # how far places may lie outside the data, as a share of their range
_LONGEST = 2.5  # times the largest value of a variable: what it divides
_FASTEST = 10.0  # decays within the data's range, at the most
_SIZE, _PLACE, _LENGTH, _FREQUENCY, _RATE = range(5)


def random_starts(
    count: int, starts: int, k: int, generator: torch.Generator, device: torch.device, reach: float = 1.0
) -> Tensor:
    """Sizes [formula, start, k]: log-uniform in [0.05, 6], three in four positive.

    The interval widens to [1 / reach, reach / 2] for variables of size ``reach``.
    """
    low, high = min(0.05, 1.0 / reach), max(6.0, 0.5 * reach)
    size = torch.rand(count, starts, k, generator=generator, dtype=torch.float64, device=generator.device)
    sign = torch.rand(count, starts, k, generator=generator, dtype=torch.float64, device=generator.device)
    values = low * (high / low) ** size
    return torch.where(sign < 0.75, values, -values).to(device)


def starts_of(
    tokens: Tensor, k: int, grammar: Grammar, problem: Problem, starts: int, generator: torch.Generator
) -> Tensor:
    """First guesses [formula, start, k] for sequences [formula, position] of ``k`` constants each."""
    n = len(tokens)
    values = random_starts(n, starts, k, generator, tokens.device, problem.reach)
    if not k:
        return values
    role, beside = _roles(tokens, k, grammar)
    low, high = (block.unsqueeze(1) for block in _ranges(role, beside, problem))
    draw = torch.rand(2, n, starts, k, generator=generator, dtype=torch.float64, device=generator.device)
    draw = draw.to(tokens.device)
    knowing = (draw[0] < _KNOWING) & (role != _SIZE).unsqueeze(1)
    small = ((role == _FREQUENCY) | (role == _LENGTH)).unsqueeze(1)  # the smaller the likelier
    share = torch.where(small, draw[1].square(), draw[1])
    return torch.where(knowing, low + (high - low) * share, values)


def _roles(tokens: Tensor, k: int, grammar: Grammar) -> tuple[Tensor, Tensor]:
    """What every constant is, and the number of the variable beside it (0 where there is none): both [formula, k]."""
    n, device = len(tokens), tokens.device
    at = (tokens == grammar.constant).nonzero()[:, 1].view(n, k)
    lines = torch.arange(n, device=device).unsqueeze(1)

    def above(distance: int, names: tuple[str, ...]) -> Tensor:
        wanted = torch.tensor([grammar.index[name] for name in names if name in grammar.index], device=device)
        here = tokens[lines, (at - distance).clamp(min=0)]
        return torch.isin(here, wanted) & (at >= distance)

    number = torch.full((len(grammar.tokens),), -1, dtype=torch.long, device=device)
    for i, name in enumerate(grammar.variables):
        if name in grammar.index:
            number[grammar.index[name]] = i
    beside = number[tokens[lines, (at + 1).clamp(max=tokens.shape[1] - 1)]]
    waves = tuple(name for name in grammar.operators if Family.TRIGONOMETRIC in OPERATORS[name].families)
    factor = above(1, ("mul",))
    role = torch.full_like(at, _SIZE)
    role[above(1, ("add", "sub"))] = _PLACE
    role[above(1, ("div",))] = _LENGTH
    role[factor & above(2, ("exp",))] = _RATE
    role[factor & (above(2, waves) | above(3, waves) | above(4, waves))] = _FREQUENCY
    return torch.where(beside >= 0, role, _SIZE), beside.clamp(min=0)


def _ranges(role: Tensor, beside: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Between which values the constants of every role are guessed, both [formula, k]."""
    first, last = problem.x.amin(1), problem.x.amax(1).clamp(max=max(problem.reach, 1.0))
    span = (last - first).clamp(min=1e-12)
    fastest = torch.maximum(_fastest(problem).to(span), 0.5 * math.pi / span)
    nothing = torch.zeros_like(span)
    low = torch.stack(
        [nothing, -(last + _BEYOND * span), 0.3 * first, 0.5 * math.pi / span, -_FASTEST / span]
    )
    high = torch.stack([nothing, _BEYOND * span - first, _LONGEST * last, fastest, nothing])
    return low[role, beside], high[role, beside]


def _fastest(problem: Problem) -> Tensor:
    """The highest frequency that the points of every variable resolve: half a period between neighbours."""
    steps = []
    for x in problem.x:
        apart = x.unique().diff()
        steps.append(float(apart.median()) if len(apart) else 1.0)
    return math.pi / torch.tensor(steps, dtype=torch.float64).clamp(min=1e-6)
