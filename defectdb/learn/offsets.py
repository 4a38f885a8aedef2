"""Lattice sums to the host offset behind them: what is left when images are added up, not what far pairs have.

In a small cell no pair is far from all images of its partner, so the median of far pairs holds their interaction.
Every pair label is fitted with a law and a free offset of its rows; the labels' offsets are joined by how well the
laws fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from defectdb.db import Database
from defectdb.learn.baselines import best_fits, criteria, encoded, law_skeletons
from defectdb.learn.config import LearnConfig
from defectdb.learn.kernels import KernelTask, domain_of, kernel_tasks, problem_of
from defectdb.learn.lattice import Floats
from defectdb.learn.segvae.front import in_domain, predict
from defectdb.learn.select import known_labels, select_pairs

FEWEST = 5
"""Rows from which a label has a say in the offset."""


def settled(
    db: Database, tasks: Sequence[KernelTask], config: LearnConfig, material: str
) -> list[KernelTask]:
    """The tasks with their hosts' offsets taken off anew (``shift``: by how much the mean one changed, eV).

    Tasks of nearest images are returned as they are. All labels of the material decide, whichever are learned.
    """
    if config.images != "sum":
        return list(tasks)
    everything = config.model_copy(update={"where": None})
    selection = select_pairs(db, everything, material, known_labels(db, material))
    left = offsets_left(kernel_tasks(db, selection, everything, "cpu"))
    mean = float(np.mean(list(left.values()))) if left else 0.0
    return [
        replace(task, y=task.y - np.array([left.get(host, 0.0) for host in task.hosts]), shift=mean)
        for task in tasks
    ]


def offsets_left(tasks: Sequence[KernelTask]) -> dict[str, float]:
    """What the rows of one host share besides their lattice sums, eV by host: empty where rows are too few to tell."""
    found: dict[str, list[tuple[float, float]]] = {}
    for task in tasks:
        if len(task.y) - len(set(task.hosts)) >= FEWEST:
            for host, offset, variance in _offsets(task):
                found.setdefault(host, []).append((offset, variance))
    return {host: _joined(np.array(pairs)) for host, pairs in found.items()}


def _joined(pairs: Floats) -> float:
    """Mean of offsets weighted by their inverse variances."""
    weights = 1.0 / (pairs[:, 1] + 1e-9 * pairs[:, 1].max() + 1e-24)
    return float((pairs[:, 0] * weights).sum() / weights.sum())


def _offsets(task: KernelTask) -> list[tuple[str, float, float]]:
    """Host, offset and its variance, by the law that describes the rows of one label best (AICc).

    Rows are centred for every host, which leaves the offsets free.
    """
    assert task.mixing is not None
    hosts, place = np.unique(np.array(task.hosts), return_inverse=True)
    centre = np.eye(len(place)) - (place[:, None] == place[None, :]) / np.bincount(place)[place][:, None]
    skeletons = law_skeletons()
    grammar, tokens = encoded(skeletons)
    problem = replace(problem_of(task), max_terms=max(s.n_terms for s in skeletons))
    centred = replace(
        problem, y=torch.from_numpy(centre @ task.y), mixing=torch.from_numpy(centre @ task.mixing)
    )
    domain = domain_of(task)
    fitted = best_fits(tokens, grammar, centred, domain, skeletons, None, seed=0)
    safe = in_domain(tokens, grammar, fitted, problem, domain)
    left = task.y - predict(tokens, grammar, fitted, problem.x, problem).numpy() @ task.mixing.T
    scores = [
        criteria(centre @ row, s.n_constants + len(hosts))[0] if ok else np.inf
        for row, s, ok in zip(left, skeletons, safe.tolist(), strict=True)
    ]
    if not np.isfinite(scores).any():
        return []
    best = left[int(np.nanargmin(scores))]
    rows = [best[place == i] for i in range(len(hosts))]
    return [(str(h), float(r.mean()), float(r.var()) / len(r)) for h, r in zip(hosts, rows, strict=True)]
