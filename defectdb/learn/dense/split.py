"""Which structures of a material are learned as sparse ones and which as dense ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectdb.db import Database
from defectdb.errors import SelectionError
from defectdb.learn.dense.structures import DenseData
from defectdb.learn.job import Job
from defectdb.schema.records import ANY_NUMBER


@dataclass(frozen=True)
class Split:
    """Numbers of defects of the structures that are learned in one way or the other.

    Attributes:
        sparse: fewest and most, of hosts with structures of one defect; None where there is no such host
        dense: fewest and most, of the others; None where there are none
        note: a sentence on structures without a value of the target, or nothing
    """

    sparse: tuple[int, int] | None
    dense: tuple[int, int] | None
    note: str


def split_structures(db: Database, job: Job) -> Split:
    """The job's numbers of defects. Raises SelectionError where no structure with several defects has the target."""
    hosts = db.frame(
        """
        SELECT
            s.host_id, bool_or(s.n_defects = 1) AS singles, min(s.n_defects) AS fewest, max(s.n_defects) AS most,
            count(*) AS n, count(t.value) AS n_known
        FROM structures AS s
        JOIN hosts AS h USING (host_id)
        LEFT JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = $target
        WHERE h.material_id = $material AND s.n_defects > 0 AND s.charge = 0
            AND coalesce(list_contains(CAST($datasets AS VARCHAR[]), s.dataset_id), TRUE)
        GROUP BY s.host_id
        """,
        {"target": job.target, "material": job.material, "datasets": list(job.datasets) or None},
    )
    if not hosts["n_known"].sum():
        raise SelectionError(f"no structure of {job.material} has {job.target}")
    sparse, dense = hosts.filter("singles"), hosts.filter(~hosts["singles"])
    n, n_known = int(hosts["n"].sum()), int(hosts["n_known"].sum())
    missing = n - n_known
    note = (
        f"{job.target} is missing in {missing} of {n} structures: learned from the others" if missing else ""
    )
    if dense.is_empty():
        return Split(ANY_NUMBER, None, note)
    if sparse.is_empty():
        return Split(None, ANY_NUMBER, note)
    border = int(sparse["most"].max())  # type: ignore[arg-type]
    return Split((1, border), (border + 1, ANY_NUMBER[1]), note)


def demand_separable(data: DenseData, target: str) -> None:
    """Raises SelectionError for kinds of defects that never occur apart, and for fewer structures than terms."""
    rows, kinds = data.numbers, np.array(data.kinds)
    _, sizes, axes = np.linalg.svd(rows, full_matrices=False)
    flat = sizes < 1e-9 * sizes.max()
    if len(rows) >= len(kinds) and flat.any():
        together = kinds[np.abs(axes[flat][0]) > 1e-6]
        raise SelectionError(
            f"{' and '.join(together)} occur only in fixed proportion: what each is worth cannot be told apart; "
            "ingest structures with other numbers of them"
        )
    labels = {block.label for block in data.pairs}
    n_terms = len(kinds) + len(labels) + 1
    if len(rows) <= n_terms:
        raise SelectionError(
            f"{len(rows)} structures have {target}, and {len(kinds)} kinds of defects, {len(labels)} kinds of pairs "
            f"and the host make {n_terms} terms; ingest more structures"
        )
