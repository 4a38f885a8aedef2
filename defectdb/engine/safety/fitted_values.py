"""Evaluate fitted formulas and reject those that diverge, leave the data's range or oscillate between data points."""

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
from defectdb.engine.safety.poles import have_poles


def predict(tokens: Tensor, grammar: Grammar, fit: Fit, x: Tensor, problem: Problem) -> Tensor:
    """Values [formula, point] of fitted formulas at ``x`` [variable, point] (before any mixing of points)."""
    out = x.new_full((len(tokens), x.shape[1]), torch.nan)
    for part, programs, table in _tables(tokens, grammar, fit, x, problem):
        out[part] = programs.combined(table, fit.beta[part].unsqueeze(2), offset=problem.offset)[:, 0]
    return out


def in_domain(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, domain: Domain) -> Tensor:
    """Which fitted formulas are finite, bounded and quiet over the domain, bool [formula].

    Over one variable no denominator may pass through zero, however weak the pole that it makes.
    """
    some = torch.isfinite(fit.sse).nonzero().squeeze(1)
    ok = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    finite = Fit(fit.theta[some], fit.beta[some], fit.sse[some])
    for part, programs, table in _tables(tokens[some], grammar, finite, domain.grid, problem):
        values = programs.combined(table, finite.beta[part].unsqueeze(2), offset=problem.offset)
        good = domain.holds(values[:, 0])
        if domain.n_inside or domain.one_sign:
            good &= ~have_poles(programs, table[:, 0], anywhere=domain.one_sign)
        ok[some[part]] = good
    return ok


def _tables(
    tokens: Tensor, grammar: Grammar, fit: Fit, x: Tensor, problem: Problem
) -> Iterator[tuple[Tensor, Programs, Tensor]]:
    """Rows of formulas with as many constants, their programs and their node tables [row, 1, point] at ``x``."""
    k_of = count_constants(tokens, grammar)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * x.shape[1]))):
            programs = build(tokens[part], grammar, max_terms=problem.max_terms)
            yield part, programs, programs.values(x, fit.theta[part, None, :k])
