"""Run the same search from several seeds, in processes, and join their fronts."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from torch import Tensor

from defectdb.engine.finishing.scored import Scored, pareto_front
from defectdb.engine.grammar.grammar import Grammar
from defectdb.engine.problem import Problem
from defectdb.engine.safety.domain import Domain
from defectdb.engine.search.outcome import Outcome
from defectdb.engine.search.search import Search
from defectdb.engine.search.worker_lifetime import end_with
from defectdb.engine.settings import SearchConfig
from defectdb.expressions.expression import expression_hash


@dataclass(frozen=True, slots=True)
class Islands:
    """Result of several searches.

    ``front``: the joint Pareto front, in order of complexity.
    ``outcomes``: the result of every search.
    ``stability`` [formula]: share of the searches whose own front holds each formula.
    """

    front: list[Scored]
    outcomes: list[Outcome]
    stability: list[float]


@dataclass(frozen=True, slots=True)
class _Task:
    """One search as it is sent to a process.

    ``problem``, ``grammar``, ``config``, ``domain``: as in ``Search``.
    ``seeds`` [formula, position]: skeletons to try first; None for none.
    """

    problem: Problem
    grammar: Grammar
    config: SearchConfig
    domain: Domain | None
    seeds: Tensor | None


def _run(task: _Task) -> Outcome:
    torch.set_num_threads(1)
    return Search(task.problem, task.grammar, task.config, task.domain, seeds=task.seeds).run()


def search_islands(
    problem: Problem,
    grammar: Grammar,
    config: SearchConfig,
    domain: Domain | None = None,
    seeds: Tensor | None = None,
    *,
    count: int = 2,
    workers: int = 2,
) -> Islands:
    """Searches with the seeds ``config.seed``, ``config.seed + 1`` ... in ``workers`` processes.

    The result depends on the seeds alone, not on how many processes there are.
    """
    tasks = [
        _Task(problem, grammar, replace(config, seed=config.seed + i), domain, seeds) for i in range(count)
    ]
    if workers < 2 or count < 2:
        outcomes = [_run(task) for task in tasks]
    else:
        spawn, me = get_context("spawn"), os.getpid()
        with ProcessPoolExecutor(min(workers, count), spawn, initializer=end_with, initargs=(me,)) as pool:
            outcomes = list(pool.map(_run, tasks))
    front = pareto_front(scored for outcome in outcomes for scored in outcome.front)
    held = [{expression_hash(s.expression) for s in outcome.front} for outcome in outcomes]
    stability = [sum(expression_hash(s.expression) in h for h in held) / count for s in front]
    return Islands(front, outcomes, stability)
