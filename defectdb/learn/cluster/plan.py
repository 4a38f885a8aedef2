"""What to learn of many materials and targets: from a TOML file or for every material, and what it will take."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from defectdb.db import Database
from defectdb.errors import DefectDBError, InputDataError, SelectionError, UnknownNameError
from defectdb.learn.config import LearnConfig
from defectdb.learn.job import SOURCES, settle
from defectdb.learn.pairs.tasks import kernel_tasks, n_distances
from defectdb.learn.select import select_pairs

_LISTS = ("materials", "targets", "pairs", "datasets")
_OWN = {"model", *_LISTS}
_PLANNED = sorted(_OWN | set(LearnConfig.model_fields) - {"workers", "material", "target", "device"})
"""Keys of one [[learn]] table."""


@dataclass(frozen=True)
class Planned:
    """One run: its options (material and target among them), pair labels (None: all) and whether it is a model."""

    config: LearnConfig
    labels: tuple[str, ...] | None = None
    model: bool = False

    @property
    def name(self) -> str:
        """Material and target."""
        return f"{self.config.material or 'the material'} {self.config.target}"


def for_all_materials(db: Database, planned: Planned) -> list[Planned]:
    """The run once for every material that has what it learns from. Raises SelectionError where none has."""
    known = _materials(db, planned)
    if not known:
        raise SelectionError("no material has structures to learn from; ingest some first")
    return [replace(planned, config=planned.config.model_copy(update={"material": name})) for name in known]


def _materials(db: Database, planned: Planned) -> list[str]:
    """Materials with pairs of the labels that are asked for."""
    every = planned.model and planned.config.protocol == "all"
    table, _ = SOURCES["pairs" if every else "pair_energies"]
    sql = f"SELECT DISTINCT material_id FROM {table} WHERE coalesce(list_contains($labels, label), TRUE) ORDER BY ALL"
    labels = list(planned.labels) if planned.labels else None
    return db.frame(sql, {"labels": labels})["material_id"].to_list()


def read_plan(db: Database, path: Path, base: LearnConfig) -> list[Planned]:
    """The runs of a TOML file, every material with every target of each of its [[learn]] tables.

    ``materials`` (default: all that have the pairs), ``targets`` (default: formation_energy), ``pairs`` (labels;
    default: all) or ``model = true``, ``datasets``, and any option of a learner; [defaults] holds for all tables,
    ``base`` gives what neither says. Raises InputDataError for a file that is no plan.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise InputDataError(f"cannot be read as a plan: {cause}", path=str(path)) from cause
    strangers = sorted(set(content) - {"defaults", "learn"})
    tables = content.get("learn")
    if strangers or not isinstance(tables, list) or not tables:
        what = f"unknown: {', '.join(strangers)}; " if strangers else ""
        raise InputDataError(f"{what}a plan has [[learn]] tables and at most one [defaults]", path=str(path))
    defaults = content.get("defaults", {})
    found: list[Planned] = []
    for number, table in enumerate(tables, start=1):
        where = f"{path}: [[learn]] number {number}"
        try:
            found += list(_runs(db, {**defaults, **table}, base, where))
        except ValidationError as cause:
            first = cause.errors()[0]
            raise InputDataError(f"{where}: {first['loc'][0]}: {first['msg']}") from cause
    return found


def _runs(db: Database, table: Mapping[str, Any], base: LearnConfig, where: str) -> Iterator[Planned]:
    for name in table:
        if name not in _PLANNED:
            raise UnknownNameError(f"key in {where}:", name, _PLANNED)
    for name in _LISTS:
        value = table.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InputDataError(f'{where}: {name} is a list of texts, e.g. {name} = ["MoS2"]')
    given = {name: value for name, value in table.items() if name not in _OWN}
    config = LearnConfig.model_validate({**base.model_dump(), **given, "datasets": table.get("datasets", [])})
    labels = tuple(table["pairs"]) if table.get("pairs") else None
    planned = Planned(config, labels, bool(table.get("model", False)))
    for material in table.get("materials") or _materials(db, planned):
        for target in table.get("targets") or [config.target]:
            one = config.model_copy(update={"material": material, "target": target})
            yield replace(planned, config=one)


def estimate(db: Database, planned: Sequence[Planned]) -> pl.DataFrame:
    """One row for every kernel that would be searched.

    Columns: material, target, kernel, searches (islands), distances, rows, seconds (median of the searches stored in
    this database, null where there are none) and seconds_most (the time limits). Of a model from all structures the
    kernels of its pairs; more follow from the data. ``kernel`` of a run that cannot be made says why.
    """
    median = db.value(
        "SELECT median(s) FROM (SELECT sum(seconds) AS s FROM generations GROUP BY run_id, task, island)"
    )
    rows = [row for one in planned for row in _estimated(db, one, median)]
    schema = {"material": pl.String, "target": pl.String, "kernel": pl.String, "searches": pl.Int64,
              "distances": pl.Int64, "rows": pl.Int64, "seconds": pl.Float64, "seconds_most": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _estimated(db: Database, planned: Planned, median: float | None) -> list[tuple[Any, ...]]:
    config = planned.config
    head = (config.material, config.target)
    most = config.time_limit * config.islands
    usual = None if median is None else min(median, config.time_limit) * config.islands
    try:
        if planned.model and config.protocol == "all":
            job = settle(db, config, source="pairs")
            return [
                (job.material, config.target, label, config.islands, None, None, usual, most)
                for label in job.labels
            ]
        job = settle(db, config, planned.labels)
        tasks = kernel_tasks(db, select_pairs(db, job), job)
    except DefectDBError as error:
        return [(*head, f"none: {error}", 0, None, None, 0.0, 0.0)]
    return [
        (job.material, config.target, task.name, config.islands, n_distances(task), len(task.y), usual, most)
        for task in tasks
    ]
