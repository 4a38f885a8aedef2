"""A learning job from a notebook: options checked, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from defectdb.db import Database
from defectdb.errors import UsageError


def learn_run(db: Database, pairs: Sequence[str], *, model: bool, progress: bool, **options: Any) -> int:
    """Learn kernels of the pairs (of all without any) or the whole model; the run's id. Raises UsageError."""
    from pydantic import ValidationError

    from defectdb.learn import LearnConfig, Progress, learn_model, learn_pairs

    if model and pairs:
        raise UsageError("model=True learns all pairs together; leave out the pairs")
    try:
        config = LearnConfig(**options)
    except ValidationError as cause:
        [first, *_] = cause.errors()
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"option {name}: {first['msg']}; see LearnConfig") from cause

    def kernel(_: object, done: int, total: int) -> None:
        print(f"\r{done} of {total} kernels", end="\n" if done == total else "", file=sys.stderr, flush=True)

    display = Progress(kernel=kernel) if progress else Progress()
    learned = (
        learn_model(db, config, display) if model else learn_pairs(db, config, list(pairs) or None, display)
    )
    return learned.run_id
