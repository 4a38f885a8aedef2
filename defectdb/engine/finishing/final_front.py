"""The final front of a search: the best few formulas of every complexity, polished, simplified and scored."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from defectdb.engine.finishing.pareto import pareto_rows
from defectdb.engine.finishing.rounding import plainest
from defectdb.engine.finishing.rows import Data
from defectdb.engine.finishing.scored import Scored, pareto_front
from defectdb.engine.finishing.scoring import flat, score_front
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.finishing.sympy_process import shortened
from defectdb.engine.finishing.uncertainty import description_length
from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.multistart import fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.finished import finish
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.fitted_values import in_domain
from defectdb.expressions.expression import complexity

_SIMPLIFIED_FORMULAS = 12  # formulas of every complexity that are simplified before the front is drawn


def final_front(
    archive: Archive,
    grammar: Grammar,
    problem: Problem,
    domain: Domain | None,
    folds: Tensor,
    generator: torch.Generator,
    algebra_until: float = 0.0,
    polish_until: float = math.inf,
    mean: bool = True,
) -> list[Scored]:
    """The front in order of complexity: every formula lower in error than all simpler ones, cross-validated.

    The mean of the rows stands first, if ``mean`` and where a constant is allowed.

    What counts is the complexity after simplification, so many of every complexity are simplified first.
    Algebra may shorten the front's formulas until ``algebra_until``, and the polish ends at ``polish_until`` (seconds
    of the monotonic clock; 0: not at all).
    """
    best = archive.best(_SIMPLIFIED_FORMULAS, int(archive.complexity.max()))
    best = replace(best, complexity=_simplified(best, grammar, problem))
    best = polish(best.best(3, int(best.complexity.max())), grammar, problem, domain, generator, polish_until)
    best = best.best(1, int(best.complexity.max()))
    rows = pareto_rows(best.complexity.tolist(), best.fit.sse.tolist(), beat_all=True)
    best = best[torch.tensor(rows, device=best.tokens.device)]
    front = plainest(score_front(best.tokens, grammar, best.fit, problem, folds), problem, grammar, domain)
    front = shortened(front, problem, grammar, domain, algebra_until)
    if mean and problem.offset:
        level = flat(problem, folds)
        if domain is None or domain.permits(level.expression, level.constants, grammar.variables):
            front = pareto_front([level, *front])
    data = Data.of(problem, grammar)
    return [replace(scored, description_length=description_length(scored, data)) for scored in front]


def _simplified(archive: Archive, grammar: Grammar, problem: Problem) -> Tensor:
    """Tokens that are left of every formula after simplification, [formula]."""
    here = archive.to("cpu")  # formula by formula: one copy instead of thousands of waits for a device
    left = []
    for row, theta, beta in zip(here.tokens, here.fit.theta, here.fit.beta, strict=True):
        left.append(complexity(simplify(*finish(row, grammar, problem, theta, beta))[0]))
    return torch.tensor(left, device=archive.tokens.device)


def polish(
    archive: Archive,
    grammar: Grammar,
    problem: Problem,
    domain: Domain | None,
    generator: torch.Generator,
    until: float = math.inf,
) -> Archive:
    """The same formulas with constants refined by a long run, where that keeps them safe over the domain.

    Formulas not reached ``until`` then (seconds of the monotonic clock) stay as they are.
    """
    old = archive.fit
    new = fit(
        archive.tokens, grammar, problem, generator,
        starts=4, theta=old.theta, iterations=(20, 60), no_offset=archive.no_offset, until=until,
    )  # fmt: skip
    fine = torch.isfinite(new.sse) & (new.sse <= old.sse)
    if domain is not None:
        fine &= in_domain(archive.tokens, grammar, new, problem, domain)
    theta = torch.where(fine.unsqueeze(1), new.theta, old.theta[:, : new.theta.shape[1]])
    beta = torch.where(fine.unsqueeze(1), new.beta, old.beta)
    fitted = Fit(theta, beta, torch.where(fine, new.sse, old.sse))
    return Archive(
        archive.tokens, fitted, archive.complexity, archive.source, archive.born, archive.no_offset
    )
