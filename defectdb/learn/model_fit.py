"""Structures to a whole-material model: distance tables, kernels searched against them, all constants refined together.

1. A table of kernel values at every distance class is fitted to all structures by iteratively reweighted least
   squares (absolute errors: compact triangles are outliers of any pair model).
2. Around that table the weighted squared error is a quadratic form in each kernel's values at its classes, so a
   kernel is searched against a dozen points with that metric instead of thousands of structures. This is exact.
3. Three-body terms are searched on what the table leaves, and kept where they lower the cross-validated error.
4. The constants of all formulas are refined jointly through the sum over pairs and triples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from defectdb.learn.config import LearnConfig
from defectdb.learn.kernels import CUTOFF, KernelTask
from defectdb.learn.segvae.front import Domain
from defectdb.learn.structures import N_FOLDS, TRIPLE_VARIABLES, Block, ModelData, Triples
from defectdb.schema.engines import evaluate_numpy
from defectdb.schema.expression import Expression
from defectdb.schema.records import EVERY_DZ

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FLOOR = 1e-3
"""Absolute errors below this (eV) count as squared ones: near the noise of the data."""

REACH = 4e-3
"""How far (eV) a kernel of a few constants stays from a table of values: the metric of its search is blunt below."""

SPARE = 0.004
"""A simpler kernel may add this share of the table's error."""

MIN_TRIPLES = 40
MAX_TRIPLES = 220
"""A three-body term is searched on at most this many triples and refined on all."""


@dataclass(frozen=True)
class Part:
    """One formula in place: its variables' values ``x`` at the points and how points add up to structures.

    ``counts`` [structure, point] for pair kernels; for three-body terms ``rows`` [point] names the structure.
    ``domain`` is where the formula must stay finite and quiet whatever its constants become.
    """

    label: str
    order: int
    dz_min: float
    dz_max: float
    expression: Expression
    constants: tuple[float, ...]
    x: dict[str, Floats]
    counts: Floats | None
    rows: NDArray[np.int64] | None
    domain: Domain | None = None

    def safe(self) -> bool:
        """Whether the formula with these constants obeys its domain."""
        if self.domain is None:
            return True
        grid = self.domain.grid.numpy()
        values = evaluate_numpy(self.expression, dict(zip(self.x, grid, strict=True)), self.constants)
        return bool(self.domain.holds(torch.from_numpy(values.copy())[None])[0])

    def spread(self, values: Floats, n: int) -> Floats:
        """Values at the points to sums over structures, [structure, ...]."""
        if self.counts is not None:
            out: Floats = self.counts @ values
            return out
        assert self.rows is not None
        total = np.zeros((n, *values.shape[1:]))
        np.add.at(total, self.rows, values)
        return total

    def contribution(self, n: int) -> Floats:
        """What this term adds to every structure, [structure]."""
        return self.spread(evaluate_numpy(self.expression, self.x, self.constants), n)

    def jacobian(self, n: int) -> Floats:
        """Derivatives of the contribution by the constants, central differences, [structure, constant]."""
        columns = []
        for i, value in enumerate(self.constants):
            step = 1e-6 * max(abs(value), 1e-3)
            sides = []
            for sign in (1.0, -1.0):
                moved = list(self.constants)
                moved[i] += sign * step
                sides.append(evaluate_numpy(self.expression, self.x, moved))
            columns.append((sides[0] - sides[1]) / (2 * step))
        return self.spread(np.stack(columns, axis=1), n) if columns else np.zeros((n, 0))


def total_values(data: ModelData) -> Floats:
    """What kernels and three-body terms must add up to, [structure]: the pairs' own one-defect values put back."""
    return data.y + sum((b.counts.sum(1) * b.base for b in data.blocks), np.zeros_like(data.y))


def robust_weights(residual: Floats, floor: float = FLOOR) -> Floats:
    """Weights under which squared errors sum to absolute ones, [structure]; blunt below ``floor`` eV."""
    return 1.0 / np.maximum(np.abs(residual), floor)


def fit_table(
    blocks: Sequence[Block], y: Floats, train: Flags, rounds: int = 30
) -> tuple[list[Floats], Floats]:
    """Kernel values at every class of every block, and the weights [structure] of the last round."""
    counts = np.concatenate([b.counts for b in blocks], axis=1)
    weights = train.astype(float)
    prior = np.zeros(counts.shape[1])
    solution = prior
    for _ in range(rounds):
        weighted = counts * weights[:, None]
        gram = counts.T @ weighted
        ridge = 1e-7 * np.trace(gram) / len(gram)
        solution = np.linalg.solve(gram + ridge * np.eye(len(gram)), weighted.T @ y + ridge * prior)
        weights = robust_weights(y - counts @ solution) * train
    edges = np.cumsum([0, *(len(b.r) for b in blocks)])
    return [solution[a:b] for a, b in pairwise(edges)], weights


def kernel_task(
    block: Block, table: Floats, weights: Floats, error: float, config: LearnConfig, device: str
) -> KernelTask:
    """The search of one kernel against its table values with the structures' metric; ``error`` is the table's."""
    seen = block.counts[weights > 0].sum(0) > 0
    counts, values, r = block.counts[:, seen], table[seen], block.r[seen]
    gram = counts.T @ (counts * weights[:, None])
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    lower = np.linalg.cholesky(gram).astype(np.float64)
    return KernelTask(
        block.label, block.dz_min, block.dz_max, r[None], lower.T @ values, np.ones(len(values)), lower.T,
        CUTOFF, config, device, values=values, offset=True, spare=SPARE * error, frequency=counts.sum(0),
    )  # fmt: skip


def triple_task(
    triples: Triples,
    residual: Floats,
    weights: Floats,
    n_defects: NDArray[np.int64],
    config: LearnConfig,
    device: str,
) -> KernelTask | None:
    """The search of one three-body term on what the pairs leave; None where there are too few triples."""
    alone = np.flatnonzero((n_defects[triples.rows] == 3) & (weights[triples.rows] > 0))
    if len(alone) < MIN_TRIPLES:
        return None
    left = residual[triples.rows[alone]]
    order = np.argsort(-np.abs(left), kind="stable")
    rest = order[MAX_TRIPLES // 2 :]
    step = max(1, len(rest) // (MAX_TRIPLES // 2))
    picked = np.concatenate([order[: MAX_TRIPLES // 2], rest[::step]])
    share = np.where(np.arange(len(picked)) < MAX_TRIPLES // 2, 1.0, float(step))
    chosen = alone[picked]
    varying = [i for i in range(len(TRIPLE_VARIABLES)) if np.ptp(triples.x[i]) > 1e-3]
    y = residual[triples.rows[chosen]]
    weight = share * weights[triples.rows[chosen]]
    return KernelTask(
        triples.label, 0.0, EVERY_DZ, triples.x[varying][:, chosen], y, weight, None, CUTOFF, config, device,
        variables=tuple(TRIPLE_VARIABLES[i] for i in varying), values=y, offset=False,
        spare=0.01 * float((weight * y**2).sum()),
    )  # fmt: skip


def refine(parts: Sequence[Part], y: Floats, train: Flags, rounds: int = 25) -> list[Part]:
    """All constants of all formulas refined together against absolute errors, by damped Gauss-Newton steps.

    A formula that a step would take out of its domain stays where it is for that step while the others move. A
    formula that starts outside keeps no domain.
    """
    n = len(y)
    parts = [part if part.safe() else replace(part, domain=None) for part in parts]

    def error(candidate: Sequence[Part]) -> tuple[float, Floats]:
        residual = y - sum((p.contribution(n) for p in candidate), np.zeros(n))
        loss = np.where(np.abs(residual) > FLOOR, np.abs(residual), (residual**2 / FLOOR + FLOOR) / 2)
        total = float(loss[train].sum())
        return (total if np.isfinite(total) else np.inf), residual

    best, residual = error(parts)
    damping = 1e-3
    for _ in range(rounds):
        jacobian = np.concatenate([p.jacobian(n) for p in parts], axis=1)[train]
        jacobian[:, ~np.isfinite(jacobian).all(axis=0)] = 0.0  # constants at the edge of the defined stay
        weighted = jacobian * robust_weights(residual)[train, None]
        gram, right = jacobian.T @ weighted, weighted.T @ residual[train]
        scale = np.diag(gram) + 1e-12 * np.trace(gram) + 1e-30
        improved = False
        for _ in range(6):
            step = np.linalg.lstsq(gram + damping * np.diag(scale), right, rcond=1e-14)[0].astype(np.float64)
            moved = _moved(parts, step)
            trial, left = error(moved)
            if trial < best:
                improved = best - trial > 1e-5 * best
                parts, best, residual, damping = moved, trial, left, damping * 0.3
                break
            damping *= 6
        if not improved:
            break
    return parts


def _moved(parts: Sequence[Part], step: Floats) -> list[Part]:
    """The parts with their constants moved, each only where it stays in its domain."""
    moved, at = [], 0
    for part in parts:
        k = len(part.constants)
        constants = tuple(float(c) for c in np.asarray(part.constants) + step[at : at + k])
        new = replace(part, constants=constants)
        moved.append(new if new.safe() else part)
        at += k
    return moved


def predict(parts: Sequence[Part], n: int) -> Floats:
    """The sum of all terms, [structure]."""
    return sum((p.contribution(n) for p in parts), np.zeros(n))


def cross_validate(parts: Sequence[Part], y: Floats, fold: NDArray[np.int64]) -> Floats:
    """Out-of-fold residuals [structure]: all constants refined anew without each fold, the formulas' forms kept."""
    residual = np.zeros_like(y)
    for k in range(N_FOLDS):
        held = fold == k
        if held.any() and not held.all():
            refined = refine(parts, y, ~held, rounds=12)
            residual[held] = (y - predict(refined, len(y)))[held]
    return residual


def pair_part(
    block: Block, expression: Expression, constants: Sequence[float], domain: Domain | None = None
) -> Part:
    """A chosen kernel in its place."""
    window = block.dz_min, block.dz_max
    return Part(
        block.label, 2, *window, expression, tuple(constants), {"r": block.r}, block.counts, None, domain
    )


def triple_part(
    triples: Triples,
    expression: Expression,
    constants: Sequence[float],
    variables: tuple[str, ...] = TRIPLE_VARIABLES,
    domain: Domain | None = None,
) -> Part:
    """A chosen three-body term of these variables (those of the domain's grid) in its place."""
    x = {v: triples.x[TRIPLE_VARIABLES.index(v)] for v in variables}
    return Part(triples.label, 3, 0.0, EVERY_DZ, expression, tuple(constants), x, None, triples.rows, domain)
