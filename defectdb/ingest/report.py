"""Report what became of one dataset when it was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

from defectdb.db import Database
from defectdb.ingest.records import Note, Reject
from defectdb.ingest.targets import EnergyCheck

MOST_SCATTER = 0.1  # eV between energies of one defect in one host


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of one dataset.

    dataset_id: its key.
    format: format it was read in.
    loaded, updated, unchanged, removed: numbers of structures.
    rejected: number of rejects by reason.
    energies: how stored formation energies compare with recomputed ones.
    dry_run: whether nothing was written.
    rejects: what was not loaded, and why.
    renamed: longer names of structures whose own were taken, by the latter.
    aside: files beside the sources that were not read.
    notes: what is odd about structures that were loaded.
    scatter: one-defect energies that differ by more than they should, each as a sentence.
    unreferenced: what formation energies are missing for, a sentence for every host.
    """

    dataset_id: str
    format: str
    loaded: int
    updated: int
    unchanged: int
    removed: int
    rejected: dict[str, int]
    energies: EnergyCheck
    dry_run: bool
    rejects: tuple[Reject, ...] = field(repr=False, default=())
    renamed: dict[str, str] = field(repr=False, default_factory=dict)
    aside: tuple[str, ...] = field(repr=False, default=())
    notes: tuple[Note, ...] = field(repr=False, default=())
    scatter: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()

    @property
    def n_rejected(self) -> int:
        """All rejects."""
        return sum(self.rejected.values())


def counted(rejects: int) -> str:
    """``1 reject`` or ``3 rejects``."""
    return f"{rejects} reject{'' if rejects == 1 else 's'}"


def scatter(db: Database, dataset_id: str) -> tuple[str, ...]:
    """Labels whose one-defect energies differ by more than MOST_SCATTER on hosts of this dataset, as sentences.

    Such runs did not all reach the same state (another spin, charge or relaxation), or their settings differ.
    """
    rows = db.frame(
        "SELECT o.host_id, o.label, o.target, o.n_structures, o.spread FROM one_defect_energies AS o "
        "JOIN datasets AS b ON coalesce(b.level, b.dataset_id) = o.level AND b.dataset_id = $dataset "
        "WHERE o.host_id IN (SELECT host_id FROM structures WHERE dataset_id = $dataset) "
        "AND target IN ('formation_energy', 'energy') AND spread > $most "
        "QUALIFY row_number() OVER (PARTITION BY o.host_id, o.label ORDER BY o.target DESC) = 1 ORDER BY ALL",
        {"dataset": dataset_id, "most": MOST_SCATTER},
    )
    return tuple(
        f"the {n} structures with {label} alone on {host} differ by {spread:.2f} eV in {target.replace('_', ' ')}; "
        "their mean is used"
        for host, label, target, n, spread in rows.iter_rows()
    )
