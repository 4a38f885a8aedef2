"""Run what was planned, on this machine or on an executor, and take up again what was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from defectdb.db import open_database
from defectdb.errors import DefectDBError, InputDataError, UsageError
from defectdb.learn.cluster.plan import Planned
from defectdb.learn.cluster.task_files import write_whole
from defectdb.learn.config import LearnConfig
from defectdb.learn.from_pairs import learn_pairs
from defectdb.learn.from_structures import learn_model
from defectdb.learn.outcome import Learned, Progress

AT_ONCE = 64
"""So many runs wait for their searches at the same time."""


def learn_planned(
    database: str,
    planned: Planned,
    progress: Progress,
    executor: Executor | None = None,
    resumes: int | None = None,
) -> Learned:
    """Learn one planned run. Raises as ``learn_pairs``."""
    with open_database(database, shared=True) as db:
        if planned.model:
            return learn_model(db, planned.config, progress, executor=executor, resumes=resumes)
        labels = None if planned.labels is None else list(planned.labels)
        return learn_pairs(db, planned.config, labels, progress, executor=executor, resumes=resumes)


def learn_many(
    database: str,
    planned: Sequence[Planned],
    progress: Callable[[Planned], Progress],
    executor: Executor | None,
) -> Iterator[tuple[Planned, Learned | DefectDBError]]:
    """All runs as they end, each with what it learned or why it failed, which ends no other run.

    With an executor all are at work at once, so that their searches share it; else one after another.
    """

    def one(run: Planned) -> Learned | DefectDBError:
        try:
            return learn_planned(database, run, progress(run), executor)
        except DefectDBError as error:
            return error

    if executor is None:
        for run in planned:
            yield run, one(run)
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(planned))) as threads:
        futures = {threads.submit(one, run): run for run in planned}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            threads.shutdown(wait=False, cancel_futures=True)
            raise


# ---------------------------------------------------------------- runs that can be taken up again


@dataclass(frozen=True)
class Submitted:
    """A run on an executor: ``run_id``, what is learned, ``place`` (local, slurm) and parameters of SLURM."""

    run_id: int
    planned: Planned
    place: str
    slurm: dict[str, str]


def default_folder(database: str) -> Path:
    """Where the tasks of a database's runs are: ``NAME.tasks`` beside it."""
    path = Path(database)
    return path.with_name(f"{path.stem}.tasks")


def keep(folder: Path, run: Submitted) -> None:
    """Write what ``resumed`` needs to take the run up again."""
    content = {
        "run_id": run.run_id,
        "config": run.planned.config.model_dump(mode="json"),
        "labels": run.planned.labels,
        "model": run.planned.model,
        "place": run.place,
        "slurm": run.slurm,
    }
    write_whole(folder / f"run-{run.run_id}.json", json.dumps(content, indent=1).encode())


def forget(folder: Path, run_id: int) -> None:
    """Remove what was kept of a run that is done."""
    (folder / f"run-{run_id}.json").unlink(missing_ok=True)


def resumed(folder: Path, run_id: int | None) -> Submitted:
    """The kept run of this id, or the newest one. Raises UsageError where there is none."""
    files = {int(file.stem[4:]): file for file in folder.glob("run-*.json") if file.stem[4:].isdigit()}
    if not files:
        raise UsageError(f"{folder} keeps no run to resume: only runs with --executor can be resumed")
    if run_id is not None and run_id not in files:
        raise UsageError(f"{folder} keeps no run {run_id}; it has {', '.join(map(str, sorted(files)))}")
    file = files[max(files) if run_id is None else run_id]
    try:
        return _submitted(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise InputDataError(
            f"is no run that can be resumed: {str(cause).splitlines()[0]}", path=str(file)
        ) from cause


def _submitted(content: dict[str, Any]) -> Submitted:
    labels = content["labels"]
    planned = Planned(
        LearnConfig.model_validate(content["config"]),
        None if labels is None else tuple(str(label) for label in labels),
        bool(content["model"]),
    )
    slurm = {str(name): str(value) for name, value in content["slurm"].items()}
    return Submitted(int(content["run_id"]), planned, str(content["place"]), slurm)
