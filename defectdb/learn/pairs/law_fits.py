"""Fit the known physical laws to the rows of a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.finished import finish
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.fitted_values import in_domain
from defectdb.engine.seeds.physical_laws import LAWS
from defectdb.expressions.expression import Expression
from defectdb.expressions.operators import OPERATORS
from defectdb.learn.pairs.kernel_task import KernelTask
from defectdb.learn.pairs.skeleton import Skeleton, skeleton_of
from defectdb.learn.pairs.tasks import domain_of, problem_of

COPIES = 16

STARTS = 3
"""Every law is fitted ``COPIES`` times from the best of ``STARTS`` random starts, with and without an offset."""


@dataclass(frozen=True)
class LawFit:
    """A formula with constants that were fitted to a task's rows.

    Attributes:
        name: of the law
        expression, constants: the formula
        n_constants: everything that the fit adjusted
        safe: whether it is finite and quiet over the task's domain
    """

    name: str
    expression: Expression
    constants: tuple[float, ...]
    n_constants: int
    safe: bool


def fitted_laws(task: KernelTask, seed: int = 0) -> list[LawFit]:
    """Every law of ``LAWS`` fitted to the task's rows, without an offset and, where the task allows one, with it."""
    flags = (False, True) if task.offset else (True,)
    skeletons = [replace(law, no_offset=flag) for law in law_skeletons() for flag in flags]
    return fitted(task, [law.name for law in LAWS for _ in flags], skeletons, seed)


def fitted(
    task: KernelTask, names: Sequence[str], skeletons: Sequence[Skeleton], seed: int = 0
) -> list[LawFit]:
    """The skeletons with all constants fitted to the task's rows, from their own where they have them."""
    grammar, tokens = encoded(skeletons)
    problem = replace(problem_of(task), max_terms=max(s.n_terms for s in skeletons))
    no_offset = torch.tensor([s.no_offset for s in skeletons]) if problem.offset else None
    domain = domain_of(task)
    best = best_fits(tokens, grammar, problem, domain, skeletons, no_offset, seed)
    safe = in_domain(tokens, grammar, best, problem, domain).tolist()
    found = []
    for i, (name, skeleton) in enumerate(zip(names, skeletons, strict=True)):
        tree, constants = simplify(*finish(tokens[i], grammar, problem, best.theta[i], best.beta[i]))
        found.append(LawFit(name, tree, constants, skeleton.n_constants, safe[i]))
    return found


def law_skeletons() -> list[Skeleton]:
    """The skeletons of ``LAWS`` without offset, their inner constants unknown (NaN)."""
    return [replace(skeleton_of(law.skeleton, (math.nan,) * 9), no_offset=True) for law in LAWS]


def encoded(skeletons: Sequence[Skeleton]) -> tuple[Grammar, Tensor]:
    """A grammar that can write the skeletons, and their tokens [formula, position]."""
    words = {name for s in skeletons for name in s.names}
    numbers = sorted(int(name) for name in words if name.lstrip("-").isdigit())
    longest = max(len(s.names) for s in skeletons)
    grammar = Grammar(operators=tuple(OPERATORS), numbers=tuple(numbers), max_length=longest)
    return grammar, torch.tensor([grammar.encode(s.names) for s in skeletons], dtype=torch.long)


def best_fits(
    tokens: Tensor, grammar: Grammar, problem: Problem, domain: Domain, skeletons: Sequence[Skeleton],
    no_offset: Tensor | None, seed: int,
) -> Fit:  # fmt: skip
    """The best fit of every skeleton, from its own constants where it has them, else from random ones.

    ``tokens`` [formula, position]: the skeletons as ``encoded`` gives them.
    ``no_offset`` [formula]: which do without the problem's offset; None: none does.
    """
    width = max((len(s.theta) for s in skeletons), default=0)
    given = [[*s.theta, *[math.nan] * (width - len(s.theta))] for s in skeletons]
    theta = torch.tensor(given, dtype=torch.float64)
    known = bool(torch.isfinite(theta).any())
    copies = 1 if known else COPIES
    many = tokens.repeat_interleave(copies, 0)
    repeated = None if no_offset is None else no_offset.repeat_interleave(copies)
    starts = theta.repeat_interleave(copies, 0) if width else None
    tried = fit(
        many, grammar, problem, torch.Generator().manual_seed(seed), starts=1 if known else STARTS,
        iterations=(15, 60), theta=starts, no_offset=repeated,
    )  # fmt: skip
    safe = in_domain(many, grammar, tried, problem, domain).view(-1, copies)
    sse = tried.sse.view(-1, copies)
    barred = torch.where(safe | ~safe.any(1, keepdim=True), sse, torch.inf)
    rows = torch.arange(len(tokens)) * copies + barred.argmin(1)
    return Fit(tried.theta[rows], tried.beta[rows], tried.sse[rows])
