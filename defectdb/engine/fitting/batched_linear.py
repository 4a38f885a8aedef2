"""Solve the small linear systems of many fits at once: Gram-Schmidt, back substitution, LDL^T.

Written out over the few columns and unknowns, with tensors over formulas and starts: batched library
routines cost more than the arithmetic at these sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums of products over the last dimension."""
    return (a * b).sum(-1)


def orthonormal(columns: list[Tensor]) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor]]:
    """Modified Gram-Schmidt: directions [formula, start, row] (zero for dependent columns), the triangle R, and
    the columns' own sizes [formula, start].
    """
    basis: list[Tensor] = []
    triangle: list[list[Tensor]] = []
    sizes: list[Tensor] = []
    for column in columns:
        size = dot(column, column).sqrt()
        rest, above = column, []
        for direction in basis:
            part = dot(direction, rest)
            rest = torch.addcmul(rest, part.unsqueeze(2), direction, value=-1)
            above.append(part)
        norm = dot(rest, rest).sqrt() if basis else size
        usable = norm > 1e-9 * size
        inverse = torch.where(usable, 1.0 / norm, torch.zeros_like(norm))
        basis.append(rest * inverse.unsqueeze(2))
        triangle.append([*above, torch.where(usable, norm, torch.full_like(norm, torch.inf))])
        sizes.append(size)
    return basis, triangle, sizes


def coefficients(triangle: list[list[Tensor]], parts: list[Tensor]) -> Tensor:
    """Back substitution, [formula, column, start]."""
    n = len(parts)
    beta: list[Tensor] = [parts[0]] * n
    for i in range(n - 1, -1, -1):
        rest = parts[i]
        for j in range(i + 1, n):
            rest = rest - triangle[j][i] * beta[j]
        beta[i] = rest / triangle[i][i]
    return torch.stack(beta, dim=1)


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve small symmetric positive definite systems [..., k, k] by unrolled LDL^T over the whole batch."""
    k = matrix.shape[-1]
    lower: list[list[Tensor]] = []
    diagonal: list[Tensor] = []
    forward: list[Tensor] = []
    for i in range(k):
        row: list[Tensor] = []
        for j in range(i):
            value = matrix[..., i, j]
            for m in range(j):
                value = value - row[m] * diagonal[m] * lower[j][m]
            row.append(value / diagonal[j])
        pivot = matrix[..., i, i]
        for m in range(i):
            pivot = pivot - row[m] * row[m] * diagonal[m]
        diagonal.append(pivot.clamp(min=1e-300))
        lower.append(row)
        value = right[..., i]
        for m in range(i):
            value = value - row[m] * forward[m]
        forward.append(value)
    solution = [f / d for f, d in zip(forward, diagonal, strict=True)]
    for i in range(k - 1, -1, -1):
        for j in range(i + 1, k):
            solution[i] = solution[i] - lower[j][i] * solution[j]
    return torch.stack(solution, dim=-1)
