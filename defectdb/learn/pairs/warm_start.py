"""Start a search from the stored formulas of the same kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from defectdb.db import Database
from defectdb.expressions.expression import from_ast
from defectdb.learn.job import Job
from defectdb.learn.pairs.kernel_task import KernelTask
from defectdb.learn.pairs.skeleton import skeleton_names

PER_KERNEL = 24
"""So many stored formulas of one kernel are taken, the most accurate first."""


Task = TypeVar("Task", bound=KernelTask)


def warm_tasks(db: Database, tasks: Sequence[Task], job: Job) -> list[Task]:
    """The tasks with the skeletons of the formulas stored for the same label, layers and target as seeds."""
    if not job.config.warm:
        return list(tasks)
    return [replace(task, seeds=_stored(db, task, job)) for task in tasks]


def _stored(db: Database, task: KernelTask, job: Job) -> tuple[tuple[str, ...], ...]:
    frame = db.frame(
        "SELECT ast FROM formulas WHERE material_id = $material AND target = $target AND pair_label = $label "
        "AND abs(dz_min - $dz) < 0.3 GROUP BY ast ORDER BY min(mae_train), ast LIMIT $most",
        {
            "material": job.material,
            "target": job.target,
            "label": task.label,
            "dz": task.dz_min,
            "most": PER_KERNEL,
        },
    )
    found = (skeleton_names(from_ast(text)) for text in frame["ast"])
    return tuple(dict.fromkeys(names for names in found if names))
