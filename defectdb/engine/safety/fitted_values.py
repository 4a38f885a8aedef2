"""Evaluate fitted formulas and refuse those that are unsafe over a domain."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build, count_constants
from defectdb.engine.programs.programs import Programs
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.poles import _has_pole


def predict(tokens: Tensor, grammar: Grammar, fit: Fit, x: Tensor, problem: Problem) -> Tensor:
    """Values [formula, point] of fitted formulas at ``x`` [variable, point] (before any mixing of points)."""
    out = x.new_full((len(tokens), x.shape[1]), torch.nan)
    for part, programs, table in _tables(tokens, grammar, fit, x, problem):
        out[part] = _whole(programs, table, fit.beta[part], problem)
    return out


def in_domain(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, domain: Domain) -> Tensor:
    """Which fitted formulas are finite, bounded and quiet over the domain, bool [formula].

    Over one variable no denominator may pass through zero, however weak the pole that it makes.
    """
    some = torch.isfinite(fit.sse).nonzero().squeeze(1)
    ok = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    finite = Fit(fit.theta[some], fit.beta[some], fit.sse[some])
    for part, programs, table in _tables(tokens[some], grammar, finite, domain.grid, problem):
        good = domain.holds(_whole(programs, table, finite.beta[part], problem))
        if domain.n_inside or domain.one_sign:
            good &= ~_has_pole(programs, table, anywhere=domain.one_sign)
        ok[some[part]] = good
    return ok


def _tables(
    tokens: Tensor, grammar: Grammar, fit: Fit, x: Tensor, problem: Problem
) -> Iterator[tuple[Tensor, Programs, Tensor]]:
    """Rows of formulas with as many constants, their programs and their node tables [row, point] at ``x``."""
    k_of = count_constants(tokens, grammar)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * x.shape[1]))):
            programs = build(tokens[part], grammar, max_terms=problem.max_terms)
            yield part, programs, programs.values(x, fit.theta[part, None, :k])[:, 0]


def _whole(programs: Programs, table: Tensor, beta: Tensor, problem: Problem) -> Tensor:
    """Summands times coefficients plus offset, [formula, point]."""
    values = table.new_zeros(len(beta), table.shape[1])
    for term in range(problem.max_terms):
        share = beta[:, term].unsqueeze(1) * table[programs.terms[:, term]]
        values = torch.where(programs.term_mask[:, term].unsqueeze(1), values + share, values)
    return values + beta[:, -1].unsqueeze(1) if problem.offset else values
