"""Gather everything that one dataset brings to the database, as frames named like its tables."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from defectdb.db.write import DatasetRows
from defectdb.ingest.match import Matched
from defectdb.ingest.matching.host_tables import host_frames
from defectdb.ingest.records import Reject, Source

_EMPTY: dict[str, dict[str, type[pl.DataType]]] = {
    "structures": {"structure_id": pl.String, "content_hash": pl.String},
    "defects": {"structure_id": pl.String},
    "pairs": {"structure_id": pl.String},
    "targets": {"structure_id": pl.String},
    "materials": {"material_id": pl.String},
    "material_sites": {"material_id": pl.String},
    "hosts": {"host_id": pl.String},
    "host_sites": {"host_id": pl.String},
}


def stacked(frames: list[pl.DataFrame], table: str) -> pl.DataFrame:
    """Frames of one table under one another, or an empty one with the key column."""
    return pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame(schema=_EMPTY[table])


def dataset_rows(
    source: Source, found: Matched, rejects: list[Reject], cutoff: float, level: str
) -> DatasetRows:
    """The frames of every table."""
    hosts = host_frames(found.hosts) if found.hosts else {
        name: stacked([], name) for name in ("materials", "material_sites", "hosts", "host_sites")
    }  # fmt: skip
    structures = stacked([b.structures for b in found.blocks], "structures").with_columns(
        dataset_id=pl.lit(source.dataset_id), density=pl.lit(source.density, dtype=pl.String)
    )
    return DatasetRows(
        dataset={
            "dataset_id": source.dataset_id,
            "name": source.name,
            "format": source.format,
            "source_uri": source.uri,
            "sha256": source.sha256,
            "licence": source.licence,
            "citation": source.citation,
            "doi": source.doi,
            "cutoff": cutoff,
            "functional": source.functional,
            "level": level,
            "ingested_at": datetime.now(UTC).replace(tzinfo=None),
        },
        structures=structures,
        defects=stacked([b.defects for b in found.blocks], "defects"),
        pairs=stacked([b.pairs for b in found.blocks], "pairs"),
        targets=stacked([b.targets for b in found.blocks], "targets"),
        rejects=_reject_frame(rejects),
        notes=pl.DataFrame(
            [(note.structure_id, note.text) for block in found.blocks for note in block.notes],
            schema={"structure_id": pl.String, "note": pl.String},
            orient="row",
        ),
        potentials=pl.DataFrame(
            [(element, mu, reference) for element, (mu, reference) in source.potentials.items()],
            schema={"element": pl.String, "mu": pl.Float64, "reference": pl.String},
            orient="row",
        ),
        **hosts,
    )


def _reject_frame(rejects: list[Reject]) -> pl.DataFrame:
    return pl.DataFrame(
        [(r.source_path, r.row, r.reason, r.detail) for r in rejects],
        schema={"source_path": pl.String, "row": pl.Int64, "reason": pl.String, "detail": pl.String},
        orient="row",
    )
