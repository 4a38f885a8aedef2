"""Parse the structure files of an archive in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

from defectdb.ingest.archives.containers import printable
from defectdb.ingest.readers.cif import StructureFileError, pack
from defectdb.ingest.readers.cif_lines import CifReader
from defectdb.ingest.records import Geometries, Reject

BATCH = 2048  # structures parsed and matched at a time: 10 MB of atoms


def parse_members(
    members: Iterable[tuple[str, str, bytes]], size: int = BATCH
) -> Iterator[tuple[Geometries, list[Reject]]]:
    """Batches of structures from (id, path, CIF bytes); broken files and second ones of an id are rejects."""
    seen: set[str] = set()
    reader = CifReader()
    remaining = iter(members)
    while batch := list(islice(remaining, size)):
        yield _parse_batch(batch, seen, reader)


def _parse_batch(
    members: list[tuple[str, str, bytes]], seen: set[str], reader: CifReader
) -> tuple[Geometries, list[Reject]]:
    ids, paths, digests, parsed = [], [], [], []
    rejects: list[Reject] = []
    for name, place, text in members:
        structure_id, path = printable(name), printable(place)
        if structure_id in seen:
            what = f"{structure_id!r} has an earlier structure file already"
            rejects.append(Reject(path, None, "duplicate id", what, structure_id))
            continue
        seen.add(structure_id)
        try:
            parsed.append(reader.parse(text))
        except StructureFileError as cause:
            rejects.append(Reject(path, None, "broken structure file", str(cause), structure_id))
            continue
        ids.append(structure_id)
        paths.append(path)
        digests.append(hashlib.sha256(text).hexdigest())
    return pack(ids, paths, parsed, digests), rejects
