"""Formulas in whole and half numbers: fitted ones rounded, and pairs of small functions without fitted constants.

Noise shifts the constants of a law away from the whole numbers that they are: rounding them may find it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from defectdb.engine.finishing.scored import Scored, criterion
from defectdb.engine.finishing.simplify import simplify
from defectdb.engine.fitting.archive import Archive
from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem, loss_of
from defectdb.engine.programs.compiling import term_roots
from defectdb.engine.programs.finished import finish
from defectdb.engine.safety.fitted_values import predict
from defectdb.expressions.expression import Call, Constant, Expression, Number, complexity, variables


def round_halves(fitted: Archive, grammar: Grammar, problem: Problem) -> Archive:
    """The same formulas with constants and coefficients rounded to halves, nothing fitted again.

    Formulas that lose a summand by it are left out; the complexity counts coefficients that are not 1.
    """
    mask = term_roots(fitted.tokens, grammar, problem.max_terms)[1]
    theta, beta = ((2 * block).round() / 2 for block in (fitted.fit.theta, fitted.fit.beta))
    terms = beta[:, : problem.max_terms]
    whole = torch.isfinite(fitted.fit.sse) & ((terms != 0) | ~mask).all(1)
    cost = torch.where(terms == 1, 0, torch.where(terms == -1, 1, 2)) * mask
    size = (fitted.tokens != 0).sum(1) + cost.sum(1)
    if problem.offset:
        size = size + 2 * (beta[:, -1] != 0).long()
    rows = whole.nonzero().squeeze(1)
    some = replace(
        fitted[rows], fit=Fit(theta[rows], beta[rows], fitted.fit.sse[rows]), complexity=size[rows]
    )
    return replace(some, fit=replace(some.fit, sse=_losses(some, grammar, problem)))


def _losses(some: Archive, grammar: Grammar, problem: Problem) -> Tensor:
    """Weighted squared errors or Huber losses, as the problem says, [formula]; infinite where there is no value."""
    values = predict(some.tokens, grammar, some.fit, problem.x, problem)
    return problem.total(problem.y - problem.rows_of(values))


def without_constants(tokens: Tensor, grammar: Grammar, problem: Problem, source: int = 0) -> Archive:
    """Formulas without fitted constants [formula, position] with the errors that they have as they stand."""
    n, alone = len(tokens), without_coefficients(problem)
    beta = problem.y.new_zeros(n, alone.n_columns)
    beta[:, 0] = 1.0
    fit = Fit(problem.y.new_zeros(n, 0), beta, problem.y.new_zeros(n))
    size = (tokens != 0).sum(1)
    zeros = torch.zeros_like(size)
    whole = Archive(tokens, fit, size, zeros + source, zeros, zeros == 0)
    return replace(whole, fit=replace(fit, sse=_losses(whole, grammar, alone)))


def without_coefficients(problem: Problem) -> Problem:
    """The problem for formulas that have no coefficients of their own."""
    return replace(problem, max_terms=1, offset=False)


def round_number_formulas(rounded: Archive, grammar: Grammar, problem: Problem) -> list[Scored]:
    """Rounded formulas as trees without constants, simplified, with their errors in training; each once.

    Their left-out errors are not known (NaN): what was rounded had been fitted to all rows.
    """
    rounded, problem = rounded.to("cpu"), problem.to("cpu")
    values = predict(rounded.tokens, grammar, rounded.fit, problem.x, problem)
    error = problem.y - problem.rows_of(values)
    found: dict[Expression, Scored] = {}
    for i in range(len(rounded)):
        tree, constants = finish(
            rounded.tokens[i], grammar, problem, rounded.fit.theta[i], rounded.fit.beta[i]
        )
        tree, rest = simplify(_literal(tree, constants), ())
        if rest or not variables(tree):
            continue
        mse, mae = problem.mean(error[i].square()), problem.mean(error[i].abs())
        loss = problem.mean(loss_of(error[i], problem.huber))
        found.setdefault(
            tree,
            Scored(
                tree, (), complexity(tree), mse, mae, mae_cv=math.nan, mae_cv_interior=math.nan,
                bic=criterion(loss, problem.n_rows, 0, problem.huber), skeleton=tuple(rounded.tokens[i].tolist()),
                loss=loss,
            ),
        )  # fmt: skip
    return list(found.values())


def _literal(node: Expression, constants: list[float]) -> Expression:
    """The tree with its constants replaced by literal numbers."""
    if isinstance(node, Constant):
        return Number(constants[node.index])
    if isinstance(node, Call):
        return Call(node.operator, tuple(_literal(arg, constants) for arg in node.args))
    return node
