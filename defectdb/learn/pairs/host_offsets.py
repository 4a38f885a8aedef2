"""Find the host offset of a small cell from lattice sums.

In a small cell no pair is far from all images of its partner, so the median of far pairs holds their interaction.
Every pair label is fitted with every law and a free offset of its rows; the offset on which the labels agree, each
law weighing by Akaike's criterion, is the host's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from defectdb.db import Database
from defectdb.engine.safety.domain import Domain
from defectdb.engine.safety.fitted_values import in_domain, predict
from defectdb.learn.job import Job, known_labels
from defectdb.learn.pairs.distance_classes import distance_classes
from defectdb.learn.pairs.kernel_task import LatticeTask, PairTask
from defectdb.learn.pairs.lattice_sums import lattice_domain
from defectdb.learn.pairs.law_fits import best_fits, encoded, law_skeletons
from defectdb.learn.pairs.tasks import kernel_tasks, problem_of
from defectdb.learn.select import select_pairs

DOUBT = 1e-4
"""Share of belief that a label's laws are all wrong: such a label must not outweigh the others."""


@dataclass(frozen=True)
class Opinion:
    """What one law says of one label's rows at one host: the offset and its variance (eV), and its Akaike weight."""

    offset: float
    variance: float
    weight: float


def without_host_offsets(db: Database, tasks: Sequence[PairTask], job: Job) -> list[PairTask]:
    """The tasks with their hosts' offsets taken off anew (``shift``: by how much the mean one changed, eV).

    Tasks of nearest images are returned as they are. All labels of the material decide, whichever are learned.
    """
    if job.config.images != "sum":
        return list(tasks)
    config = job.config.model_copy(update={"where": None})
    everything = replace(job, config=config, labels=tuple(known_labels(db, job.material)))
    left = offsets_left(kernel_tasks(db, select_pairs(db, everything), everything))
    mean = float(np.mean(list(left.values()))) if left else 0.0
    return [
        replace(task, y=task.y - np.array([left.get(host, 0.0) for host in task.hosts]), shift=mean)
        for task in tasks
    ]


def offsets_left(tasks: Sequence[PairTask]) -> dict[str, float]:
    """What the rows of one host share besides their lattice sums, eV by host: empty where rows are too few to tell."""
    found: dict[str, list[list[Opinion]]] = {}
    for task in tasks:
        if not isinstance(task, LatticeTask):
            continue
        for host, opinions in _opinions(task).items():
            found.setdefault(host, []).append(opinions)
    return {host: _agreed(labels) for host, labels in found.items()}


def _agreed(labels: Sequence[Sequence[Opinion]]) -> float:
    """The offset that all labels together find most likely, each by a mixture of its laws."""
    said = np.array([opinion.offset for opinions in labels for opinion in opinions])
    width = float(np.ptp(said)) + 1e-9
    total = np.zeros_like(said)
    for opinions in labels:
        mean, variance, weight = np.array([[o.offset, o.variance, o.weight] for o in opinions]).T
        spread = variance + (1e-6 * width) ** 2
        bell = np.exp(-0.5 * (said[:, None] - mean) ** 2 / spread) / np.sqrt(2 * np.pi * spread)
        total += np.log((bell * weight / weight.sum()).sum(1) + DOUBT / width)
    return float(said[total.argmax()])


def _opinions(task: LatticeTask) -> dict[str, list[Opinion]]:
    """By host: what every law of which the rows have enough says of the offset.

    Rows are centred for every host, which leaves the offsets free.
    """
    hosts, place = np.unique(np.array(task.hosts), return_inverse=True)
    centre = np.eye(len(place)) - (place[:, None] == place[None, :]) / np.bincount(place)[place][:, None]
    skeletons = law_skeletons()
    grammar, tokens = encoded(skeletons)
    problem = replace(problem_of(task), max_terms=max(s.n_terms for s in skeletons))
    centred = replace(
        problem, y=torch.from_numpy(centre @ task.y), mixing=torch.from_numpy(centre @ task.mixing)
    )
    domain = _loose(task)
    fitted = best_fits(tokens, grammar, centred, domain, skeletons, None, seed=0)
    safe = in_domain(tokens, grammar, fitted, problem, domain).numpy()
    left = task.y - predict(tokens, grammar, fitted, problem.x, problem).numpy() @ task.mixing.T
    n = len(
        np.unique(np.stack([place, distance_classes(task)]), axis=1).T
    )  # equal distances tell nothing new
    k = np.array([s.n_constants for s in skeletons]) + len(hosts)
    fine = safe & np.isfinite(left).all(1) & (n - k > 1)
    if not fine.any():
        return {}
    within = np.maximum(((left @ centre) ** 2).mean(1), 1e-24)
    few = np.maximum(n - k - 1, 1)
    score = np.where(fine, n * np.log(within) + 2 * k + 2 * k * (k + 1) / few, np.inf)
    weight = np.exp(-0.5 * (score - score.min()))
    return {
        str(host): [
            Opinion(float(left[i, place == h].mean()), float(within[i]) / few[i], float(weight[i]))
            for i in np.flatnonzero(fine)
        ]
        for h, host in enumerate(hosts)
    }


def _loose(task: LatticeTask) -> Domain:
    """The task's grid with bounds that hold whatever the offset is: laws oscillate no faster than the points lie."""
    strict = lattice_domain(task)
    spread = float(np.ptp(task.y))
    return Domain(strict.grid, strict.n_inside, -2 * spread, 2 * spread, 6 * spread, tail=0.05 * spread)
