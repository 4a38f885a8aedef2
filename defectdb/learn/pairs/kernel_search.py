"""Search one formula: the front of the best formulas of every complexity, and which of them to use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from defectdb.engine.finishing.scored import Scored, select
from defectdb.engine.safety.steady import is_steady, steepest
from defectdb.engine.search.outcome import Generation
from defectdb.engine.search.search import Search
from defectdb.errors import SelectionError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import Constant
from defectdb.expressions.families import family_of
from defectdb.learn.pairs.distance_classes import class_folds
from defectdb.learn.pairs.kernel_task import (
    MIN_ROWS,
    Kernel,
    KernelTask,
    LatticeTask,
    PairTask,
    TableTask,
    TripleTask,
    handicap,
    mixing_of,
)
from defectdb.learn.pairs.named_laws import front_with_laws
from defectdb.learn.pairs.tasks import domain_of, n_distances, problem_of, search_seed, seed_rows


def learn_kernel(task: KernelTask, report: Callable[[Generation], None] | None = None) -> Kernel:
    """Search one kernel. Repeatable: one thread, a seed of its own.

    Raises SelectionError where the kernel of a pair should vanish and no safe formula that was found does.
    """
    if n_distances(task) < MIN_ROWS:
        return _constant(task)
    if task.device == "cpu":
        torch.set_num_threads(1)
    grammar = task.config.grammar(task.variables)
    config = replace(task.config.search(task.device), seed=search_seed(task), target_mse=_near_enough(task))
    if isinstance(task, TableTask):
        config = replace(config, max_complexity=task.longest())
    domain = domain_of(task)
    folds = class_folds(task) if isinstance(task, LatticeTask) else None
    outcome = Search(problem_of(task), grammar, config, domain, report, seed_rows(grammar, task)).run(folds)
    if not outcome.front:
        if task.config.decay and isinstance(task, PairTask) and not isinstance(task, LatticeTask):
            raise SelectionError(
                f"no formula of these vanishes at the cutoff of {task.cutoff:g} angstrom and fits "
                f"{task.config.target} of {task.name}; try a greater --max-tokens (now {task.config.max_tokens}) or "
                f"--generations (now {task.config.generations}), fewer demands on operators, or leave out --decay"
            )
        spent = (outcome.generations, outcome.seconds, outcome.n_fits)
        return Kernel(task, _constant(task).front, 0, *spent)
    found = steady_ones(outcome.front, task)
    if isinstance(task, PairTask):
        found = front_with_laws(found, task)
    chosen = _choice(found, task)
    front = [_at_points(s, task) for s in found]
    return Kernel(task, front, chosen, outcome.generations, outcome.seconds, outcome.n_fits)


NEAR_ENOUGH = 0.25
"""A search ends at this share of the squared error that a simpler formula may add anyway."""


def _near_enough(task: KernelTask) -> float:
    """Mean squared error that ends a search: 0, or against a table what makes no difference to the model."""
    if not isinstance(task, TableTask | TripleTask):
        return 0.0
    return NEAR_ENOUGH * task.spare / float(task.weight.sum())


def steady_ones(front: list[Scored], task: KernelTask) -> list[Scored]:
    """The formulas that rounded constants and slightly moved distances do not change; all where none is so."""
    env = dict(zip(task.variables, task.x, strict=True))
    values = task.values if isinstance(task, TableTask) else task.y
    slope = steepest({name: x for name, x in env.items() if name.startswith("r")}, values)
    kept = [s for s in front if is_steady(s.expression, s.constants, env, slope)]
    return kept or front


def _at_points(scored: Scored, task: KernelTask) -> Scored:
    """Errors in the target's unit: where rows are a metric's, the distance from ``values``, frequent points first."""
    if not isinstance(task, TableTask):
        return scored
    error = np.abs(evaluate_numpy(scored.expression, {"r": task.r}, scored.constants) - task.values)
    mae = float((error * task.frequency).sum() / task.frequency.sum())
    return replace(scored, mae=mae, mae_cv=np.nan, mae_cv_interior=np.nan)


def _choice(front: list[Scored], task: KernelTask) -> int:
    """Index of the formula to use: by cross-validation, a token's price, or the simplest within ``task.spare``."""
    if not isinstance(task, TableTask | TripleTask):
        return select(front)
    if isinstance(task, TableTask) and task.price:
        total = float(task.weight.sum())
        return int(np.argmin([s.mse * total + s.complexity * task.price for s in front]))
    bound = min(s.mse for s in front) + task.spare / float(task.weight.sum())
    return next(i for i, s in enumerate(front) if s.mse <= bound)


def _constant(task: KernelTask) -> Kernel:
    """The median: all that too few distances, or distances that no safe formula fits, can say. Its error is unknown.

    Of pairs whose kernel should vanish it is 0, as behind lattice sums.
    """
    vanishes = isinstance(task, LatticeTask) or (task.config.decay and isinstance(task, PairTask))
    values = task.values if isinstance(task, TableTask) else np.zeros(1) if vanishes else task.y
    mixing = mixing_of(task)
    value = float(np.median(values))
    error = task.y - (value if mixing is None else mixing @ np.full(task.x.shape[1], value))
    mae = float(np.abs(error).mean())
    scored = Scored(Constant(0), (value,), 1, float((error**2).mean()), mae, np.nan, np.nan, np.nan, ())
    return Kernel(task, [scored], 0, [], 0.0, 0)


def merge_islands(islands: Sequence[Kernel]) -> Kernel:
    """Merge the fronts of independent searches of one task: every formula betters all simpler ones.

    Of two formulas of a pair kernel that are equally long, one whose family most searches found (``STEADY``) goes
    before a better one that they did not find, unless its error is larger by the factor ``LONE``. Functions of a
    model from all structures are searched again for their error alone, so there the better formula stays.
    """
    first = islands[0]
    task = replace(first.task, island=0)
    if len(islands) == 1:
        return replace(first, task=task)
    families = [[_family(scored, task) for scored in kernel.front] for kernel in islands]
    agreeing = {name: sum(name in own for own in families) for own in families for name in own}
    best: dict[int, tuple[float, Scored, int]] = {}
    for kernel, own in zip(islands, families, strict=True):
        for scored, name in zip(kernel.front, own, strict=True):
            steady = handicap(agreeing[name], len(islands)) if isinstance(task, PairTask) else 1.0
            judged = scored.loss * steady**2
            if scored.complexity not in best or judged < best[scored.complexity][0]:
                best[scored.complexity] = judged, scored, agreeing[name]
    front: list[Scored] = []
    found_by: list[int] = []
    for _, scored, n in (best[length] for length in sorted(best)):
        if not front or scored.loss < 0.999 * front[-1].loss:
            front.append(scored)
            found_by.append(n)
    chosen = _choice(front, task)
    generations = [g for k in islands for g in k.generations]
    seconds, n_fits = sum(k.seconds for k in islands), sum(k.n_fits for k in islands)
    return Kernel(task, front, chosen, generations, seconds, n_fits, tuple(found_by))


def _family(scored: Scored, task: KernelTask) -> str:
    return family_of(scored.expression, scored.constants, task.x[0] if task.variables == ("r",) else None)
