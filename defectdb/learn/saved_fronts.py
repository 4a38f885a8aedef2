"""Fronts that could not be published, kept in a file beside the database."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defectdb.expressions.expression import to_prefix
from defectdb.expressions.texts import to_infix
from defectdb.learn.job import Job
from defectdb.learn.pairs.kernel_task import Kernel


def save_fronts(database: str, run_id: int, job: Job, kernels: Sequence[Kernel]) -> Path | None:
    """Write the fronts of a run as JSON to ``NAME.run-N.json`` beside the database; the file's path.

    Every kernel has its label, |dz| window (angstrom) and formulas, shortest first: prefix tokens, infix text,
    constants (eV, angstrom), errors (eV, null where not known) and which one was chosen. None where the file cannot be
    written.
    """
    path = Path(database)
    file = path.with_name(f"{path.stem}.run-{run_id}.json")
    content = {
        "run_id": run_id,
        "material": job.material,
        "target": job.target,
        "config": job.config.model_dump(mode="json"),
        "kernels": [_kernel(kernel) for kernel in kernels],
    }
    draft = file.with_name(f".{file.name}.tmp")
    try:
        draft.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        return None
    return file


def _kernel(kernel: Kernel) -> dict[str, Any]:
    task = kernel.task
    return {
        "label": task.label,
        "dz_min": task.dz_min,
        "dz_max": task.dz_max,
        "formulas": [
            {
                "prefix": to_prefix(scored.expression),
                "infix": to_infix(scored.expression, scored.constants),
                "constants": list(scored.constants),
                "complexity": scored.complexity,
                "mae_train": _known(scored.mae),
                "mae_cv": _known(scored.mae_cv),
                "chosen": at == kernel.chosen,
            }
            for at, scored in enumerate(kernel.front)
        ],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
