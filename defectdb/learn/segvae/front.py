"""Fitted candidates to a Pareto front: domain safety, cross-validation, finished expressions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectdb.learn.segvae.constants import Fit, Problem, levenberg_marquardt
from defectdb.learn.segvae.grammar import Grammar
from defectdb.learn.segvae.programs import build, count_constants, term_roots
from defectdb.schema.expression import Call, Constant, Expression, complexity, from_prefix, to_prefix, walk

MAX_ROUGHNESS = 1.6  # total variation between the data points, as a multiple of the data's own
MAX_OVERSHOOT = 0.25  # how far beyond the data's range a formula may swing, as a fraction of that range


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a formula must be finite and quiet: a grid over the range and what the data do there.

    ``grid`` [variable, point] with the points inside the data first (``n_inside``), then the tail up to the cutoff;
    ``low``, ``high``, ``roughness`` bound the value and its total variation; ``tail`` bounds |value| at the last
    point (infinite: no demand).
    """

    grid: Tensor
    n_inside: int
    low: float
    high: float
    roughness: float
    tail: float = math.inf

    @classmethod
    def of(
        cls, x: Tensor, y: Tensor, *, cutoff: float | None = None, decay: bool = False, points: int = 128
    ) -> Domain:
        """The domain of one-variable data: [min x, max x] and beyond it up to ``cutoff``.

        ``decay`` demands that the value vanish at the cutoff (to 2 % of the data's range).
        """
        order = x.argsort()
        xs, ys = x[order], y[order]
        distinct = torch.unique_consecutive(xs)
        means = torch.stack([ys[xs == value].mean() for value in distinct])
        spread = float(means.max() - means.min()) or max(abs(float(means[0])), 1.0)
        low, high = float(xs[0]), float(xs[-1])
        inside = torch.linspace(low, high, points, dtype=x.dtype, device=x.device)
        # Poles hide beside the data points that they serve: look closely there.
        near = high * torch.tensor(
            [-3e-3, -1e-3, -3e-4, 0.0, 3e-4, 1e-3, 3e-3], dtype=x.dtype, device=x.device
        )
        beside = (distinct.unsqueeze(1) + near).flatten()
        inside = torch.cat([inside, beside[(beside >= low) & (beside <= high)]]).sort().values
        grid, n_inside = inside, len(inside)
        if cutoff is not None and cutoff > high:
            grid = torch.cat(
                [inside, torch.linspace(high, cutoff, points // 4, dtype=x.dtype, device=x.device)]
            )
        margin = MAX_OVERSHOOT * spread
        return cls(
            grid.unsqueeze(0), n_inside, float(means.min()) - margin, float(means.max()) + margin,
            MAX_ROUGHNESS * float(means.diff().abs().sum()) + 0.1 * spread, 0.02 * spread if decay else math.inf,
        )  # fmt: skip

    def holds(self, values: Tensor) -> Tensor:
        """Which formulas obey, bool [formula], from their values on the grid [formula, point]."""
        ok = torch.isfinite(values).all(1)
        ok &= (values.amin(1) >= self.low) & (values.amax(1) <= self.high)
        ok &= values[:, : self.n_inside].diff(dim=1).abs().sum(1) <= self.roughness
        if math.isfinite(self.tail):
            ok &= values[:, -1].abs() <= self.tail
        return ok


def predict(tokens: Tensor, grammar: Grammar, fit: Fit, x: Tensor, problem: Problem) -> Tensor:
    """Values [formula, point] of fitted formulas at ``x`` [variable, point] (before any mixing of points)."""
    k_of = count_constants(tokens, grammar)
    out = x.new_full((len(tokens), x.shape[1]), torch.nan)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * x.shape[1]))):
            programs = build(tokens[part], grammar, max_terms=problem.max_terms)
            table = programs.values(x, fit.theta[part, None, :k])[:, 0]
            values = x.new_zeros(len(part), x.shape[1])
            for term in range(problem.max_terms):
                share = fit.beta[part, term].unsqueeze(1) * table[programs.terms[:, term]]
                values = torch.where(programs.term_mask[:, term].unsqueeze(1), values + share, values)
            if problem.offset:
                values = values + fit.beta[part, -1].unsqueeze(1)
            out[part] = values
    return out


def in_domain(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, domain: Domain) -> Tensor:
    """Which fitted formulas are finite, bounded and quiet over the domain, bool [formula]."""
    ok = torch.isfinite(fit.sse)
    some = ok.nonzero().squeeze(1)
    if len(some):
        part = Fit(fit.theta[some], fit.beta[some], fit.sse[some])
        ok[some] = domain.holds(predict(tokens[some], grammar, part, domain.grid, problem))
    return ok


def complexities(tokens: Tensor, grammar: Grammar, problem: Problem) -> Tensor:
    """Tokens of every finished formula, [formula]: the skeleton, a coefficient for each summand, the offset."""
    roots, mask = term_roots(tokens, grammar, problem.max_terms)
    inverse = grammar.index.get("inv", -1)
    cost = torch.where(roots == inverse, 1, 2) * mask  # c * (1 / x) is written c / x
    return (tokens != 0).sum(1) + cost.sum(1) + 2 * int(problem.offset)


def distinct_terms(tokens: Tensor, grammar: Grammar, problem: Problem) -> Tensor:
    """Which skeletons have no bare constant or number as a summand, where the offset is free anyway; bool [formula]."""
    roots, mask = term_roots(tokens, grammar, problem.max_terms)
    flat = torch.tensor(
        [t == "c" or i in grammar.leaf_values for i, t in enumerate(grammar.tokens)], device=tokens.device
    )
    return ~(flat[roots] & mask).any(1) if problem.offset else torch.ones_like(mask[:, 0])


def finish(
    tokens: Tensor, grammar: Grammar, problem: Problem, theta: Tensor, beta: Tensor
) -> tuple[Expression, list[float]]:
    """One fitted skeleton [position] as a complete expression and its constants in order."""
    skeleton = from_prefix(grammar.decode(tokens.tolist()))
    inner = theta.tolist()
    summands = _summands(skeleton, problem.max_terms)
    scales = beta.tolist()
    pieces: list[tuple[Expression, list[float]]] = []
    for term, scale in zip(summands, scales, strict=False):
        own = [inner[node.index] for node in walk(term) if isinstance(node, Constant)]
        if isinstance(term, Call) and term.operator == "inv":
            pieces.append((Call("div", (Constant(0), term.args[0])), [scale, *own]))
        else:
            pieces.append((Call("mul", (Constant(0), term)), [scale, *own]))
    if problem.offset:
        pieces.insert(0, (Constant(0), [scales[-1]]))
    whole = pieces[0][0]
    for piece, _ in pieces[1:]:
        whole = Call("add", (whole, piece))
    constants = [value for _, values in pieces for value in values]
    counter = iter(range(len(constants)))
    names = [
        f"c{next(counter)}" if name[0] == "c" and name[1:].isdigit() else name for name in to_prefix(whole)
    ]
    return from_prefix(names), constants


def _summands(skeleton: Expression, max_terms: int) -> list[Expression]:
    """The top-level summands in the order of ``programs.term_roots``."""
    terms = [skeleton]
    while len(terms) < max_terms:
        for i, term in enumerate(terms):
            if isinstance(term, Call) and term.operator in ("add", "sub"):
                terms[i] = term.args[0]
                terms.append(term.args[1])
                break
        else:
            break
    return terms


@dataclass(frozen=True, slots=True)
class Scored:
    """One formula of a front: expression, constants, and its errors on the rows it was fitted to.

    ``mse`` and ``mae`` in training; ``mae_cv`` mean absolute error by leave-one-out or k-fold; ``mae_cv_interior``
    the same without the rows at the ends of the first variable's range; ``bic`` Bayesian information criterion.
    """

    expression: Expression
    constants: tuple[float, ...]
    complexity: int
    mse: float
    mae: float
    mae_cv: float
    mae_cv_interior: float
    bic: float
    skeleton: tuple[int, ...]


def cross_validate(
    tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor, iterations: int = 25
) -> Tensor:
    """Out-of-fold residuals [formula, row]: every formula's constants refitted without each fold [row] in turn."""
    n_folds = int(folds.max()) + 1
    held = folds.unsqueeze(0) == torch.arange(n_folds, device=folds.device).unsqueeze(1)  # [fold, row]
    blind = replace(problem, weight=torch.where(held, 0.0, problem.weight))
    residuals = problem.y.new_full((len(tokens), len(problem.y)), torch.nan)
    k_of = count_constants(tokens, grammar)
    for k in k_of.unique().tolist():
        members = (k_of == k).nonzero().squeeze(1)
        for part in members.split(max(1, 4_000_000 // (12 * n_folds * problem.x.shape[1]))):
            programs = build(tokens[part], grammar, max_terms=problem.max_terms)
            start = fit.theta[part, None, :k].expand(-1, n_folds, -1).contiguous()
            theta, beta, _ = levenberg_marquardt(programs, blind, start, iterations)
            table = programs.values(problem.x, theta)
            values = table.new_zeros(len(part), n_folds, problem.x.shape[1])
            for term in range(problem.max_terms):
                share = beta[:, term].unsqueeze(2) * table[programs.terms[:, term]]
                values = torch.where(programs.term_mask[:, term].view(-1, 1, 1), values + share, values)
            if problem.offset:
                values = values + beta[:, -1].unsqueeze(2)
            rows = values if problem.mixing is None else values @ problem.mixing.T
            out = problem.y - rows  # [formula, fold, row]
            residuals[part] = out.gather(1, folds.view(1, 1, -1).expand(len(part), 1, -1)).squeeze(1)
    return residuals


def make_folds(problem: Problem, groups: Tensor | None = None, max_folds: int = 64) -> Tensor:
    """Folds [row]: one for every distinct point up to 64 of them (leave one out), else ``groups`` or five in turn."""
    if groups is not None:
        return groups
    if problem.mixing is None:
        _, distinct = torch.unique(problem.x, dim=1, return_inverse=True)
        if int(distinct.max()) < max_folds:
            return distinct
    return torch.arange(len(problem.y), device=problem.y.device) % 5


def score_front(tokens: Tensor, grammar: Grammar, fit: Fit, problem: Problem, folds: Tensor) -> list[Scored]:
    """Every formula with its training and cross-validated errors, in the order of complexity."""
    values = predict(tokens, grammar, fit, problem.x, problem)
    rows = values if problem.mixing is None else values @ problem.mixing.T
    error = problem.y - rows
    blind = cross_validate(tokens, grammar, fit, problem, folds)
    first = problem.x[0] if problem.mixing is None else None
    interior = torch.ones_like(problem.y, dtype=torch.bool)
    if first is not None and len(first.unique()) > 2:
        interior = (first > first.min()) & (first < first.max())
    scored = []
    for i in range(len(tokens)):
        expression, constants = finish(tokens[i], grammar, problem, fit.theta[i], fit.beta[i])
        mse = float((problem.weight * error[i].square()).sum() / problem.weight.sum())
        n, k = len(problem.y), len(constants)
        out = blind[i].abs().nan_to_num(nan=torch.inf)
        scored.append(
            Scored(
                expression,
                tuple(constants),
                complexity(expression),
                mse,
                float(error[i].abs().mean()),
                float(out.mean()),
                float(out[interior].mean()),
                n * math.log(max(mse, 1e-300)) + k * math.log(n),
                tuple(tokens[i].tolist()),
            )  # fmt: skip
        )
    return sorted(scored, key=lambda s: (s.complexity, s.mse))


def select(front: list[Scored], tolerance: float = 0.05) -> int:
    """Index of the formula to use: the simplest whose interior cross-validated error is within 5 % of the least."""
    finite = [s.mae_cv_interior for s in front if math.isfinite(s.mae_cv_interior)]
    if not finite:
        return min(range(len(front)), key=lambda i: front[i].mae)
    bound = min(finite) * (1 + tolerance)
    return next(i for i, s in enumerate(front) if s.mae_cv_interior <= bound)
