"""The SELECTs of a learner that are stored with its run: complete texts, every value in them quoted."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from string import Template

from defectdb.learn.job import Job
from defectdb.schema.quoting import quoted_text

PAIR_VALUES = {
    "formation_energy": "interaction",
    "homo_lumo_gap": "homo_lumo_gap",
    "homo": "homo",
    "lumo": "lumo",
}
"""Target to the column of view pair_energies that holds a pair's value."""

ONE_DEFECT_SUMS = {
    "formation_energy": "sum(o.value) + (any_value(s.n_defects) - 1) * any_value(coalesce(h.value, 0))",
    "homo_lumo_gap": "min(o.value)",
    "homo": "max(o.value)",
    "lumo": "min(o.value)",
}
"""Target to what the defects of a structure give without their interaction."""


STRUCTURE_COLUMNS = ("structures", "targets_wide")
"""Table and view whose columns a predicate over structures may name."""


def _listing(texts: Iterable[str]) -> str:
    return ", ".join(quoted_text(text) for text in texts)


def dataset_predicate(job: Job, column: str) -> str:
    """`` AND column IN (...)`` for the job's datasets; empty where it learns from all."""
    return f" AND {column} IN ({_listing(job.datasets)})" if job.datasets else ""


def structure_predicate(where: str | None) -> str:
    """`` AND s.structure_id IN (...)`` for a user's predicate over structures and their targets; empty without one.

    A SELECT of its own, so that the columns of what the statement joins beside structures are not in the way.
    """
    if not where:
        return ""
    return (
        "\n  AND s.structure_id IN (\n  SELECT s.structure_id FROM structures AS s\n"
        f"  JOIN targets_wide AS w USING (structure_id)\n  WHERE (\n  {where}\n))"
    )


def pairs_statement(job: Job) -> str:
    """The SELECT of a job's 2-defect structures: structure_id, host_id, pair_id, label, r, dz, y.

    The user's predicate, if there is one, stands in it as it was written.
    """
    value, where = PAIR_VALUES[job.target], job.config.where
    rows = (
        f"SELECT * FROM pair_energies\n"
        f"  WHERE material_id = {quoted_text(job.material)} AND label IN ({_listing(job.labels)})\n"
        f"  AND {value} IS NOT NULL" + dataset_predicate(job, "dataset_id")
    )
    predicate = "" if not where else f"WHERE (\n  {where}\n)\n"
    return (
        f"SELECT structure_id, host_id, pair_id, label, distance AS r, dz, {value} AS y\n"
        f"FROM (\n  {rows}\n) AS pair_energies\n{predicate}ORDER BY label, dz, r, structure_id"
    )


def structures_statement(job: Job, n_folds: int, most: int) -> str:
    """The SELECT of a job's structures with two to ``most`` defects.

    Columns: structure_id, n_defects, value, base, n_known, fold.
    """
    text = (resources.files("defectdb.learn.material") / "structures.sql").read_text(encoding="utf-8")
    return Template(text).substitute(
        base=ONE_DEFECT_SUMS[job.target],
        material=quoted_text(job.material),
        target=quoted_text(job.target),
        predicate=structure_predicate(job.config.where) + dataset_predicate(job, "s.dataset_id"),
        folds=n_folds,
        most=most,
    )


def dense_statement(job: Job, n_folds: int, fewest: int, most: int) -> str:
    """The SELECT of a job's structures with ``fewest`` to ``most`` defects.

    Columns: structure_id, n_defects, n_sites, defect_labels, value, fold.
    """
    text = (resources.files("defectdb.learn.dense") / "structures.sql").read_text(encoding="utf-8")
    return Template(text).substitute(
        material=quoted_text(job.material),
        target=quoted_text(job.target),
        predicate=structure_predicate(job.config.where) + dataset_predicate(job, "s.dataset_id"),
        folds=n_folds,
        fewest=fewest,
        most=most,
    )
