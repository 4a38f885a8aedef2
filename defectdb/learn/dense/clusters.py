"""The functions of a compact triangle of vacancies from which its three-body formula is chosen.

What pair kernels miss at high density are clusters of vacancies that share neighbours; substitutions by like elements
need no such term. All functions stay the same when like defects are exchanged.
"""

from __future__ import annotations

import numpy as np

from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, Number, Variable
from defectdb.learn.dense.structures import EDGES, Triangles


def _sum(*trees: Expression) -> Expression:
    whole = trees[0]
    for tree in trees[1:]:
        whole = Call("add", (whole, tree))
    return whole


def edge_classes(label: str) -> tuple[tuple[str, ...], ...]:
    """The edges that are exchanged with like defects, by class: of A-B-B r12 and r13, and r23."""
    first, second, third = label.split("-")
    if first == second == third:
        return (EDGES,)
    if first == second:
        return (("r12",), ("r13", "r23"))
    if second == third:
        return (("r23",), ("r12", "r13"))
    return tuple((edge,) for edge in EDGES)


def triangle_functions(label: str) -> list[Expression]:
    """A constant, and of every class of edges the sum of the lengths, of their inverses and of their cosines."""
    found: list[Expression] = [Number(1.0)]
    for edges in edge_classes(label):
        variables = [Variable(edge) for edge in edges]
        found.append(_sum(*variables))
        found.append(_sum(*(Call("inv", (v,)) for v in variables)))
        found.append(_sum(*(Call("cos", (Call("mul", (Number(2.0), v)),)) for v in variables)))
    return found


def triangle_values(triangles: Triangles, tree: Expression, n: int) -> Floats:
    """The function summed over the triangles of every structure, [structure]."""
    variables = dict(zip(EDGES, triangles.x, strict=True))
    each = np.zeros(triangles.x.shape[1]) + evaluate_numpy(tree, variables, ())
    return np.bincount(triangles.rows, each, minlength=n).astype(np.float64)
