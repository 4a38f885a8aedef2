"""The one-defect values and the host offset of a model, from structures with one and two defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defectdb.db import Database
from defectdb.learn.job import Job
from defectdb.learn.pairs.self_images import self_images
from defectdb.schema.records import TermRecord


def value_terms(
    db: Database, job: Job, kernels: Sequence[TermRecord] = (), shift: float = 0.0
) -> list[TermRecord]:
    """The one-defect values and, for formation energies, the host offset: means over the material's hosts.

    In a model of lattice sums a one-defect value is that of a lone defect: what its own images add, by the model's
    ``kernels``, is taken off. ``shift`` (eV) is added to the offset.
    """
    singles = db.frame(
        "SELECT o.label, o.host_id, o.value FROM one_defect_energies AS o JOIN hosts AS h USING (host_id) "
        "WHERE h.material_id = ? AND o.target = ? AND o.charge = 0 AND coalesce(o.level = ?, TRUE) "
        "ORDER BY o.label, o.host_id",
        [job.material, job.target, job.level],
    )
    images = self_images(db, job.material, kernels) if job.config.images == "sum" else {}
    values: dict[str, list[float]] = {}
    for label, host, value in singles.iter_rows():
        values.setdefault(label, []).append(value - images.get((host, label), 0.0))
    terms = [TermRecord(order=1, label=label, value=float(np.mean(v))) for label, v in values.items()]
    if job.target == "formation_energy":
        offset = db.value(
            "SELECT avg(o.value) FROM host_offsets AS o JOIN hosts AS h USING (host_id) "
            "WHERE h.material_id = ? AND coalesce(o.level = ?, TRUE)",
            [job.material, job.level],
        )
        terms.insert(0, TermRecord(order=0, label="host", value=float(offset or 0.0) + shift))
    return terms
