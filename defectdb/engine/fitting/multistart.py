"""Fit all constants of a batch of formulas from several starting points.

Every formula is fitted as offset + sum of coefficient * summand (see ``levenberg``); formulas are batched by their
number of constants, their summands and their length.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.engine.fitting.fitted import Fit
from defectdb.engine.fitting.initial_guesses import starts_of
from defectdb.engine.fitting.variable_projection import errors, levenberg_marquardt, residuals
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.programs.compiling import build, count_constants, term_roots
from defectdb.engine.programs.programs import Programs

_CHECKED_STEPS = 14  # steps after which fits that no longer move are left alone
_LEAST_PROGRESS = 1e-9
_REWEIGHTING_STEPS = 8  # between two reweightings of a robust fit
_FIRST_REWEIGHTINGS, _MORE_REWEIGHTINGS = (
    2,
    4,
)  # reweightings before a robust fit is judged, and at least as many of those that go on
_GUESSES_PER_START = 4  # for every start of a formula with several constants: a value costs a tenth of a run
_TABLE_NUMBERS = 3_000_000  # numbers per node table: some 24 MB, which a processor's last cache still holds


def _pick(
    theta: Tensor, beta: Tensor, sse: Tensor, keep: int, rank: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``keep`` best starts of every formula: of the lowest ``rank`` [formula, start], if given, else ``sse``."""
    rank = sse if rank is None else rank
    which = rank.topk(min(keep, sse.shape[1]), dim=1, largest=False).indices
    pick_theta = theta.gather(1, which.unsqueeze(2).expand(-1, -1, theta.shape[2]))
    pick_beta = beta.gather(2, which.unsqueeze(1).expand(-1, beta.shape[1], -1))
    return pick_theta, pick_beta, sse.gather(1, which)


def fit(
    tokens: Tensor,
    grammar: Grammar,
    problem: Problem,
    generator: torch.Generator,
    *,
    starts: int = 8,
    iterations: tuple[int, int] = (6, 14),
    theta: Tensor | None = None,
    no_offset: Tensor | None = None,
    bound: Tensor | None = None,
    until: float = math.inf,
) -> Fit:
    """Fit every formula [formula, position]: a short run from many starts, then a long one from the best
    two.

    ``theta`` [formula, k] gives the first start (NaN: a random value). ``no_offset`` [formula] marks formulas
    fitted without the problem's offset. Formulas whose short run ends above ``bound`` [formula] get no long
    one. Where the problem has ``huber``, errors, bound and the fit's ``sse`` are its loss. The fit ends at ``until``
    (seconds of the monotonic clock): formulas not reached by then have an infinite error, and ``cut_off`` tells
    these and the unfinished ones.
    """
    n = len(tokens)
    k_of = count_constants(tokens, grammar)
    width = int(k_of.max()) if n else 0
    new = problem.y.new_full
    out = Fit(new((n, width), 0.0), new((n, problem.n_columns), 0.0), new((n,), torch.inf))
    cut_off = torch.ones(n, dtype=torch.bool, device=tokens.device)
    lengths, terms = (tokens != 0).sum(1), term_roots(tokens, grammar, problem.max_terms)[1].sum(1)
    for k in range(width + 1):
        members = (k_of == k).nonzero().squeeze(1)
        members = members[(terms * tokens.shape[1] + lengths)[members].argsort(stable=True)]
        n_starts = starts if k else 1
        per = max(1, _TABLE_NUMBERS // (12 * n_starts * problem.x.shape[1]))
        for part in members.split(per) if len(members) else ():
            if time.monotonic() > until:
                return replace(out, cut_off=cut_off)
            guesses = n_starts * (_GUESSES_PER_START if k > 1 else 1)
            begin = starts_of(tokens[part], k, grammar, problem, guesses, generator)
            if theta is not None and k:
                given = theta[part, :k]
                begin[:, 0] = torch.where(torch.isfinite(given), given, begin[:, 0])
            batch = _Batch(
                tokens[part, : int(lengths[part].max())],
                None if no_offset is None else no_offset[part],
                int(terms[part].max()),
            )
            begin = _promising(batch, grammar, problem, begin, n_starts)
            limit = None if bound is None else bound[part]
            found = _two_runs(batch, grammar, problem, begin, iterations, limit, until)
            out.theta[part, :k], out.sse[part], cut_off[part] = found[0], found[2], found[3]
            out.beta[part, : batch.terms] = found[1][:, : batch.terms]
            if problem.offset:
                out.beta[part, -1] = found[1][:, -1]
    return replace(out, cut_off=cut_off)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Formulas with one number of constants.

    ``tokens`` [formula, position]: the skeletons.
    ``no_offset`` [formula]: which do without the problem's offset; None: none does.
    ``terms``: the largest number of summands.
    """

    tokens: Tensor
    no_offset: Tensor | None
    terms: int

    def programs(self, grammar: Grammar, rows: Tensor | None = None) -> Programs:
        tokens = self.tokens if rows is None else self.tokens[rows]
        no_offset = self.no_offset if rows is None or self.no_offset is None else self.no_offset[rows]
        return build(tokens, grammar, max_terms=self.terms, no_offset=no_offset)


def _promising(batch: _Batch, grammar: Grammar, problem: Problem, begin: Tensor, keep: int) -> Tensor:
    """The ``keep`` guesses of every formula that lie nearest the data as they are, the first (a given one) always."""
    if begin.shape[1] <= keep:
        return begin
    sse = errors(batch.programs(grammar), problem, begin).nan_to_num(nan=torch.inf)
    sse[:, 0] = -torch.inf
    which = sse.topk(keep, dim=1, largest=False).indices
    return begin.gather(1, which.unsqueeze(2).expand(-1, -1, begin.shape[2]))


def _two_runs(
    batch: _Batch,
    grammar: Grammar,
    problem: Problem,
    begin: Tensor,
    iterations: tuple[int, int],
    bound: Tensor | None,
    until: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(theta, beta, sse) of every formula at its best start, and whether ``until`` cut its fit off."""
    programs = batch.programs(grammar)
    theta, beta, sse = levenberg_marquardt(programs, problem, begin, iterations[0])
    if problem.huber:
        return _two_robust_runs(batch, grammar, problem, (theta, beta, sse), iterations[1], bound, until)
    best = _pick(theta, beta, sse, 1)
    found = (best[0][:, 0], best[1][:, :, 0], best[2][:, 0])
    rows = torch.isfinite(found[2]) if bound is None else found[2] <= bound
    rows = rows.nonzero().squeeze(1)
    two = _pick(theta[rows], beta[rows], sse[rows], 2)[0]
    left = iterations[1] if begin.shape[2] else 0
    while left > 0 and len(rows) and time.monotonic() < until:
        some = batch.programs(grammar, rows)
        two, beta, sse = levenberg_marquardt(some, problem, two, min(_CHECKED_STEPS, left))
        last = found[2][rows]
        theta, beta, now = _pick(two, beta, sse, 1)
        found[0][rows], found[1][rows], found[2][rows] = theta[:, 0], beta[:, :, 0], now[:, 0]
        moving = found[2][rows] < last * (1 - _LEAST_PROGRESS)  # the others have arrived
        rows, two, left = rows[moving], two[moving], left - _CHECKED_STEPS
    return *found, _at(rows if left > 0 else rows[:0], found[2])


def _two_robust_runs(
    batch: _Batch,
    grammar: Grammar,
    problem: Problem,
    least_squares: tuple[Tensor, Tensor, Tensor],
    iterations: int,
    bound: Tensor | None,
    until: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(theta, beta, Huber loss, cut off) of every formula from least squares' (theta, beta, sse) at every start.

    Least squares' best start and the two of the least loss are reweighted a few times, and then again where that loss
    is within the ``bound``: what an outlier adds to the squared error says nothing about the formula.
    """
    theta, beta, sse = least_squares
    loss = problem.total(residuals(batch.programs(grammar), problem, theta, beta))
    loss = torch.where(torch.isfinite(sse), loss, torch.inf)
    rank = loss.scatter(1, sse.argmin(1, keepdim=True), -torch.inf)
    theta, beta, loss = _pick(theta, beta, loss, 3, rank)
    best = _pick(theta, beta, loss, 1)
    found = (best[0][:, 0], best[1][:, :, 0], best[2][:, 0])
    rows = torch.isfinite(found[2]).nonzero().squeeze(1)
    for rounds in (_FIRST_REWEIGHTINGS, max(_MORE_REWEIGHTINGS, -(-iterations // _REWEIGHTING_STEPS))):
        if not len(rows):
            break
        if time.monotonic() > until:
            return *found, _at(rows, found[2])
        some = batch.programs(grammar, rows)
        theta[rows], beta[rows], loss[rows] = robust(some, problem, theta[rows], beta[rows], rounds)
        best = _pick(theta[rows], beta[rows], loss[rows], 1)
        found[0][rows], found[1][rows], found[2][rows] = best[0][:, 0], best[1][:, :, 0], best[2][:, 0]
        rows = rows if bound is None else rows[found[2][rows] <= bound[rows]]
    return *found, _at(rows[:0], found[2])


def _at(rows: Tensor, like: Tensor) -> Tensor:
    """True at these rows, bool [formula]."""
    return torch.zeros_like(like, dtype=torch.bool).index_fill(0, rows, True)


def robust(
    programs: Programs, problem: Problem, theta: Tensor, beta: Tensor, rounds: int = _MORE_REWEIGHTINGS
) -> tuple[Tensor, Tensor, Tensor]:
    """Huber fits by reweighting from the constants ``theta`` [formula, start, k] and ``beta`` [formula, column, start]:
    these of the least loss met, and that loss [formula, start] (Huber, Ann. Math. Stat. 1964).

    The problem's weights are [row], or [start, row].
    """
    best_theta, best_beta = theta.clone(), beta.clone()
    left = residuals(programs, problem, theta, beta)
    loss = problem.total(left)
    for _ in range(rounds):
        share = (problem.huber / left.abs().clamp(min=problem.huber)).nan_to_num(nan=1.0)
        eased = replace(problem, weight=problem.weight * share)  # [formula, start, row]
        theta, beta, sse = levenberg_marquardt(programs, eased, theta, _REWEIGHTING_STEPS)
        left = residuals(programs, problem, theta, beta)
        now = torch.where(torch.isfinite(sse), problem.total(left), torch.inf)
        better = now < loss
        loss = torch.where(better, now, loss)
        best_theta = torch.where(better.unsqueeze(2), theta, best_theta)
        best_beta = torch.where(better.unsqueeze(1), beta, best_beta)
    return best_theta, best_beta, loss
