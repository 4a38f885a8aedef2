"""Stored formulas to skeletons: where a new search of the same kernels may start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from defectdb.db import Database
from defectdb.learn.config import LearnConfig
from defectdb.learn.pairs.kernel_search import KernelTask
from defectdb.expressions.expression import Call, Constant, Expression, Number, from_ast, to_prefix

_LITERALS = ("1", "2", "3")  # numbers of the search's grammar; others are constants to fit

PER_KERNEL = 24
"""So many stored formulas of one kernel are taken, the most accurate first."""


def warm_tasks(
    db: Database, tasks: Sequence[KernelTask], config: LearnConfig, material: str
) -> list[KernelTask]:
    """The tasks with the skeletons of the formulas stored for the same label, layers and target as seeds."""
    if not config.warm:
        return list(tasks)
    return [replace(task, seeds=_stored(db, task, material)) for task in tasks]


def _stored(db: Database, task: KernelTask, material: str) -> tuple[tuple[str, ...], ...]:
    frame = db.frame(
        "SELECT ast FROM formulas WHERE material_id = $material AND target = $target AND pair_label = $label "
        "AND abs(dz_min - $dz) < 0.3 GROUP BY ast ORDER BY min(mae_train), ast LIMIT $most",
        {
            "material": material,
            "target": task.config.target,
            "label": task.label,
            "dz": task.dz_min,
            "most": PER_KERNEL,
        },
    )
    found = (skeleton(from_ast(text)) for text in frame["ast"])
    return tuple(dict.fromkeys(names for names in found if names))


def skeleton(formula: Expression) -> tuple[str, ...]:
    """Prefix tokens of a finished formula without its free coefficients and offset; empty for a constant.

    ``add c0 div c1 exp r`` becomes ``inv exp r``: the coefficients are found anew by every fit.
    """
    terms = [bare for term in _terms(formula) if (bare := _bare(term)) is not None]
    if not terms:
        return ()
    whole = terms[0]
    for term in terms[1:]:
        whole = Call("add", (whole, term))
    return tuple("c0" if _is_number(name) and name not in _LITERALS else name for name in to_prefix(whole))


def _is_number(token: str) -> bool:
    return token.lstrip("-")[:1].isdigit()


def _terms(node: Expression) -> list[Expression]:
    if isinstance(node, Call) and node.operator in ("add", "sub"):
        return [*_terms(node.args[0]), *_terms(node.args[1])]
    return [node]


def _bare(term: Expression) -> Expression | None:
    """A summand without its coefficient; None where nothing is left."""
    match term:
        case Constant() | Number():
            return None
        case Call("neg", (inner,)):
            return _bare(inner)
        case Call("mul", ((Constant() | Number()), inner)) | Call("mul", (inner, (Constant() | Number()))):
            return _bare(inner)
        case Call("div", (inner, (Constant() | Number()))):
            return _bare(inner)
        case Call("div", ((Constant() | Number()), inner)):
            return Call("inv", (inner,))
    return term
