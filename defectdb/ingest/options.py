"""Options of ingest: how sources are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

OCCUPIED = 0.5  # of one electron per state: the occupation from which a level counts as occupied


@dataclass(frozen=True, slots=True)
class Download:
    """Where the public archive comes from and what it must be.

    Without ``url`` it comes from its authors' platform. Without ``sha256`` the first download's is recorded
    and demanded ever after.
    """

    url: str | None = None
    sha256: str | None = None
    offline: bool = False
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How sources are read.

    ``mapping`` is the TOML of a table, ``unit_cells`` and ``reference`` bring hosts and energies,
    ``only`` names the datasets of an archive that are read (all where it is empty),
    ``occupied`` is the occupation (0 to 1) from which a level of a VASP run counts as occupied,
    ``download`` says where the public archive comes from.
    """

    mapping: Path | None = None
    unit_cells: tuple[Path, ...] = ()
    reference: Path | None = None
    only: tuple[str, ...] = ()
    occupied: float = OCCUPIED
    download: Download = field(default_factory=Download)
