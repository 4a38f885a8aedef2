"""First guesses of a formula's constants, by the part that each plays: size, position, frequency or rate.

A constant added to a variable shifts something to a position within the data, and so does one that a variable divides;
one that multiplies a variable inside a sine or cosine is a frequency, and the data's spacing bounds it
(Nyquist); inside an exponential it is a rate, mostly of a decay. Guessing these as what they are finds in a few starts
what log-uniform sizes miss.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from defectdb.engine.fitting.scales import Scales, fastest, sizes_of
from defectdb.engine.grammar.grammar import PAD, Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build
from defectdb.expressions.operators import OPERATORS, Family

_ROLE_SHARE = 0.6  # share of the starts in which positions, frequencies and units are guessed as such
_OUTSIDE_SHARE = 0.15  # how far positions may lie outside the data, as a share of their range
_LENGTH_FACTOR = 2.5  # times the largest value of a variable: what it divides
_MAX_DECAYS = 10.0  # within the data's range, at the most
_SMALLEST_SIZE, _LARGEST_SIZE = 0.05, 6.0
_SIZE, _POSITION, _ZERO, _LENGTH, _FREQUENCY, _RATE = range(6)
_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _EXPONENTIAL, _WAVE = range(6)


def starts_of(
    tokens: Tensor, k: int, grammar: Grammar, problem: Problem, starts: int, generator: torch.Generator
) -> Tensor:
    """First guesses [formula, start, k] for sequences [formula, position] of ``k`` constants each."""
    n = len(tokens)
    values = _random_sizes(tokens, k, grammar, problem, starts, generator)
    if not k:
        return values
    role, beside = _roles(tokens, k, grammar)
    low, high = (block.unsqueeze(1) for block in _ranges(role, beside, problem))
    draw = torch.rand(2, n, starts, k, generator=generator, dtype=torch.float64, device=generator.device)
    draw = draw.to(tokens.device)
    knowing = (draw[0] < _ROLE_SHARE) & (role != _SIZE).unsqueeze(1)
    small = ((role == _FREQUENCY) | (role == _LENGTH)).unsqueeze(1)  # the smaller the likelier
    share = torch.where(small, draw[1].square(), draw[1])
    return torch.where(knowing, low + (high - low) * share, values)


def _random_sizes(
    tokens: Tensor, k: int, grammar: Grammar, problem: Problem, starts: int, generator: torch.Generator
) -> Tensor:
    """Sizes [formula, start, k]: log-uniform in [0.05, 6], three in four positive.

    The interval widens to [1 / reach, reach / 2] for variables of size ``reach``; where one is far from usual, most are
    of the size that each constant has in its units.
    """

    def chance() -> Tensor:
        draw = torch.empty(len(tokens), starts, k, dtype=torch.float64, device=generator.device)
        return draw.uniform_(generator=generator).to(tokens.device)

    draw, sign = chance(), chance()
    reach = problem.reach
    low, high = min(_SMALLEST_SIZE, 1.0 / reach), max(_LARGEST_SIZE, 0.5 * reach)
    size = low * (high / low) ** draw
    if k and bool((sizes_of(problem) != 1).any()):
        scales = Scales.of(build(tokens, grammar, max_terms=problem.max_terms), problem)
        usual = _SMALLEST_SIZE * (_LARGEST_SIZE / _SMALLEST_SIZE) ** draw
        size = torch.where(chance() < _ROLE_SHARE, usual * scales.constants, size)
    return torch.where(sign < 0.75, size, -size)


def _roles(tokens: Tensor, k: int, grammar: Grammar) -> tuple[Tensor, Tensor]:
    """Role of every constant and number of the variable beside it (0 for none), both [formula, k].

    The variable is the other operand of the constant's operator, its second or its first.
    """
    n, length = tokens.shape
    at = (tokens == grammar.constant).nonzero()[:, 1].view(n, k)
    kind, number = _tables(grammar, tokens.device)

    def token(position: Tensor) -> Tensor:
        inside = (position >= 0) & (position < length)
        return torch.where(inside, tokens.gather(1, position.clamp(0, length - 1)), PAD)

    before, binary = token(at - 1), kind[token(at - 2)]
    second = (number[before] >= 0) & (binary >= 0) & (binary <= _DIVIDE)
    above = at - 1 - second.long()
    beside = torch.where(second, number[before], number[token(at + 1)])
    here, outer = kind[token(above)], [kind[token(above - up)] for up in (1, 2, 3)]
    role = torch.full_like(at, _SIZE)
    role = torch.where(here == _ADD, _POSITION, role)
    role = torch.where(here == _SUBTRACT, _ZERO, role)
    role = torch.where((here == _DIVIDE) & ~second, _LENGTH, role)
    role = torch.where((here == _MULTIPLY) & (outer[0] == _EXPONENTIAL), _RATE, role)
    waves = (outer[0] == _WAVE) | (outer[1] == _WAVE) | (outer[2] == _WAVE)
    role = torch.where((here == _MULTIPLY) & waves, _FREQUENCY, role)
    return torch.where(beside >= 0, role, _SIZE), beside.clamp(min=0)


@lru_cache(maxsize=16)
def _tables(grammar: Grammar, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of every token: which operator it is and which variable, both [token], -1 for neither."""
    kinds = {"add": _ADD, "sub": _SUBTRACT, "mul": _MULTIPLY, "div": _DIVIDE, "exp": _EXPONENTIAL}
    waves = {name for name, operator in OPERATORS.items() if Family.TRIGONOMETRIC in operator.families}
    kind = [_WAVE if name in waves else kinds.get(name, -1) for name in grammar.tokens]
    number = [grammar.variables.index(n) if n in grammar.variables else -1 for n in grammar.tokens]
    return torch.tensor(kind, device=device), torch.tensor(number, device=device)


def _ranges(role: Tensor, beside: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Between which values the constants of every role are guessed, both [formula, k]."""
    first, last = problem.x.amin(1), problem.x.amax(1).clamp(max=max(problem.reach, 1.0))
    span = torch.where(last > first, last - first, 1.0)
    slowest, nothing, around = 0.5 * math.pi / span, torch.zeros_like(span), _OUTSIDE_SHARE * span
    highest = torch.maximum(fastest(problem), slowest)
    low = torch.stack([nothing, -last - around, first - around, 0.3 * first, slowest, -_MAX_DECAYS / span])
    high = torch.stack([nothing, around - first, last + around, _LENGTH_FACTOR * last, highest, nothing])
    return low[role, beside], high[role, beside]
