"""Find poles of fitted formulas between data points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from defectdb.engine.programs.programs import Programs
from defectdb.expressions.arrays import Floats
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Call, Expression, walk

_SINGULAR_OPERATORS = ("div", "inv", "log")  # operators with a pole where their last operand is zero

_ZERO_KEEPING_OPERATORS = ("square", "cube", "abs")  # operators through which a zero stays where it is


def has_pole(
    expression: Expression, constants: Sequence[float], points: Mapping[str, Floats], *, anywhere: bool = True
) -> bool:
    """Whether a formula divides by, or takes the logarithm of, what is zero or changes sign among the points.

    Not ``anywhere``: from one point to the next. A power changes sign where its base does.
    """
    for node in walk(expression):
        if isinstance(node, Call) and node.operator in _SINGULAR_OPERATORS:
            below = node.args[-1]
            while isinstance(below, Call) and below.operator in _ZERO_KEEPING_OPERATORS:
                below = below.args[0]
            signs = np.sign(np.atleast_1d(evaluate_numpy(below, points, constants)))
            before = signs[:-1] if len(signs) > 1 and not anywhere else signs[:1]
            if not (signs[-len(before) :] * before > 0).all():
                return True
    return False


def have_poles(programs: Programs, table: Tensor, *, anywhere: bool = False) -> Tensor:
    """Which formulas divide by, or take the logarithm of, what changes sign from point to point (or ``anywhere``).

    bool [formula]. A power changes sign where its base does.
    """
    base = torch.arange(programs.n_rows, device=table.device)
    groups = (*programs.fixed, *programs.groups)
    for group in groups:
        if group.operator in _ZERO_KEEPING_OPERATORS:
            base[group.start : group.stop] = base[group.operands[0]]
    out = torch.zeros(programs.n_formulas, dtype=torch.bool, device=table.device)
    for group in groups:
        if group.operator in _SINGULAR_OPERATORS:
            below = table[base[group.operands[-1]]]
            steps = below[:, 1:] * below[:, :-1]
            crosses = below.amin(1) * below.amax(1) <= 0 if anywhere else (steps <= 0).any(1)
            out[group.owners[crosses]] = True
    return out
